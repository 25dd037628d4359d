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
use std::fs::TryLockError;
use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context as _, Result};
use fs_err as fs;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tempfile::NamedTempFile;

use super::digest::Digest;
use crate::host;

/// What is read from a file at once, in bytes.
const BLOCK: usize = 256 << 10;

/// How often a new file may be swept away.
const TRIES: usize = 10;

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

/// The folder.
#[derive(Debug, Clone)]
pub struct Store {
    folder: PathBuf,
    /// Nothing more is kept where less is free, in bytes: a guest's disk on the same file system needs the room, and a mere
    /// cache must not take it.
    floor: u64,
}

/// What a guest's disk may need beside what is kept, in bytes.
const FLOOR: u64 = 4 << 30;

impl Store {
    /// The store of the folder `cache`; nothing is made yet.
    pub fn new(cache: &Path) -> Self {
        let folder = cache.join("kept");
        Self { folder, floor: FLOOR }
    }

    /// The same where `floor` bytes stay free.
    #[cfg(test)]
    pub fn with_floor(self, floor: u64) -> Self {
        Self { floor, ..self }
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
        self.write_json(&self.entry_path(&entry.key), entry)
    }

    /// Whether the content is there with this size, without a look at it.
    pub fn has(&self, digest: &Digest, size: Option<u64>) -> bool {
        self.size_of(digest)
            .is_some_and(|kept| size.is_none_or(|size| kept == size))
    }

    /// The size in bytes of content that is there.
    pub fn size_of(&self, digest: &Digest) -> Option<u64> {
        Some(fs::metadata(self.blob_path(digest)).ok()?.len())
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
            super::prune::remove(&path)?;
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
    /// A [`crate::fault::Cause::Space`] fault where the disk needs what it has left for other things; when no file can be made.
    pub fn incoming(&self) -> Result<Incoming> {
        host::disk::require(&self.folder, self.floor)?;
        fs::create_dir_all(self.folder.join("blobs"))?;
        Ok(Incoming {
            store: self.clone(),
            file: self.partial()?,
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
        self.write_json(&self.folder.join("receipts").join(format!("{name}.json")), receipt)
    }

    fn write_json<T: Serialize>(&self, path: &Path, value: &T) -> Result<()> {
        fs::create_dir_all(path.parent().context("a file has a folder")?)?;
        let mut file = self.partial()?;
        file.write_all(&serde_json::to_vec(value)?)
            .context("keeping what is fetched")?;
        file.as_file().sync_all().context("keeping what is fetched")?;
        file.persist(path)
            .map_err(|error| error.error)
            .with_context(|| format!("writing {}", path.display()))?;
        Ok(())
    }

    /// A file on its way.
    fn partial(&self) -> Result<NamedTempFile> {
        let partial = self.folder.join("partial");
        fs::create_dir_all(&partial)?;
        let mut tries = 0;
        loop {
            let file = NamedTempFile::new_in(&partial).context("keeping what is fetched")?;
            // Tells `sweep` that somebody writes it, unless it is there first. Not everywhere files can be locked.
            let is_swept = matches!(file.as_file().try_lock(), Err(TryLockError::WouldBlock));
            if (!is_swept && file.path().exists()) || tries == TRIES {
                return Ok(file);
            }
            tries += 1;
        }
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
        Digest::from(self.hash.clone())
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

/// What a file holds; nothing if it cannot be read.
pub(super) fn read_json<T: for<'de> Deserialize<'de>>(path: &Path) -> Option<T> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

/// What was fetched: addresses and the content that they gave.
pub type Fetched = BTreeMap<String, Digest>;
