//! Reading the small text files that users write: settings, locks, definitions, lists.

use std::io::{Error, ErrorKind, Read as _, Result};
use std::path::Path;

use fs_err as fs;

/// More than any of them has, in bytes.
const LIMIT: u64 = 4 << 20;

/// What is in the file. Of what is none, as a pipe into which nobody writes or a device that never ends, nothing is read.
///
/// # Errors
/// When it cannot be read, is no plain file, is too large or no UTF-8.
pub fn read(path: &Path) -> Result<String> {
    let refused = |why: &str| Error::new(ErrorKind::InvalidInput, format!("{} {why}", path.display()));
    let told = |error: Error| Error::new(error.kind(), format!("{}: {error}", path.display()));
    // Opening a pipe would wait.
    if !std::fs::metadata(path).map_err(told)?.is_file() {
        return Err(refused("is no plain file"));
    }
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(LIMIT + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LIMIT {
        return Err(refused("is too large for a text that somebody wrote"));
    }
    String::from_utf8(bytes).map_err(|_| refused("is no UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_texts_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("f");
        let refused = || read(&file).unwrap_err().to_string();
        let missing = refused();
        assert!(
            missing.starts_with(file.to_str().unwrap()) && missing.contains(": No such file"),
            "{missing}"
        );
        std::fs::write(&file, "a = 1\n").unwrap();
        assert_eq!(read(&file).unwrap(), "a = 1\n");
        std::fs::write(&file, [0xff]).unwrap();
        assert!(refused().ends_with("is no UTF-8"));
        std::fs::File::create(&file).unwrap().set_len(LIMIT + 1).unwrap();
        assert!(refused().contains("is too large"));
        std::fs::remove_file(&file).unwrap();
        let made = std::process::Command::new("mkfifo").arg(&file).status().unwrap();
        assert!(made.success());
        assert!(refused().ends_with("is no plain file"));
        assert!(read(Path::new("/dev/zero")).is_err());
    }
}
