//! The folder of ISOs in the cache:
//!
//! | path | holds |
//! |---|---|
//! | `sha512-4b4c60…/NAME.iso` | an ISO that was verified when it was put there; the folder is named after its digest |
//! | `sha512-4b4c60…/iso.json` | what is known about it: [`CachedIso`] |
//! | `sha512-4b4c60…/NAME.iso.part`, `….part.json` | a download that has not ended |
//! | `sha512-4b4c60…/lock` | held by who downloads or checks it |
//! | `resolved/….json` | the last checksum file of a guest definition, with its signature |
//! | `local/….json` | the checksum of a file that the user gave with `--iso`, with its size and time |

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use fs_err as fs;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::Origin;
use super::digest::Digest;

const RECORD: &str = "iso.json";

/// Where one ISO is or will be.
#[derive(Debug, Clone)]
pub struct Place {
    folder: PathBuf,
    name: String,
}

impl Place {
    /// The place of the ISO `name` with `digest` in the folder `cache`.
    pub fn new(cache: &Path, digest: &Digest, name: &str) -> Self {
        Self {
            folder: cache.join(digest.folder()),
            name: name.to_owned(),
        }
    }

    /// The ISO.
    pub fn iso(&self) -> PathBuf {
        self.folder.join(&self.name)
    }

    /// Its download that has not ended.
    pub fn part(&self) -> PathBuf {
        self.folder.join(format!("{}.part", self.name))
    }

    /// Where a damaged one is kept until there is a sound one.
    pub fn damaged(&self) -> PathBuf {
        self.folder.join(format!("{}.damaged", self.name))
    }

    /// What is locked by who works here.
    pub fn lock(&self) -> PathBuf {
        self.folder.join("lock")
    }

    /// Puts the complete and verified download in its place.
    ///
    /// # Errors
    /// When it cannot be renamed or noted down.
    pub fn accept(&self, record: &Record) -> Result<()> {
        fs::rename(self.part(), self.iso())?;
        // A rename is on the disk when its folder is.
        fs::File::open(&self.folder)?.sync_all()?;
        super::download::discard(&self.part())?;
        write(&self.folder.join(RECORD), record)?;
        remove(&self.damaged())
    }

    /// Takes a damaged ISO out of the way.
    ///
    /// # Errors
    /// When it cannot be renamed.
    pub fn set_aside(&self) -> Result<()> {
        Ok(fs::rename(self.iso(), self.damaged())?)
    }
}

/// What is written beside an ISO.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The file name.
    pub name: String,
    /// What it hashed to.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// Why it is trusted.
    pub origin: Origin,
    /// Where it came from.
    pub url: String,
    /// When it was put here, in seconds since 1970.
    pub fetched_at: u64,
}

/// An ISO in the cache, as it was when it was put there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CachedIso {
    /// What is written beside it.
    pub record: Record,
    /// The file.
    pub path: PathBuf,
}

/// All ISOs in the folder `cache`, for `provision cache`. Nothing is hashed.
///
/// # Errors
/// When the folder cannot be read.
pub fn list(cache: &Path) -> Result<Vec<CachedIso>> {
    let mut found = Vec::new();
    if cache.exists() {
        for entry in fs::read_dir(cache)? {
            found.extend(record_in(&entry?.path()));
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

fn record_in(folder: &Path) -> Option<CachedIso> {
    let record: Record = read(&folder.join(RECORD))?;
    let path = folder.join(&record.name);
    let size = fs::metadata(&path).ok()?.len();
    (size == record.size).then_some(CachedIso { record, path })
}

/// Reads a JSON file; one that is not there or cannot be understood counts as not there, as all of it can be made
/// again.
pub fn read<T: DeserializeOwned>(file: &Path) -> Option<T> {
    serde_json::from_slice(&fs::read(file).ok()?).ok()
}

/// Writes a JSON file that is there in full or not at all.
///
/// # Errors
/// When it cannot be written.
pub fn write(file: &Path, value: &impl Serialize) -> Result<()> {
    let folder = file.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let mut new =
        tempfile::NamedTempFile::new_in(folder).with_context(|| format!("writing in {}", folder.display()))?;
    serde_json::to_writer_pretty(&mut new, value).with_context(|| format!("writing {}", file.display()))?;
    new.as_file().sync_all()?;
    new.persist(file)
        .with_context(|| format!("writing {}", file.display()))?;
    Ok(())
}

/// Removes a file that may not be there.
///
/// # Errors
/// When it is there and cannot be removed.
pub fn remove(file: &Path) -> Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}
