//! A log that is read while it is written.

use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::PathBuf;

use crate::guest::console;

/// How much is read at once: more than comes between two looks.
const AT_ONCE: u64 = 256 * 1024;

/// A longer line is no line of a log.
const LONGEST: usize = 16 * 1024;

/// Reads what was added to a file since the last look, in whole lines.
#[derive(Debug)]
pub struct Tail {
    file: PathBuf,
    read: u64,
    /// The beginning of a line whose end has not come yet.
    begun: Vec<u8>,
}

impl Tail {
    /// Reads `file` from its beginning; it need not be there yet.
    pub const fn new(file: PathBuf) -> Self {
        Self {
            file,
            read: 0,
            begun: Vec::new(),
        }
    }

    /// The lines that were completed since the last look, as a person would see them. What cannot be read is looked at
    /// again the next time.
    pub fn lines(&mut self) -> Vec<String> {
        let is_longer = std::fs::metadata(&self.file).is_ok_and(|data| data.len() > self.read);
        let added = if is_longer {
            self.added().unwrap_or_default()
        } else {
            Vec::new()
        };
        self.begun.extend(added);
        let Some(end) = self.begun.iter().rposition(|byte| *byte == b'\n') else {
            if self.begun.len() > LONGEST {
                self.begun.clear();
            }
            return Vec::new();
        };
        let rest = self.begun.split_off(end + 1);
        let whole = std::mem::replace(&mut self.begun, rest);
        console::clean(&whole).lines().map(str::to_owned).collect()
    }

    fn added(&mut self) -> std::io::Result<Vec<u8>> {
        let mut file = std::fs::File::open(&self.file)?;
        file.seek(SeekFrom::Start(self.read))?;
        let mut bytes = Vec::new();
        let count = file.take(AT_ONCE).read_to_end(&mut bytes)?;
        self.read += u64::try_from(count).unwrap_or(0);
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn lines_come_once_they_are_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("installer.log");
        let mut tail = Tail::new(path.clone());
        assert!(tail.lines().is_empty(), "it is not there yet");
        let mut file = std::fs::File::create(path).unwrap();
        let mut looks = Vec::new();
        for text in [&b"one\r\ntwo"[..], b"", b" and more\nthree\n", b"f\x1b[1mour\n\xff"] {
            file.write_all(text).unwrap();
            looks.push(tail.lines());
        }
        assert_eq!(
            looks,
            [vec!["one"], vec![], vec!["two and more", "three"], vec!["four"]]
        );
    }

    #[test]
    fn what_never_ends_is_not_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("installer.log");
        std::fs::write(&path, vec![b'x'; LONGEST + 1]).unwrap();
        let mut tail = Tail::new(path);
        assert!(tail.lines().is_empty());
        assert!(tail.begun.is_empty());
    }
}
