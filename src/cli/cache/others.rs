//! What is kept beside ISOs and checkpoints. A new kind of thing that is kept needs one function here and its line in
//! [`all`]: then it is listed, and goes by the rules of `prune`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::Result;
use fs_err as fs;
use jiff::Timestamp;

use super::contents::{Removal, Thing};
use crate::checkpoint::Store;
use crate::media;
use crate::paths::Paths;

/// The kind of a login's keys.
pub const IDENTITY: &str = "identity";

/// The name of the keys that open the checkpoints that know no login.
pub const BUILDER: &str = "_builder";

/// Everything that nothing lies on.
///
/// # Errors
/// When something cannot be read.
pub fn all(paths: &Paths, store: &Store) -> Result<Vec<Thing>> {
    let kinds = [rests(paths)?, damaged(store)?];
    Ok(kinds.into_iter().flatten().collect())
}

/// The keys of logins, and those of the checkpoints without one.
///
/// # Errors
/// When the folder cannot be read.
pub fn identities(paths: &Paths) -> Result<Vec<Thing>> {
    let builder = paths.builder();
    let folders = folders(builder.parent().unwrap_or(&builder))?;
    // What is being made has a name that begins so.
    let folders = folders.into_iter().filter(|folder| !name(folder).starts_with('.'));
    folders.map(|folder| of_folder(IDENTITY, folder)).collect()
}

/// Downloads that did not end, damaged ISOs.
fn rests(paths: &Paths) -> Result<Vec<Thing>> {
    let rests = media::rests(&paths.isos())?;
    let thing = |rest: media::Rest| Thing {
        kind: rest.kind.to_owned(),
        name: name(&rest.path),
        bytes: rest.bytes,
        made: modified(&rest.path),
        under: None,
        on: Vec::new(),
        needed_by: BTreeSet::new(),
        removal: Removal::Rest(rest),
    };
    Ok(rests.into_iter().map(thing).collect())
}

/// Checkpoints that were set aside.
fn damaged(store: &Store) -> Result<Vec<Thing>> {
    let folders = folders(&store.damaged())?;
    folders.into_iter().map(|folder| of_folder("damaged", folder)).collect()
}

fn of_folder(kind: &str, folder: PathBuf) -> Result<Thing> {
    Ok(Thing {
        kind: kind.to_owned(),
        name: name(&folder),
        bytes: size(&folder)?,
        made: modified(&folder),
        under: None,
        on: Vec::new(),
        needed_by: BTreeSet::new(),
        removal: Removal::Paths(vec![folder]),
    })
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn modified(path: &Path) -> Timestamp {
    let time = path.metadata().and_then(|data| data.modified()).ok();
    time.and_then(|time| Timestamp::try_from(time).ok()).unwrap_or_default()
}

fn folders(folder: &Path) -> Result<Vec<PathBuf>> {
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let mut folders = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            folders.push(path);
        }
    }
    folders.sort();
    Ok(folders)
}

/// How much all that is in `path` takes on the host's disk, in bytes.
fn size(path: &Path) -> Result<u64> {
    use std::os::unix::fs::MetadataExt as _;
    let data = fs::symlink_metadata(path)?;
    if !data.is_dir() {
        // st_blocks counts units of 512 bytes whatever the file system (stat(3type)).
        return Ok(data.blocks() * 512);
    }
    let mut bytes = 0;
    for entry in fs::read_dir(path)? {
        bytes += size(&entry?.path())?;
    }
    Ok(bytes)
}
