//! A file of the user's own in place of a release: used where it is, never changed.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use fs_err as fs;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::digest::{Algorithm, Digest, Hasher};
use super::progress::Progress;
use super::{Iso, Known, Origin, store};
use crate::cancel::Cancel;
use crate::config::Checksum;
use crate::event::{Events, Stage};
use crate::fault::{Cause, Fault};

/// A file's content as far as the file system tells without reading it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Stamp {
    path: PathBuf,
    device: u64,
    inode: u64,
    size: u64,
    /// Of the last change of its content, in seconds and nanoseconds.
    modified: (i64, i64),
}

/// What a file hashed to when it looked like this.
#[derive(Debug, Serialize, Deserialize)]
struct Seen {
    stamp: Stamp,
    digest: Digest,
}

/// Hashes `path` and compares it with `checksum`, or warns that there is none.
///
/// # Errors
/// [`Cause::Config`] when there is no such file, [`Cause::Verification`] when it hashes to something else,
/// [`Cause::Interrupted`].
pub fn obtain(path: &Path, checksum: Option<&Checksum>, cache: &Path, events: &Events, cancel: &Cancel) -> Result<Iso> {
    let stamp = Stamp::of(path)?;
    let wanted: Option<Digest> = checksum.map(TryInto::try_into).transpose()?;
    events.step(Stage::Media, format!("checking {}", path.display()));
    // Any function serves to name a file that nobody vouches for; this one is the faster.
    let algorithm = wanted.as_ref().map_or(Algorithm::Sha256, Digest::algorithm);
    let mut hasher = Hasher::new(algorithm);
    hasher.update_from(path, &mut Progress::new(events, Some(stamp.size)), cancel)?;
    let digest = hasher.finish();
    let origin = match wanted {
        Some(wanted) if wanted != digest => return Err(mismatch(path, &wanted, &digest).into()),
        Some(_) => Origin::Checksum,
        None => {
            events.warn(format!(
                "{} is not verified: there is no checksum (`--iso-sha512 SUM`) to compare it with",
                path.display()
            ));
            store::write(
                &seen_file(&stamp.path, cache),
                &Seen {
                    stamp,
                    digest: digest.clone(),
                },
            )?;
            Origin::Unverified
        }
    };
    Ok(Iso {
        path: path.to_owned(),
        name: name_of(path),
        digest,
        origin,
    })
}

/// What is known of `path` without reading it: the given checksum, or what it hashed to before it was last changed.
pub fn known(path: &Path, checksum: Option<&Checksum>, cache: &Path) -> Result<Option<Known>> {
    let stamp = Stamp::of(path)?;
    let (digest, origin) = if let Some(checksum) = checksum {
        (checksum.try_into()?, Origin::Checksum)
    } else {
        let seen: Option<Seen> = store::read(&seen_file(&stamp.path, cache));
        match seen.filter(|seen| seen.stamp == stamp) {
            Some(seen) => (seen.digest, Origin::Unverified),
            None => return Ok(None),
        }
    };
    let (name, path) = (name_of(path), Some(path.to_owned()));
    Ok(Some(Known {
        name,
        digest,
        origin,
        fresh: true,
        path,
    }))
}

impl Stamp {
    fn of(path: &Path) -> Result<Self> {
        let missing = || {
            let message = format!("there is no ISO file {}", path.display());
            Fault::new(Cause::Config, message).hint("give `--iso` the path of a Debian netinst or DVD image")
        };
        let data = fs::metadata(path).with_context(missing)?;
        if !data.is_file() {
            return Err(missing().into());
        }
        Ok(Self {
            path: fs::canonicalize(path)?,
            device: data.dev(),
            inode: data.ino(),
            size: data.len(),
            modified: (data.mtime(), data.mtime_nsec()),
        })
    }
}

fn seen_file(path: &Path, cache: &Path) -> PathBuf {
    let name = hex::encode(&Sha256::digest(path.as_os_str().as_encoded_bytes())[..16]);
    cache.join("local").join(format!("{name}.json"))
}

fn name_of(path: &Path) -> String {
    path.file_name()
        .unwrap_or(path.as_os_str())
        .to_string_lossy()
        .into_owned()
}

fn mismatch(path: &Path, wanted: &Digest, found: &Digest) -> Fault {
    let message = format!(
        "{} is not the file it should be: {found} instead of {wanted}",
        path.display()
    );
    Fault::new(Cause::Verification, message)
        .hint("download it again, or give the checksum that its publisher lists for this very file")
}
