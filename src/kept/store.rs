//! The folder of what is kept.
//!
//! | path | holds |
//! |---|---|
//! | `blobs/HEX` | content, named by its SHA-256 |
//! | `entries/HEX.json` | what an address gave, named by the address's SHA-256 |
//! | `receipts/NAME.json` | what a stage fetched |
//! | `partial/` | what is on its way |
//!
//! Content is written under a temporary name, hashed on the way, synced and renamed; it is hashed again before it is
//! used. A blob's time of change is when it was last used.

use std::collections::BTreeMap;
use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result};
use fs_err as fs;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tempfile::NamedTempFile;

/// What is read from a file at once, in bytes.
const BLOCK: usize = 256 << 10;

/// A SHA-256 as 64 lower-case hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(String);

impl Digest {
    /// Of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(hex::encode(Sha256::digest(bytes)))
    }

    /// From its digits, with or without the `sha256:` of the OCI's image specification.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix("sha256:").unwrap_or(text);
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        (digits.len() == 64 && digits.bytes().all(is_digit)).then(|| Self(digits.to_owned()))
    }

    /// Its digits.
    pub fn hex(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "sha256:{}", self.0)
    }
}

impl TryFrom<String> for Digest {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text).ok_or_else(|| format!("{text:?} is no SHA-256"))
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.0
    }
}

/// What an address gave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The address: a URL, or `NAME@sha256:…` and `NAME:TAG` for manifests of images.
    pub key: String,
    /// Its content.
    pub digest: Digest,
    /// The content's size in bytes.
    pub size: u64,
    /// `Content-Type`.
    pub media_type: Option<String>,
    /// `ETag`.
    pub etag: Option<String>,
    /// `Last-Modified`.
    pub modified: Option<String>,
    /// When it was fetched, in seconds since 1970.
    pub at: u64,
}

/// How much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Size {
    /// Pieces of content.
    pub files: u64,
    /// Bytes, those on their way too.
    pub bytes: u64,
}

/// What may stay: what was used least lately goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Bound {
    /// What was not used for so long goes.
    pub age: Option<Duration>,
    /// At most so many bytes stay.
    pub bytes: Option<u64>,
}

/// The folder.
#[derive(Debug, Clone)]
pub struct Store {
    folder: PathBuf,
}

/// A blob in its file.
struct Blob {
    path: PathBuf,
    bytes: u64,
    used: SystemTime,
}

impl Store {
    /// The store of the folder `cache`; nothing is made yet.
    pub fn new(cache: &Path) -> Self {
        let folder = cache.join("kept");
        Self { folder }
    }

