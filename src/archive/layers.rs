//! The layers of an archive on their way into the store.

use std::io::Read;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use fs_err as fs;

use super::State;
use super::index::{Index, Packed, refused};
use super::told::Told;
use super::unpack::Members;
use crate::cancel::Cancel;
use crate::checkpoint::{Layer, Making, Store};
use crate::event::Events;
use crate::fault::{Cause, Fault};

/// Whether each layer is there. Refuses those that would lie on another making of one than that on which they were made: the
/// disk under them would be another.
///
/// # Errors
/// A [`Cause::Config`] fault that names the one below.
pub fn standing(index: &Index, store: &Store) -> Result<Vec<bool>> {
    let layers = index.layers.iter();
    let there: Vec<Option<Layer>> = layers.map(|layer| store.get(&layer.base().key)).collect();
    let below = index.layers.iter().zip(&there).rev().skip(1);
    for (layer, there) in below {
        if there.as_ref().is_some_and(|there| there.manifest.base != *layer.base()) {
            return Err(other_making(layer).into());
        }
    }
    Ok(there.iter().map(Option::is_some).collect())
}

fn other_making(layer: &Packed) -> Fault {
    let (stage, key) = (layer.manifest.stage, layer.base().key.short());
    let message =
        format!("the checkpoint {stage} ({key}) was made here, too: what lies on the one in the file does not fit it");
    Fault::new(Cause::Config, message).hint(
        "`provision create` makes the rest on the one that is here; or `provision cache prune` first, if no machine needs it",
    )
}

/// Takes layers out of an archive.
pub struct Unpacking<'a, 'b, 'c, R: Read> {
    /// Where they come from.
    pub members: &'a mut Members<'b, R>,
    /// Who hears how far it is.
    pub told: Told<'c>,
    /// Where they lie until they are known to be whole.
    pub folder: &'a Path,
}

impl<R: Read> Unpacking<'_, '_, '_, R> {
    /// Reads a layer's files, into a folder of its own if it is wanted.
    ///
    /// # Errors
    /// When one is not what it was when it was made, or cannot be written.
    pub fn layer(&mut self, layer: &Packed, is_wanted: bool) -> Result<()> {
        let folder = folder_of(self.folder, layer);
        if is_wanted {
            fs::create_dir(&folder)?;
        }
        for file in &layer.files {
            let member = layer.member(&file.name);
            let into = is_wanted.then(|| create(&folder.join(&file.name))).transpose()?;
            let digest = self.members.file(&member, file, into.as_ref(), &mut self.told)?;
            let noted = layer.manifest.digests.get(&file.name);
            if noted.is_some_and(|noted| *noted != digest) {
                bail!(refused(&format!(
                    "{member} is not what it was when it was made (SHA-256)"
                )));
            }
        }
        Ok(())
    }
}

fn folder_of(arriving: &Path, layer: &Packed) -> PathBuf {
    arriving.join(layer.base().key.as_str())
}

fn create(path: &Path) -> Result<std::fs::File> {
    let mut options = std::fs::OpenOptions::new();
    let open = options.write(true).create_new(true).mode(0o600).open(path);
    open.with_context(|| format!("making {}", path.display()))
}

/// Refuses a disk that names more than the one under it.
///
/// # Errors
/// A [`Cause::Verification`] fault that says what it names.
pub fn vet(index: &Index, layer: &Packed, arriving: &Path) -> Result<()> {
    let driver = index.hypervisor.driver();
    let parent = layer.manifest.parent.as_ref();
    let parent = parent.map(|parent| Path::new("..").join(parent.key.as_str()));
    driver.vet(&driver.disk_in(&folder_of(arriving, layer)), parent.as_deref())
}

/// Makes a layer of what was unpacked of it, as a run does that has made it.
///
/// # Errors
/// When it cannot be moved or synced, or another making of it came meanwhile.
pub fn place(
    store: &Store,
    index: &Index,
    layer: &Packed,
    arriving: &Path,
    events: &Events,
    cancel: &Cancel,
) -> Result<State> {
    let Packed { manifest, files } = layer;
    let base = layer.base();
    let _lock = store.lock(&base.key, cancel, || {
        let stage = manifest.stage;
        events.note(format!(
            "another provision makes the checkpoint {stage}; waiting for it"
        ));
    })?;
    if let Some(there) = store.get(&base.key) {
        let is_below = index.layers.last() != Some(layer);
        if is_below && there.manifest.base != *base {
            return Err(other_making(layer).into());
        }
        return Ok(State::There);
    }
    let folder = folder_of(arriving, layer);
    let beside: Vec<PathBuf> = files.iter().skip(1).map(|file| folder.join(&file.name)).collect();
    let making = Making {
        hypervisor: index.hypervisor,
        disk: &index.hypervisor.driver().disk_in(&folder),
        beside: &beside.iter().map(PathBuf::as_path).collect::<Vec<_>>(),
        arrives: true,
    };
    store.commit_all(making, manifest)?;
    Ok(State::Imported)
}
