//! How much is kept, and what goes.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::Result;
use fs_err as fs;
use serde::Serialize;

use super::store::{Entry, Store, read_json};

/// How much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Size {
    /// Pieces of content.
    pub files: u64,
    /// Bytes, those on their way too.
    pub bytes: u64,
}

impl Size {
    fn add(&mut self, blob: &Blob) {
        self.files += 1;
        self.bytes += blob.bytes;
    }
}

/// What may stay: what was used least lately goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Bound {
    /// What was not used for so long goes.
    pub age: Option<Duration>,
    /// At most so many bytes stay.
    pub bytes: Option<u64>,
    /// Whether only that goes which is beyond every limit that there is, not what is beyond one.
    pub every: bool,
}

/// A blob in its file.
pub(super) struct Blob {
    /// Its path.
    pub(super) path: PathBuf,
    bytes: u64,
    used: SystemTime,
}

impl Store {
    /// How much is kept.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn size(&self) -> Result<Size> {
        let mut size = Size::default();
        for blob in self.files("blobs")?.into_iter().chain(self.files("partial")?) {
            size.add(&blob);
        }
        Ok(size)
    }

    /// Removes what is beyond `bound`, what leads to content that is not there, and what interrupted processes left.
    /// Gives what was removed.
    ///
    /// # Errors
    /// When something cannot be removed. What another process removes at the same time is no error.
    pub fn prune(&self, bound: Bound) -> Result<Size> {
        let mut removed = self.sweep()?;
        for blob in self.blobs_beyond(bound)? {
            remove(&blob.path)?;
            removed.add(&blob);
        }
        for file in self.files("entries")? {
            let entry: Option<Entry> = read_json(&file.path);
            if !entry.is_some_and(|entry| self.has(&entry.digest, None)) {
                remove(&file.path)?;
            }
        }
        Ok(removed)
    }

    /// How much of the content is beyond `bound`: what [`Store::prune`] would remove of it.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn beyond(&self, bound: Bound) -> Result<Size> {
        let mut size = Size::default();
        for blob in self.blobs_beyond(bound)? {
            size.add(&blob);
        }
        Ok(size)
    }

    fn blobs_beyond(&self, bound: Bound) -> Result<Vec<Blob>> {
        let mut blobs = self.files("blobs")?;
        blobs.sort_by_key(|blob| blob.used);
        let mut left: u64 = blobs.iter().map(|blob| blob.bytes).sum();
        let oldest = bound.age.and_then(|age| SystemTime::now().checked_sub(age));
        blobs.retain(|blob| {
            let is_old = oldest.map(|oldest| blob.used < oldest);
            let beyond: Vec<bool> = is_old.into_iter().chain(bound.bytes.map(|most| left > most)).collect();
            let goes = beyond.contains(&true) && !(bound.every && beyond.contains(&false));
            left -= if goes { blob.bytes } else { 0 };
            goes
        });
        Ok(blobs)
    }

    /// Removes what nobody writes any more.
    fn sweep(&self) -> Result<Size> {
        let mut removed = Size::default();
        for partial in self.files("partial")? {
            let Ok(file) = std::fs::File::open(&partial.path) else {
                continue;
            };
            // Held until it is gone: nobody takes it up between.
            if file.try_lock().is_ok() {
                remove(&partial.path)?;
                removed.add(&partial);
            }
        }
        Ok(removed)
    }

    pub(super) fn files(&self, name: &str) -> Result<Vec<Blob>> {
        let folder = self.folder().join(name);
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

/// Removes a file that another process may have removed meanwhile.
pub(super) fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}
