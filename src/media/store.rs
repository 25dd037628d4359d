//! The folder of ISOs in the cache:
//!
//! | path | holds |
//! |---|---|
//! | `sha512-4b4c60…/NAME.iso` | an ISO that was verified when it was put there; the folder is named after its digest |
//! | `sha512-4b4c60…/iso.json` | what is known about it: [`CachedIso`] |
//! | `sha512-4b4c60…/NAME.iso.part`, `….part.json` | a download that has not ended |
//! | `sha512-4b4c60…/NAME.iso.damaged` | an ISO that changed, until there is a sound one |
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
use crate::lock::Lock;

const RECORD: &str = "iso.json";
const LOCK: &str = "lock";

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
        self.folder.join(LOCK)
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

    /// Writes down what is known about the ISO, if that was lost (without it the ISO belongs to nothing), or if it is
    /// another signature by now for which it is trusted.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn restore_record(&self, origin: &Origin, record: impl FnOnce() -> Result<Record>) -> Result<()> {
        let is_signed = matches!(origin, Origin::Signed { .. });
        if record_in(&self.folder).is_some_and(|kept| !is_signed || kept.record.origin == *origin) {
            return Ok(());
        }
        write(&self.folder.join(RECORD), &record()?)
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
    for folder in folders(cache)? {
        found.extend(record_in(&folder));
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

/// A file in the cache that is no ISO to use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rest {
    /// What it is, in a word or two.
    pub kind: &'static str,
    /// The file.
    pub path: PathBuf,
    /// Its size in bytes.
    pub bytes: u64,
}

/// What lies in the folder `cache` beside the ISOs of [`list`]: downloads that did not end, damaged ISOs, ISOs of which
/// nothing is known.
///
/// # Errors
/// When the folder cannot be read.
pub fn rests(cache: &Path) -> Result<Vec<Rest>> {
    let mut found = Vec::new();
    for folder in folders(cache)? {
        let iso = record_in(&folder).map(|iso| iso.path);
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            let path = entry.path();
            let data = entry.metadata()?;
            if let Some(kind) = kind_of(&path).filter(|_| data.is_file() && Some(&path) != iso.as_ref()) {
                let bytes = data.len();
                found.push(Rest { kind, path, bytes });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

/// Removes a rest, with what is noted about it; whether it was. Nothing is removed from under a download that runs.
///
/// # Errors
/// When it cannot be removed.
pub fn remove_rest(rest: &Rest) -> Result<bool> {
    let folder = rest.path.parent().unwrap_or(&rest.path);
    let Some(_lock) = Lock::try_take(&folder.join(LOCK))? else {
        return Ok(false);
    };
    super::download::discard(&rest.path)?;
    Ok(true)
}

/// The folders that hold ISOs: those named after a digest.
fn folders(cache: &Path) -> Result<Vec<PathBuf>> {
    if !cache.exists() {
        return Ok(Vec::new());
    }
    let named = |path: &Path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        path.is_dir() && (name.starts_with("sha512-") || name.starts_with("sha256-"))
    };
    let entries = fs::read_dir(cache)?.map(|entry| Ok(entry?.path()));
    let paths: Vec<PathBuf> = entries.collect::<Result<_>>()?;
    Ok(paths.into_iter().filter(|path| named(path)).collect())
}

/// What a file beside an ISO is; `None` for the small ones that stay.
fn kind_of(path: &Path) -> Option<&'static str> {
    let name = path.file_name()?.to_str()?;
    let extension = path.extension().and_then(|extension| extension.to_str());
    match extension {
        _ if name == RECORD || name == LOCK => None,
        Some("part") => Some("download"),
        Some("damaged") => Some("damaged"),
        Some("iso") => Some("ISO"),
        _ => None,
    }
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
