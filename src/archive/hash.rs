//! The digest of a file whose holes are not carried.

use std::io;

use sha2::{Digest as _, Sha256};

use super::parts::Part;
use crate::cancel::Cancel;

/// Zeros to hash in the place of a hole.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// The SHA-256 of a file's content, of which only the data passes.
pub struct Content<'a> {
    hash: Sha256,
    cancel: &'a Cancel,
    at: u64,
    /// Whether holes count as the zeros that a reader sees there.
    counts_holes: bool,
}

impl<'a> Content<'a> {
    /// The digest of a whole file, or with `counts_holes` off of its data alone.
    pub fn new(counts_holes: bool, cancel: &'a Cancel) -> Self {
        Self {
            hash: Sha256::new(),
            cancel,
            at: 0,
            counts_holes,
        }
    }

    /// Begins a part.
    ///
    /// # Errors
    /// When the user interrupts: a hole before it may be of any size, whatever the archive's.
    pub fn begin(&mut self, part: Part) -> io::Result<()> {
        self.skip_to(part.0)
    }

    /// The next bytes of the part.
    pub fn data(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
        self.at += bytes.len() as u64;
    }

    /// The digest of a file of `size` bytes, in hexadecimal digits.
    ///
    /// # Errors
    /// When the user interrupts.
    pub fn finish(mut self, size: u64) -> io::Result<String> {
        self.skip_to(size)?;
        Ok(hex::encode(self.hash.finalize()))
    }

    fn skip_to(&mut self, to: u64) -> io::Result<()> {
        let mut left = if self.counts_holes {
            to.saturating_sub(self.at)
        } else {
            0
        };
        while left > 0 {
            if self.cancel.is_raised() {
                return Err(io::Error::other("interrupted"));
            }
            let count = ZEROS.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            self.hash.update(&ZEROS[..count]);
            left -= count as u64;
        }
        self.at = to;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_count_as_zeros_or_not_at_all() {
        let mut file = vec![0; 200_000];
        file[100_000..100_003].copy_from_slice(b"abc");
        let digest = |counts_holes| {
            let cancel = Cancel::default();
            let mut content = Content::new(counts_holes, &cancel);
            content.begin((100_000, 3)).unwrap();
            content.data(b"a");
            content.data(b"bc");
            content.finish(200_000).unwrap()
        };
        assert_eq!(digest(true), hex::encode(Sha256::digest(&file)));
        assert_eq!(digest(false), hex::encode(Sha256::digest(b"abc")));
    }

    #[test]
    fn a_hole_of_any_size_can_be_interrupted() {
        let cancel = Cancel::default();
        cancel.raise();
        let hole = 1 << 60;
        assert!(Content::new(true, &cancel).finish(hole).is_err());
        assert!(Content::new(true, &cancel).begin((hole, 1)).is_err());
    }
}
