//! The store of disk layers: what each stage left, one qcow2 file under the stage's content key.
//!
//! ```text
//! layers/KEY/disk.qcow2    holds what the stage changed; its backing file is the parent's, by a relative path (QEMU), or
//! layers/KEY/virtualbox/   a machine that is never started, with a snapshot for linked clones (VirtualBox)
//! layers/KEY/layer.json    the manifest
//! layers/KEY.lock          held while somebody makes the layer
//! layers/.use              shared by who uses layers, held alone by who removes some
//! layers/.new-*            a layer being put in place; whatever is left of one is removed by the next run
//! ```
//!
//! A layer is there when its folder is: the folder is renamed into place once everything in it has reached the disk.
//! The same stage made twice gives the same key but other bytes, on which an overlay of the first would be rubbish. So
//! every making has an identifier, and what lies on a layer names that too.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use fs_err as fs;
use serde::{Deserialize, Serialize};

use crate::cancel::Cancel;
use crate::event::Stage;
use crate::facts::Facts;
use crate::key::{FORMAT, Inputs, Key};
use crate::lock::Lock;
use crate::machine::driver::{Home, Hypervisor};

const MANIFEST: &str = "layer.json";
const NEW: &str = ".new-";
const USE: &str = ".use";

/// One very layer: what an overlay lies on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Base {
    /// What it was made from.
    pub key: Key,
    /// Which making of it: random hexadecimal digits.
    pub id: String,
}

/// What a layer was made from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// The store's format, [`FORMAT`].
    pub format: u32,
    /// The stage that made it.
    pub stage: Stage,
    /// Its key and identifier.
    #[serde(flatten)]
    pub base: Base,
    /// The layer under it.
    pub parent: Option<Base>,
    /// Everything that the stage read.
    pub inputs: Inputs,
    /// When it was made.
    pub made: jiff::Timestamp,
    /// How long the stage took.
    pub seconds: f64,
    /// The version of this program that made it.
    pub tool: String,
    /// What the stage found in the guest.
    #[serde(default)]
    pub facts: Facts,
}

