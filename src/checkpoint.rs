//! The store of disk layers: what each stage left, one qcow2 file under the stage's content key.
//!
//! ```text
//! layers/KEY/disk.qcow2    holds what the stage changed; its backing file is the parent's, by a relative path
//! layers/KEY/layer.json    the manifest
//! layers/KEY.lock          held while somebody makes the layer
//! layers/.new-*            a layer being put in place; whatever is left of one is removed by the next run
//! ```
//!
//! A layer is there when its folder is: the folder is renamed into place once everything in it has reached the disk.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use fs_err as fs;
use serde::{Deserialize, Serialize};

use crate::cancel::Cancel;
use crate::event::Stage;
use crate::key::{FORMAT, Inputs, Key};
use crate::lock::Lock;
use crate::machine::qemu::image;

/// The name of a layer's disk in its folder.
pub const DISK: &str = "disk.qcow2";

const MANIFEST: &str = "layer.json";
const NEW: &str = ".new-";

/// What a layer was made from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// The store's format, [`FORMAT`].
    pub format: u32,
    /// The stage that made it.
    pub stage: Stage,
    /// Its key.
    pub key: Key,
    /// The layer under it.
    pub parent: Option<Key>,
    /// Everything that the stage read.
    pub inputs: Inputs,
    /// When it was made.
    pub made: jiff::Timestamp,
    /// How long the stage took.
    pub seconds: f64,
    /// The version of this program that made it.
    pub tool: String,
}

impl Manifest {
    /// The manifest of a layer made just now.
    pub fn new(stage: Stage, key: Key, parent: Option<Key>, inputs: Inputs, seconds: f64) -> Self {
        Self {
            format: FORMAT,
            stage,
            key,
            parent,
            inputs,
            made: jiff::Timestamp::now(),
            seconds,
            tool: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }
}

/// A finished layer.
#[derive(Debug, Clone, PartialEq)]
pub struct Layer {
    /// What it was made from.
    pub manifest: Manifest,
    /// Its disk; never to be written to.
    pub disk: PathBuf,
}

impl Layer {
    /// How much the layer takes on the host's disk, in bytes.
    pub fn size(&self) -> u64 {
        use std::os::unix::fs::MetadataExt as _;
        // st_blocks counts units of 512 bytes whatever the file system (stat(3type)).
        fs::metadata(&self.disk).map_or(0, |data| data.blocks() * 512)
    }
}

/// The store in one folder.
#[derive(Debug, Clone)]
pub struct Store {
    layers: PathBuf,
}

impl Store {
    /// Opens, or makes, the store in the cache folder `cache`.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn open(cache: &Path) -> Result<Self> {
        let layers = cache.join("layers");
        fs::create_dir_all(&layers)?;
        Ok(Self { layers })
    }

    /// The layer `key` if it and all layers under it are there.
    ///
    /// # Errors
    /// When a manifest cannot be read; a missing one is no error.
    pub fn get(&self, key: &Key) -> Result<Option<Layer>> {
        let Some(layer) = self.read(key)? else {
            return Ok(None);
        };
        match &layer.manifest.parent {
            Some(parent) if self.get(parent)?.is_none() => Ok(None),
            _ => Ok(Some(layer)),
        }
    }

    fn read(&self, key: &Key) -> Result<Option<Layer>> {
        let dir = self.dir(key);
        let disk = dir.join(DISK);
        let manifest = dir.join(MANIFEST);
        let bytes = match fs::read(&manifest) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        let manifest: Manifest =
            serde_json::from_slice(&bytes).with_context(|| format!("reading {}", manifest.display()))?;
        Ok((manifest.format == FORMAT && disk.exists()).then_some(Layer { manifest, disk }))
    }

    fn dir(&self, key: &Key) -> PathBuf {
        self.layers.join(key.as_str())
    }

