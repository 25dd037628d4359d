//! What a file hashes to, and the files (`SHA512SUMS`) that say what it must hash to.

use std::fmt;
use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use fs_err as fs;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256, Sha512};

use super::progress::Progress;
use crate::cancel::Cancel;
use crate::config::Checksum;

/// How much of a file is read at once, in bytes.
const BLOCK: usize = 1 << 20;

/// A hash function that is still sound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// 256 bits; fast where the processor knows it.
    Sha256,
    /// 512 bits; what Debian publishes first.
    Sha512,
}

impl Algorithm {
    const fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    /// The length of a digest in hexadecimal digits.
    const fn digits(self) -> usize {
        match self {
            Self::Sha256 => 64,
            Self::Sha512 => 128,
        }
    }
}

/// The digest of a file together with the function that made it; as text `sha512:4b4c60…`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest {
    algorithm: Algorithm,
    hex: String,
}

impl Digest {
    /// A digest from its hexadecimal digits.
    ///
    /// # Errors
    /// When these are not as many hexadecimal digits as `algorithm` gives.
    pub fn new(algorithm: Algorithm, hex: &str) -> Result<Self> {
        if hex.len() != algorithm.digits() || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
            bail!("{hex:?} is no {} checksum", algorithm.name());
        }
        Ok(Self {
            algorithm,
            hex: hex.to_ascii_lowercase(),
        })
    }

    /// A digest whose function is told by the number of its hexadecimal digits.
    fn by_length(hex: &str) -> Option<Self> {
        [Algorithm::Sha256, Algorithm::Sha512]
            .into_iter()
            .find_map(|algorithm| Self::new(algorithm, hex).ok())
    }

    /// The function that made it.
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// A folder name that no other file's digest gives.
    pub fn folder(&self) -> String {
        format!("{}-{}", self.algorithm.name(), &self.hex[..32])
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm.name(), self.hex)
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}

impl TryFrom<String> for Digest {
    type Error = anyhow::Error;

    fn try_from(text: String) -> Result<Self> {
        match text.split_once(':') {
            Some(("sha256", hex)) => Self::new(Algorithm::Sha256, hex),
            Some(("sha512", hex)) => Self::new(Algorithm::Sha512, hex),
            _ => bail!("{text:?} is no digest"),
        }
    }
}

impl TryFrom<&Checksum> for Digest {
    type Error = anyhow::Error;

    fn try_from(checksum: &Checksum) -> Result<Self> {
        match checksum {
            Checksum::Sha256(hex) => Self::new(Algorithm::Sha256, hex),
            Checksum::Sha512(hex) => Self::new(Algorithm::Sha512, hex),
        }
    }
}

/// A hash in the making. The processor's own instructions are used where there are any.
#[derive(Clone)]
pub enum Hasher {
    /// See [`Algorithm::Sha256`].
    Sha256(Sha256),
    /// See [`Algorithm::Sha512`].
    Sha512(Sha512),
}

impl Hasher {
    /// The hash of nothing yet.
    pub fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Sha256 => Self::Sha256(Sha256::new()),
            Algorithm::Sha512 => Self::Sha512(Sha512::new()),
        }
    }

    /// Takes the file's next bytes in.
    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hash) => hash.update(bytes),
            Self::Sha512(hash) => hash.update(bytes),
        }
    }

    /// The digest of all that was taken in.
    pub fn finish(self) -> Digest {
        let (algorithm, hex) = match self {
            Self::Sha256(hash) => (Algorithm::Sha256, hex::encode(hash.finalize())),
            Self::Sha512(hash) => (Algorithm::Sha512, hex::encode(hash.finalize())),
        };
        Digest { algorithm, hex }
    }

    /// Takes in the whole of `file` and returns its size in bytes.
    ///
    /// # Errors
    /// When it cannot be read, or [`crate::fault::Cause::Interrupted`].
    pub fn update_from(&mut self, file: &Path, progress: &mut Progress, cancel: &Cancel) -> Result<u64> {
        let mut open = fs::File::open(file)?;
        let mut block = vec![0; BLOCK];
        let mut size = 0;
        loop {
            cancel.check()?;
            let count = open.read(&mut block).context("computing a checksum")?;
            if count == 0 {
                return Ok(size);
            }
            self.update(&block[..count]);
            size += count as u64;
            progress.at(size);
        }
    }
}

/// One line of a checksum file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sum {
    /// What the file must hash to.
    pub digest: Digest,
    /// The file's name.
    pub name: String,
}

/// The lines of a checksum file as `sha256sum(1)` and `sha512sum(1)` write it: digits, a blank, a blank or `*`, the
/// name. Other lines are passed over.
pub fn parse_sums(text: &str) -> Vec<Sum> {
    let line = |line: &str| {
        let (hex, rest) = line.split_once(' ')?;
        let name = rest.strip_prefix([' ', '*'])?;
        let name = name.strip_prefix("./").unwrap_or(name).to_owned();
        let digest = Digest::by_length(hex)?;
        Some(Sum { digest, name })
    };
    text.lines().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ABC_256: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn known_answers() {
        // FIPS 180-4's examples, "abc".
        let mut hash = Hasher::new(Algorithm::Sha256);
        hash.update(b"a");
        hash.update(b"bc");
        assert_eq!(hash.finish().to_string(), format!("sha256:{ABC_256}"));
        let mut hash = Hasher::new(Algorithm::Sha512);
        hash.update(b"abc");
        assert!(hash.finish().to_string().starts_with("sha512:ddaf35a193617aba"));
    }

    #[test]
    fn digests_survive_as_text() {
        let digest = Digest::new(Algorithm::Sha256, &ABC_256.to_uppercase()).unwrap();
        let text = serde_json::to_string(&digest).unwrap();
        assert_eq!(serde_json::from_str::<Digest>(&text).unwrap(), digest);
        assert!(serde_json::from_str::<Digest>("\"md5:00\"").is_err());
        assert!(Digest::new(Algorithm::Sha512, ABC_256).is_err());
        assert!(Digest::new(Algorithm::Sha256, &"g".repeat(64)).is_err());
    }

    #[test]
    fn checksum_files_are_read() {
        let text = format!("{ABC_256}  a.iso\n{ABC_256} *./b c.iso\n\n# x\nabc  short.iso\n");
        let names: Vec<String> = parse_sums(&text).into_iter().map(|sum| sum.name).collect();
        assert_eq!(names, ["a.iso", "b c.iso"]);
    }
}
