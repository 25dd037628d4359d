//! Which parts of a file hold data: its holes are not carried.

use std::io;

use fs_err as fs;
use rustix::fs::SeekFrom;
use rustix::io::Errno;

/// Offset and length of a part that holds data, in bytes.
pub type Part = (u64, u64);

/// Holes that are smaller cost less as data than as an entry of the index, in bytes.
const SMALL: u64 = 64 << 10;

/// The parts of `file` that hold data, in order, and its size. Where the file system tells of no holes that is all of it.
///
/// # Errors
/// When the file cannot be looked at.
pub fn of(file: &fs::File) -> io::Result<(Vec<Part>, u64)> {
    let size = file.metadata()?.len();
    let mut parts: Vec<Part> = Vec::new();
    let mut at = 0;
    while at < size {
        let begin = match rustix::fs::seek(file, SeekFrom::Data(at)) {
            Ok(begin) => begin,
            // Nothing but a hole is left (lseek(2)).
            Err(Errno::NXIO) => break,
            Err(Errno::INVAL | Errno::OPNOTSUPP) => return Ok((vec![(0, size)], size)),
            Err(error) => return Err(error.into()),
        };
        let end = rustix::fs::seek(file, SeekFrom::Hole(begin))?.min(size);
        if end <= begin {
            break;
        }
        match parts.last_mut() {
            Some((from, length)) if begin - (*from + *length) < SMALL => *length = end - *from,
            _ => parts.push((begin, end - begin)),
        }
        at = end;
    }
    Ok((parts, size))
}

/// How many bytes of data there are.
pub fn bytes(parts: &[Part]) -> u64 {
    parts.iter().map(|(_, length)| length).sum()
}

/// Whether they are in order and apart, none is empty, and all lie within `size`.
pub fn are_sound(parts: &[Part], size: u64) -> bool {
    let mut end = 0;
    parts.iter().all(|(from, length)| {
        let next = from.checked_add(*length);
        let fits = *from >= end && *length > 0 && next.is_some_and(|next| next <= size);
        end = next.unwrap_or(u64::MAX);
        fits
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt as _;

    use super::*;

    #[test]
    fn holes_are_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sparse");
        let file = fs::File::create(&path).unwrap();
        file.file().set_len(10 << 20).unwrap();
        file.file().write_all_at(&[1; 4096], 4 << 20).unwrap();
        // A hole of 8 KiB is not worth an entry.
        file.file().write_all_at(&[1; 4096], (4 << 20) + 12288).unwrap();
        let file = fs::File::open(&path).unwrap();
        let (parts, size) = of(&file).unwrap();
        assert_eq!(size, 10 << 20);
        assert!(are_sound(&parts, size), "{parts:?}");
        // A file system without holes says that all is data.
        if parts != [(0, size)] {
            assert_eq!(parts, [(4 << 20, 16384)]);
        }
        let empty = fs::File::create(folder.path().join("empty")).unwrap();
        assert_eq!(of(&empty).unwrap(), (vec![], 0));
    }

    #[test]
    fn parts_that_overlap_or_lie_outside_are_not_sound() {
        for (parts, is_sound) in [
            (vec![], true),
            (vec![(0, 10)], true),
            (vec![(0, 4), (4, 6)], true),
            (vec![(0, 5), (4, 1)], false),
            (vec![(4, 1), (0, 1)], false),
            (vec![(0, 0)], false),
            (vec![(0, 11)], false),
            (vec![(10, 1)], false),
            (vec![(1, u64::MAX)], false),
        ] {
            assert_eq!(are_sound(&parts, 10), is_sound, "{parts:?}");
        }
    }
}