    /// Every layer, oldest first.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn list(&self) -> Result<Vec<Layer>> {
        let mut layers = Vec::new();
        for entry in fs::read_dir(&self.layers)? {
            let entry = entry?;
            let name = entry.file_name();
            let is_layer = entry.file_type()?.is_dir() && !name.to_string_lossy().starts_with('.');
            if let Some(key) = name.to_str().filter(|_| is_layer)
                && let Ok(key) = serde_json::from_value(key.into())
                && let Some(layer) = self.read(&key)?
            {
                layers.push(layer);
            }
        }
        layers.sort_by_key(|layer| layer.manifest.made);
        Ok(layers)
    }

    /// The newest layer of `stage`, to say what has changed since.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn newest(&self, stage: Stage) -> Result<Option<Layer>> {
        let layers = self.list()?;
        Ok(layers.into_iter().rfind(|layer| layer.manifest.stage == stage))
    }

    /// Waits until nobody else makes the layer `key`, and keeps others from it. `on_wait` is called when somebody
    /// does.
    ///
    /// # Errors
    /// When the lock file cannot be made, or the user interrupts.
    pub fn lock(&self, key: &Key, cancel: &Cancel, on_wait: impl FnOnce()) -> Result<Lock> {
        Lock::wait(&self.layers.join(format!("{key}.lock")), cancel, on_wait)
    }

    /// Puts the powered-off `disk` in place as the layer that `manifest` describes. The caller holds its lock.
    ///
    /// # Errors
    /// When the disk cannot be moved or synced; `disk` may be gone then, but the store is as before.
    pub fn commit(&self, disk: &Path, manifest: &Manifest) -> Result<Layer> {
        let key = &manifest.key;
        let context = || format!("keeping the checkpoint {}", key.short());
        let new = tempfile::Builder::new()
            .prefix(NEW)
            .tempdir_in(&self.layers)
            .with_context(context)?;
        let into = new.path().join(DISK);
        move_file(disk, &into).with_context(context)?;
        if let Some(parent) = &manifest.parent {
            image::relink(&into, &Path::new("..").join(parent.as_str()).join(DISK))?;
        }
        fs::set_permissions(&into, std::os::unix::fs::PermissionsExt::from_mode(0o400))?;
        let text = serde_json::to_vec_pretty(manifest)?;
        fs::write(new.path().join(MANIFEST), text)?;
        for name in [DISK, MANIFEST, "."] {
            fs::File::open(new.path().join(name))?.sync_all()?;
        }
        // A folder is in the way only if it is not a whole layer: `get` did not take it.
        let dir = self.dir(key);
        if dir.exists() {
            fs::remove_dir_all(&dir).with_context(context)?;
        }
        fs::rename(new.keep(), &dir).with_context(context)?;
        fs::File::open(&self.layers)?.sync_all()?;
        self.read(key)?.with_context(context)
    }

    /// Removes the layer `key`.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn remove(&self, key: &Key) -> Result<()> {
        let away = tempfile::Builder::new().prefix(NEW).tempdir_in(&self.layers)?;
        // By a rename the layer goes as a whole; what is left of the folder is rubbish with a name that says so.
        fs::rename(self.dir(key), away.path().join("removed"))?;
        away.close()
            .with_context(|| format!("removing the checkpoint {}", key.short()))
    }
}

/// Renames `from`; copies it where that crosses file systems, without filling its holes.
fn move_file(from: &Path, to: &Path) -> Result<()> {
    match std::fs::rename(from, to) {
        Err(error) if error.kind() == std::io::ErrorKind::CrossesDevices => {
            image::copy(from, to)?;
            fs::remove_file(from)?;
            Ok(())
        }
        other => Ok(other?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(stage: Stage, parent: Option<&Key>) -> Manifest {
        let inputs = Inputs::from([("a".to_owned(), "1".to_owned())]);
        let key = Key::derive(stage, parent, &inputs);
        Manifest::new(stage, key, parent.cloned(), inputs, 1.5)
    }

    fn disk(folder: &Path) -> PathBuf {
        let disk = folder.join("work.qcow2");
        image::create(&disk, 1).unwrap();
        disk
    }

    #[test]
    fn a_layer_is_there_only_with_its_ancestors() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let install = manifest(Stage::Install, None);
        let docker = manifest(Stage::Docker, Some(&install.key));
        let base = store.commit(&disk(folder.path()), &install).unwrap();
        let work = folder.path().join("overlay.qcow2");
        image::create_overlay(&work, &base.disk).unwrap();
        store.commit(&work, &docker).unwrap();
        assert_eq!(store.list().unwrap().len(), 2);
        assert_eq!(store.get(&docker.key).unwrap().unwrap().manifest, docker);
        assert_eq!(store.newest(Stage::Docker).unwrap().unwrap().manifest, docker);

        store.remove(&install.key).unwrap();
        assert!(store.get(&docker.key).unwrap().is_none());
        assert_eq!(store.list().unwrap().len(), 1);
    }

    #[test]
    fn half_a_layer_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let manifest = manifest(Stage::Install, None);
        std::fs::create_dir_all(store.dir(&manifest.key)).unwrap();
        assert!(store.get(&manifest.key).unwrap().is_none());
        // And it does not keep the whole one from being put in its place.
        store.commit(&disk(folder.path()), &manifest).unwrap();
        assert!(store.get(&manifest.key).unwrap().is_some());
    }
}
