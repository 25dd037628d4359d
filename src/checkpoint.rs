//! The store of disk layers: what each stage left, one qcow2 file under the stage's content key.
//!
//! ```text
//! layers/KEY/disk.qcow2    holds what the stage changed; its backing file is the parent's, by a relative path (QEMU), or
//! layers/KEY/virtualbox/   a machine that is never started, with a snapshot for linked clones (VirtualBox)
//! layers/KEY/layer.json    the manifest
//! layers/KEY.lock          held while somebody makes the layer
//! layers/.use              shared by who uses layers, held alone by who removes some
//! layers/.new-*            a layer being put in place; whatever is left of one is removed by the next run
//! damaged/KEY-ID/          a layer that `cache check` found damaged
//! ```
//!
//! A layer is there when its folder is: the folder is renamed into place once everything in it has reached the disk. A
//! layer that goes loses its manifest first, and nothing else before that has reached the disk.
//! The same stage made twice gives the same key but other bytes, on which an overlay of the first would be rubbish. So
//! every making has an identifier, and what lies on a layer names that too.

mod arriving;
mod check;
mod digest;
mod keep;
mod manifest;
pub mod prune;

pub use keep::Making;
pub use manifest::{Base, Layer, Manifest};

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use fs_err as fs;

use crate::cancel::Cancel;
use crate::changes::{Changes, Real};
use crate::event::Stage;
use crate::facts;
use crate::key::{FORMAT, Key};
use crate::lock::Lock;
use crate::machine::driver::Hypervisor;
use crate::media::Installed;

const MANIFEST: &str = "layer.json";
const NEW: &str = ".new-";
const USE: &str = ".use";
const DAMAGED: &str = "damaged";

/// The store in one folder.
#[derive(Debug, Clone)]
pub struct Store {
    layers: PathBuf,
    changes: Arc<dyn Changes>,
}

impl Store {
    /// Opens, or makes, the store in the cache folder `cache`.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn open(cache: &Path) -> Result<Self> {
        let store = Self::at(cache);
        fs::create_dir_all(&store.layers)?;
        Ok(store)
    }

    /// The store in the cache folder `cache`, to look at: nothing is made or changed by that.
    pub fn at(cache: &Path) -> Self {
        Self::with(cache, Arc::new(Real))
    }

    /// The same with another way to change things.
    fn with(cache: &Path, changes: Arc<dyn Changes>) -> Self {
        let layers = cache.join("layers");
        Self { layers, changes }
    }

    /// The folder of the layers.
    pub fn folder(&self) -> &Path {
        &self.layers
    }

    /// Where damaged layers are put.
    pub fn damaged(&self) -> PathBuf {
        self.layers.with_file_name(DAMAGED)
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

    /// Waits until nobody else makes the layer `key`, and keeps others from it. `on_wait` is called when somebody
    /// does.
    ///
    /// # Errors
    /// When the lock file cannot be made, or the user interrupts.
    pub fn lock(&self, key: &Key, cancel: &Cancel, on_wait: impl FnOnce()) -> Result<Lock> {
        Lock::wait(&self.layers.join(format!("{key}.lock")), cancel, on_wait)
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
    pub fn installed_from(&self, base: &Base) -> Option<Installed> {
        let chain = self.chain(base);
        let install = chain.iter().find(|layer| layer.manifest.stage == Stage::Install)?;
        let Manifest { inputs, facts, .. } = &install.manifest;
        Some(Installed {
            digest: inputs.get("iso")?.clone(),
            known: facts.iso.as_ref().map(facts::Iso::known),
        })
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
        if !self.layers.exists() {
            return Ok(layers);
        }
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
}

/// The key that a folder is named after.
fn key(name: &str) -> Option<Key> {
    serde_json::from_value(name.into()).ok()
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod real;
#[cfg(test)]
mod tests;