    /// Its folder, there or not.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.folder.join("blobs").join(digest.hex())
    }

    fn entry_path(&self, key: &str) -> PathBuf {
        let name = format!("{}.json", Digest::of(key.as_bytes()).hex());
        self.folder.join("entries").join(name)
    }

    /// What `key` gave when it was last fetched. One that cannot be read is none.
    pub fn entry(&self, key: &str) -> Option<Entry> {
        let entry: Entry = read_json(&self.entry_path(key))?;
        (entry.key == key).then_some(entry)
    }

    /// Keeps what an address gave; its content must be there.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn remember(&self, entry: &Entry) -> Result<()> {
        write_json(&self.entry_path(&entry.key), entry)
    }

    /// Whether the content is there with this size, without a look at it.
    pub fn has(&self, digest: &Digest, size: Option<u64>) -> bool {
        fs::metadata(self.blob_path(digest)).is_ok_and(|data| size.is_none_or(|size| data.len() == size))
    }

    /// The content, if it is there and sound. What is damaged is removed.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn blob(&self, digest: &Digest) -> Result<Option<(std::fs::File, u64)>> {
        let path = self.blob_path(digest);
        let mut file = match std::fs::File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("reading {}", path.display())),
        };
        let mut hash = Sha256::new();
        let (mut block, mut size) = (vec![0; BLOCK], 0);
        loop {
            let count = file
                .read(&mut block)
                .with_context(|| format!("reading {}", path.display()))?;
            if count == 0 {
                break;
            }
            hash.update(&block[..count]);
            size += count as u64;
        }
        if hex::encode(hash.finalize()) != digest.hex() {
            fs::remove_file(&path)?;
            return Ok(None);
        }
        file.rewind().context("reading what is kept")?;
        // For `prune`; on a read-only file system it is not needed.
        let _ = file.set_modified(SystemTime::now());
        Ok(Some((file, size)))
    }

    /// Begins to take content.
    ///
    /// # Errors
    /// When no file can be made.
    pub fn incoming(&self) -> Result<Incoming> {
        let partial = self.folder.join("partial");
        fs::create_dir_all(&partial)?;
        fs::create_dir_all(self.folder.join("blobs"))?;
        let file = NamedTempFile::new_in(&partial).context("keeping what is fetched")?;
        // Tells `sweep` that somebody writes it.
        let _ = file.as_file().try_lock();
        Ok(Incoming {
            store: self.clone(),
            file,
            hash: Sha256::new(),
            size: 0,
        })
    }

    /// The receipt `name`, if there is one.
    pub fn receipt<T: for<'de> Deserialize<'de>>(&self, name: &str) -> Option<T> {
        read_json(&self.folder.join("receipts").join(format!("{name}.json")))
    }

    /// Whether there is a receipt whose name begins so.
    pub fn has_receipt(&self, beginning: &str) -> bool {
        let files = self.files("receipts").unwrap_or_default();
        let mut names = files.iter().filter_map(|file| file.path.file_name()?.to_str());
        names.any(|name| name.starts_with(beginning))
    }

    /// Keeps the receipt `name`.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn keep_receipt<T: Serialize>(&self, name: &str, receipt: &T) -> Result<()> {
        write_json(&self.folder.join("receipts").join(format!("{name}.json")), receipt)
    }

    /// How much is kept.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn size(&self) -> Result<Size> {
        let mut size = Size::default();
        for blob in self.files("blobs")?.into_iter().chain(self.files("partial")?) {
            size.files += 1;
            size.bytes += blob.bytes;
        }
        Ok(size)
    }

    /// Removes what is beyond `bound`, what leads to content that is not there, and what interrupted processes left.
    /// Gives what was removed.
    ///
    /// # Errors
    /// When something cannot be removed.
    pub fn prune(&self, bound: Bound) -> Result<Size> {
        let mut removed = self.sweep()?;
        let mut blobs = self.files("blobs")?;
        blobs.sort_by_key(|blob| blob.used);
        let mut left: u64 = blobs.iter().map(|blob| blob.bytes).sum();
        let oldest = bound.age.and_then(|age| SystemTime::now().checked_sub(age));
        for blob in blobs {
            let is_old = oldest.is_some_and(|oldest| blob.used < oldest);
            if is_old || bound.bytes.is_some_and(|most| left > most) {
                fs::remove_file(&blob.path)?;
                left -= blob.bytes;
                removed.files += 1;
                removed.bytes += blob.bytes;
            }
        }
        for file in self.files("entries")? {
            let entry: Option<Entry> = read_json(&file.path);
            if !entry.is_some_and(|entry| self.has(&entry.digest, None)) {
                fs::remove_file(&file.path)?;
            }
        }
        Ok(removed)
    }

    /// Removes what nobody writes any more.
    fn sweep(&self) -> Result<Size> {
        let mut removed = Size::default();
        for partial in self.files("partial")? {
            let is_free = std::fs::File::open(&partial.path).is_ok_and(|file| file.try_lock().is_ok());
            if is_free {
                fs::remove_file(&partial.path)?;
                removed.files += 1;
                removed.bytes += partial.bytes;
            }
        }
        Ok(removed)
    }

    fn files(&self, name: &str) -> Result<Vec<Blob>> {
        let folder = self.folder.join(name);
        if !folder.exists() {
            return Ok(Vec::new());
        }
        let mut files = Vec::new();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            // One that is gone meanwhile is nobody's.
            let Ok(data) = entry.metadata() else { continue };
            files.push(Blob {
                path: entry.path(),
                bytes: data.len(),
                used: data.modified().unwrap_or(SystemTime::UNIX_EPOCH),
            });
        }
        Ok(files)
    }
}

/// Content on its way into the store; dropped, it is gone.
pub struct Incoming {
    store: Store,
    file: NamedTempFile,
    hash: Sha256,
    size: u64,
}

impl Incoming {
    /// Takes more of it.
    ///
    /// # Errors
    /// When it cannot be written, as on a full disk.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).context("keeping what is fetched")?;
        self.hash.update(bytes);
        self.size += bytes.len() as u64;
        Ok(())
    }

    /// What came so far.
    pub fn digest(&self) -> Digest {
        Digest(hex::encode(self.hash.clone().finalize()))
    }

    /// The content is complete and what it should be: it is kept.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn finish(self) -> Result<(Digest, u64)> {
        let digest = self.digest();
        self.file.as_file().sync_all().context("keeping what is fetched")?;
        self.file
            .persist(self.store.blob_path(&digest))
            .map_err(|error| error.error)
            .context("keeping what is fetched")?;
        Ok((digest, self.size))
    }
}

fn read_json<T: for<'de> Deserialize<'de>>(path: &Path) -> Option<T> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    let folder = path.parent().context("a file has a folder")?;
    fs::create_dir_all(folder)?;
    let mut file = NamedTempFile::new_in(folder).context("keeping what is fetched")?;
    file.write_all(&serde_json::to_vec(value)?)
        .context("keeping what is fetched")?;
    file.as_file().sync_all().context("keeping what is fetched")?;
    file.persist(path)
        .map_err(|error| error.error)
        .with_context(|| format!("writing {}", path.display()))?;
    Ok(())
}

/// What was fetched: addresses and the content that they gave.
pub type Fetched = BTreeMap<String, Digest>;