impl Manifest {
    /// The manifest of a layer made just now on `parent`.
    pub fn new(stage: Stage, key: Key, parent: Option<&Layer>, inputs: Inputs, seconds: f64) -> Self {
        let id = hex::encode(rand::random::<[u8; 8]>());
        Self {
            format: FORMAT,
            stage,
            base: Base { key, id },
            parent: parent.map(|layer| layer.manifest.base.clone()),
            inputs,
            made: jiff::Timestamp::now(),
            seconds,
            tool: env!("CARGO_PKG_VERSION").to_owned(),
            facts: Facts::default(),
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
        self.hypervisor().driver().size(&self.disk)
    }

    /// Whose disk it is.
    pub fn hypervisor(&self) -> Hypervisor {
        self.disk.parent().map(Hypervisor::of).unwrap_or_default()
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

    /// The folder of the layers.
    pub fn folder(&self) -> &Path {
        &self.layers
    }

    /// Keeps others from removing layers while the lock is held; `on_wait` is called when somebody is at it. What
    /// interrupted runs left is removed first if nobody else is here.
    ///
    /// # Errors
    /// When the lock file cannot be made, or the user interrupts.
    pub fn share(&self, cancel: &Cancel, on_wait: impl FnOnce()) -> Result<Lock> {
        if let Some(alone) = self.try_alone()? {
            self.sweep()?;
            drop(alone);
        }
        Lock::wait_share(&self.layers.join(USE), cancel, on_wait)
    }

    /// Keeps everybody else out, to remove layers; `None` while somebody uses some.
    ///
    /// # Errors
    /// When the lock file cannot be made.
    pub fn try_alone(&self) -> Result<Option<Lock>> {
        Lock::try_take(&self.layers.join(USE))
    }

    /// Removes what is no layer: half-made ones, those of other versions, locks of layers that are gone. The caller
    /// holds the store alone.
    ///
    /// # Errors
    /// When something cannot be removed.
    pub fn sweep(&self) -> Result<()> {
        for entry in fs::read_dir(&self.layers)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = entry.path();
            if entry.file_type()?.is_dir() {
                let is_layer = key(&name).is_some_and(|key| self.read(&key).is_some());
                if !is_layer {
                    Home::of_stage(&path).remove()?;
                    fs::remove_dir_all(path)?;
                }
            } else if let Some(name) = name.strip_suffix(".lock")
                && !self.layers.join(name).exists()
            {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }

    /// The layer `key` if it is there with the very layers on which it was made.
    pub fn get(&self, key: &Key) -> Option<Layer> {
        let layer = self.read(key)?;
        match &layer.manifest.parent {
            Some(parent) if !self.has(parent) => None,
            _ => Some(layer),
        }
    }

    /// Whether this very layer is there, and all under it.
    pub fn has(&self, base: &Base) -> bool {
        self.get(&base.key).is_some_and(|layer| layer.manifest.base == *base)
    }

    /// The layers from `base` down to the first that is not there.
    pub fn chain(&self, base: &Base) -> Vec<Layer> {
        let first = self.read(&base.key);
        let below = |layer: &Layer| self.read(&layer.manifest.parent.as_ref()?.key);
        std::iter::successors(first, below).collect()
    }

    /// The disks of `layer` and of all under it.
    pub fn disks(&self, layer: &Layer) -> Vec<PathBuf> {
        let chain = self.chain(&layer.manifest.base);
        chain.into_iter().map(|layer| layer.disk).collect()
    }

    /// The digest of the ISO at the beginning of `base`'s chain.
    pub fn installed_from(&self, base: &Base) -> Option<String> {
        let chain = self.chain(base);
        let install = chain.iter().find(|layer| layer.manifest.stage == Stage::Install)?;
        install.manifest.inputs.get("iso").cloned()
    }

    /// A manifest that cannot be read counts as none: its layer can be made again.
    fn read(&self, key: &Key) -> Option<Layer> {
        let dir = self.dir(key);
        let disk = Hypervisor::of(&dir).driver().disk_in(&dir);
        let manifest: Manifest = serde_json::from_slice(&fs::read(dir.join(MANIFEST)).ok()?).ok()?;
        let sound = manifest.format == FORMAT && manifest.base.key == *key && disk.exists();
        sound.then_some(Layer { manifest, disk })
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
            let name = entry?.file_name();
            let key = name.to_str().and_then(key);
            layers.extend(key.and_then(|key| self.read(&key)));
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
    pub fn commit(&self, hypervisor: Hypervisor, disk: &Path, manifest: &Manifest) -> Result<Layer> {
        let key = &manifest.base.key;
        let context = || format!("keeping the checkpoint {}", key.short());
        let new = tempfile::Builder::new()
            .prefix(NEW)
            .tempdir_in(&self.layers)
            .with_context(context)?;
        let driver = hypervisor.driver();
        let parent = manifest.parent.as_ref();
        let parent = parent.map(|parent| Path::new("..").join(parent.key.as_str()));
        let name = format!("{}-{}", manifest.stage, key.short());
        driver
            .keep(disk, &driver.disk_in(new.path()), &name, parent.as_deref())
            .with_context(context)?;
        let text = serde_json::to_vec_pretty(manifest)?;
        fs::write(new.path().join(MANIFEST), text)?;
        for name in [MANIFEST, "."] {
            fs::File::open(new.path().join(name))?.sync_all()?;
        }
        // A folder is in the way only if it is not a whole layer: `get` did not take it.
        let dir = self.dir(key);
        if dir.exists() {
            Home::of_stage(&dir).remove().with_context(context)?;
            fs::remove_dir_all(&dir).with_context(context)?;
        }
        fs::rename(new.keep(), &dir).with_context(context)?;
        fs::File::open(&self.layers)?.sync_all()?;
        self.read(key).with_context(context)
    }

    /// Removes the layer `key`. The caller holds the store alone.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn remove(&self, key: &Key) -> Result<()> {
        let removing = || format!("removing the checkpoint {}", key.short());
        let dir = self.dir(key);
        // A folder without a disk is no layer.
        Home::of_stage(&dir).remove().with_context(removing)?;
        let away = tempfile::Builder::new().prefix(NEW).tempdir_in(&self.layers)?;
        // By a rename the layer goes as a whole; what is left of the folder is rubbish with a name that says so.
        fs::rename(dir, away.path().join("removed"))?;
        away.close().with_context(removing)
    }
}

/// The key that a folder is named after.
fn key(name: &str) -> Option<Key> {
    serde_json::from_value(name.into()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::qemu::image;

    fn manifest(stage: Stage, parent: Option<&Layer>) -> Manifest {
        let inputs = Inputs::from([("a".to_owned(), "1".to_owned())]);
        let key = Key::derive(stage, parent.map(|layer| &layer.manifest.base.key), &inputs);
        Manifest::new(stage, key, parent, inputs, 1.5)
    }

    fn disk(folder: &Path) -> PathBuf {
        let disk = folder.join("work.qcow2");
        image::create(&disk, 1).unwrap();
        disk
    }

    fn overlay(folder: &Path, base: &Layer) -> PathBuf {
        let disk = folder.join("overlay.qcow2");
        image::create_overlay(&disk, &base.disk).unwrap();
        disk
    }

    #[test]
    fn a_layer_is_there_only_with_its_ancestors() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let base = store
            .commit(Hypervisor::Qemu, &disk(folder.path()), &manifest(Stage::Install, None))
            .unwrap();
        let docker = manifest(Stage::Docker, Some(&base));
        store
            .commit(Hypervisor::Qemu, &overlay(folder.path(), &base), &docker)
            .unwrap();
        assert_eq!(store.list().unwrap().len(), 2);
        assert_eq!(store.get(&docker.base.key).unwrap().manifest, docker);
        assert_eq!(store.newest(Stage::Docker).unwrap().unwrap().manifest, docker);

        store.remove(&base.manifest.base.key).unwrap();
        assert!(store.get(&docker.base.key).is_none());
        assert_eq!(store.list().unwrap().len(), 1);
    }

    #[test]
    fn a_layer_made_again_bears_no_overlay_of_the_former() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let first = store
            .commit(Hypervisor::Qemu, &disk(folder.path()), &manifest(Stage::Install, None))
            .unwrap();
        let docker = manifest(Stage::Docker, Some(&first));
        store
            .commit(Hypervisor::Qemu, &overlay(folder.path(), &first), &docker)
            .unwrap();
        store.remove(&first.manifest.base.key).unwrap();
        let again = store
            .commit(Hypervisor::Qemu, &disk(folder.path()), &manifest(Stage::Install, None))
            .unwrap();
        assert_eq!(again.manifest.base.key, first.manifest.base.key);
        assert!(store.get(&docker.base.key).is_none());
        assert!(!store.has(&first.manifest.base));
        assert!(store.has(&again.manifest.base));
    }

    #[test]
    fn half_a_layer_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let manifest = manifest(Stage::Install, None);
        let key = &manifest.base.key;
        std::fs::create_dir_all(store.dir(key)).unwrap();
        std::fs::write(store.dir(key).join(MANIFEST), "{").unwrap();
        assert!(store.get(key).is_none());
        assert!(store.list().unwrap().is_empty());
        // And it does not keep the whole one from being put in its place.
        store.commit(Hypervisor::Qemu, &disk(folder.path()), &manifest).unwrap();
        assert!(store.get(key).is_some());
    }

    #[test]
    fn what_interrupted_runs_left_is_swept_when_nobody_is_here() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let manifest = manifest(Stage::Install, None);
        store.commit(Hypervisor::Qemu, &disk(folder.path()), &manifest).unwrap();
        let half = store.folder().join(".new-abc");
        std::fs::create_dir(&half).unwrap();
        let cancel = Cancel::default();
        let busy = || panic!("nobody holds the store alone");

        let other = Lock::try_share(&store.folder().join(USE)).unwrap();
        let held = store.share(&cancel, busy).unwrap();
        assert!(half.exists(), "it may be the other's");
        assert!(store.try_alone().unwrap().is_none());
        drop((held, other));
        let _held = store.share(&cancel, busy).unwrap();
        assert!(!half.exists());
        assert!(store.get(&manifest.base.key).is_some());
    }
}
