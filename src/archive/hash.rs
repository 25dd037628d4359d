//! The digest of a file whose holes are not carried.

use sha2::{Digest as _, Sha256};

use super::parts::Part;

/// Zeros to hash in the place of a hole.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// The SHA-256 of a file's content, of which only the data passes.
pub struct Content {
    hash: Sha256,
    at: u64,
    /// Whether holes count as the zeros that a reader sees there.
    counts_holes: bool,
}

impl Content {
    /// The digest of a whole file, or with `counts_holes` off of its data alone.
    pub fn new(counts_holes: bool) -> Self {
        Self {
            hash: Sha256::new(),
            at: 0,
            counts_holes,
        }
    }

    /// Begins a part.
    pub fn begin(&mut self, part: Part) {
        self.skip_to(part.0);
    }

    /// The next bytes of the part.
    pub fn data(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
        self.at += bytes.len() as u64;
    }

    /// The digest of a file of `size` bytes, in hexadecimal digits.
    pub fn finish(mut self, size: u64) -> String {
        self.skip_to(size);
        hex::encode(self.hash.finalize())
    }

    fn skip_to(&mut self, to: u64) {
        let mut left = if self.counts_holes {
            to.saturating_sub(self.at)
        } else {
            0
        };
        while left > 0 {
            let count = ZEROS.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            self.hash.update(&ZEROS[..count]);
            left -= count as u64;
        }
        self.at = to;
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
            let mut content = Content::new(counts_holes);
            content.begin((100_000, 3));
            content.data(b"a");
            content.data(b"bc");
            content.finish(200_000)
        };
        assert_eq!(digest(true), hex::encode(Sha256::digest(&file)));
        assert_eq!(digest(false), hex::encode(Sha256::digest(b"abc")));
    }
}
