//! What changes the store: a layer comes, a layer goes, rubbish goes.
//!
//! The order of the steps is what keeps the store whole when a process is killed or the power fails between any two of
//! them; `model` tries that.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use fs_err as fs;

use super::{Layer, MANIFEST, Manifest, NEW, Store, digest, key};
use crate::cancel::Cancel;
use crate::host::disk::or_full;
use crate::key::{FORMAT, Key};
use crate::machine::driver::{Home, Hypervisor};

/// What becomes a layer.
#[derive(Debug, Clone, Copy)]
pub struct Making<'a> {
    /// Whose disk it is.
    pub hypervisor: Hypervisor,
    /// The powered-off disk.
    pub disk: &'a Path,
    /// Files that are kept beside the disk, under their own names.
    pub beside: &'a [&'a Path],
    /// Whether the disk comes from another store and names what it lies on as it is named in every store.
    pub arrives: bool,
}

impl Store {
    /// A layer of a disk alone.
    #[cfg(test)]
    pub fn commit(&self, hypervisor: Hypervisor, disk: &Path, manifest: &Manifest) -> Result<Layer> {
        let making = Making {
            hypervisor,
            disk,
            beside: &[],
            arrives: false,
        };
        self.commit_all(making, manifest)
    }

    /// Puts what is made in place as the layer that `manifest` describes. The caller holds its lock.
    ///
    /// # Errors
    /// When the disk cannot be moved or synced, a [`crate::fault::Cause::Space`] fault when there is no room for it; the
    /// disk may be gone then, but the store is as before.
    pub fn commit_all(&self, making: Making<'_>, manifest: &Manifest) -> Result<Layer> {
        let key = &manifest.base.key;
        let context = || format!("keeping the checkpoint {}", key.short());
        let new = self.unused(NEW);
        let kept = self
            .fill(&new, making, manifest)
            .and_then(|()| self.publish(&new, key))
            .inspect_err(|_| {
                // What cannot be removed now is by the next run.
                let _ = self.discard(&new);
            });
        or_full(kept, &self.layers).with_context(context)?;
        self.read(key).with_context(context)
    }

    /// A path in the folder of layers at which nothing is.
    pub(super) fn unused(&self, prefix: &str) -> PathBuf {
        self.layers
            .join(format!("{prefix}{}", hex::encode(rand::random::<[u8; 8]>())))
    }

    /// Makes the whole layer in the folder `new`, down to the host's disk.
    fn fill(&self, new: &Path, making: Making<'_>, manifest: &Manifest) -> Result<()> {
        let changes = &*self.changes;
        changes.make_dir(new)?;
        let driver = making.hypervisor.driver();
        let parent = manifest.parent.as_ref().filter(|_| !making.arrives);
        let parent = parent.map(|parent| Path::new("..").join(parent.key.as_str()));
        let name = format!("{}-{}", manifest.stage, manifest.base.key.short());
        driver.keep(changes, making.disk, &driver.disk_in(new), &name, parent.as_deref())?;
        for file in making.beside {
            let kept = new.join(file.file_name().context("a file kept beside a disk has a name")?);
            changes.move_file(file, &kept)?;
            changes.protect(&kept)?;
            changes.sync(&kept)?;
        }
        let manifest = Manifest {
            digests: digest::of(new, &Cancel::default())?,
            ..manifest.clone()
        };
        changes.write(&new.join(MANIFEST), &serde_json::to_vec_pretty(&manifest)?)?;
        changes.sync(&new.join(MANIFEST))?;
        Ok(changes.sync(new)?)
    }

    /// Gives the whole layer in `new` its name.
    fn publish(&self, new: &Path, key: &Key) -> Result<()> {
        let dir = self.dir(key);
        // A folder is in the way only if it is not a whole layer: `get` did not take it.
        if self.is_rubbish(&dir, key) {
            self.discard(&dir)?;
        } else if dir.exists() {
            self.move_to_damaged(&dir, &format!("{}-unread", key.short()))?;
        }
        self.changes.rename(new, &dir)?;
        self.settle()
    }

    /// Waits until what is in the store now has reached the host's disk. Another process may just have been killed
    /// between the last two steps of a commit: nothing outside the store may come to lie on its layer before this.
    ///
    /// # Errors
    /// When the folder cannot be synced.
    pub fn settle(&self) -> Result<()> {
        Ok(self.changes.sync(&self.layers)?)
    }

    /// Removes the layer `key`. The caller holds the store alone.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn remove(&self, key: &Key) -> Result<()> {
        self.discard(&self.dir(key))
            .with_context(|| format!("removing the checkpoint {}", key.short()))
    }

    /// Removes a layer or what is left of one. It loses its manifest first: without one it is no layer, whatever else is
    /// left of it when the process is killed or the power fails.
    ///
    /// # Errors
    /// When something cannot be removed.
    pub fn discard(&self, dir: &Path) -> Result<()> {
        let changes = &*self.changes;
        let manifest = dir.join(MANIFEST);
        if manifest.exists() {
            changes.remove_file(&manifest)?;
            changes.sync(dir)?;
        }
        Home::of_stage(dir).remove_by(changes)?;
        changes.remove_tree(dir)
    }

    /// Takes a damaged layer out of the store and returns where it is now. The caller holds the store alone.
    ///
    /// # Errors
    /// When it cannot be moved, or its program says that something lies on it.
    pub fn set_aside(&self, layer: &Layer) -> Result<PathBuf> {
        let base = &layer.manifest.base;
        let context = || format!("setting the damaged checkpoint {} aside", base.key.short());
        layer.hypervisor().driver().forget(&layer.disk).with_context(context)?;
        let name = format!("{}-{}", base.key.short(), base.id);
        self.move_to_damaged(&self.dir(&base.key), &name).with_context(context)
    }

    /// Moves the folder `dir` out of the layers, and gives where it is now.
    fn move_to_damaged(&self, dir: &Path, name: &str) -> Result<PathBuf> {
        let changes = &*self.changes;
        let damaged = self.damaged();
        if !damaged.exists() {
            changes.make_dir(&damaged)?;
        }
        if let Some(cache) = damaged.parent() {
            changes.sync(cache)?;
        }
        let mut to = damaged.join(name);
        if to.exists() {
            // The same checkpoint was imported again, and damaged again.
            to = damaged.join(format!("{name}-{}", hex::encode(rand::random::<[u8; 4]>())));
        }
        changes.rename(dir, &to)?;
        changes.sync(&damaged)?;
        self.settle()?;
        Ok(to)
    }

    /// Removes what is no layer: half-made ones, those of other versions, locks of layers that are gone. The caller
    /// holds the store alone.
    ///
    /// # Errors
    /// When something cannot be removed.
    pub fn sweep(&self) -> Result<()> {
        let (folders, locks) = self.rubbish()?;
        for folder in folders {
            self.discard(&folder)?;
        }
        for lock in locks {
            self.changes.remove_file(&lock)?;
        }
        Ok(())
    }

    /// Whether the folder `dir` in the place of the layer `key` holds nothing that a machine may lie on. One whose manifest cannot be
    /// read, or is damaged, may: as an error of the disk, or a network's file system that is away for a moment.
    fn is_rubbish(&self, dir: &Path, key: &Key) -> bool {
        if self.read(key).is_some() {
            return false;
        }
        let is_missing = |path: &Path| {
            let data = path.symlink_metadata();
            data.is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
        };
        let is_of_another_version = || {
            let manifest = fs::read(dir.join(MANIFEST)).ok();
            let manifest = manifest.and_then(|text| serde_json::from_slice::<serde_json::Value>(&text).ok());
            manifest.is_some_and(|manifest| manifest["format"] != FORMAT)
        };
        let disk = Hypervisor::of(dir).driver().disk_in(dir);
        is_missing(&dir.join(MANIFEST)) || is_missing(&disk) || is_of_another_version()
    }

    /// What [`Store::sweep`] would remove: folders that are no layers, and locks of layers that are gone.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn rubbish(&self) -> Result<(Vec<PathBuf>, Vec<PathBuf>)> {
        let (mut folders, mut locks) = (Vec::new(), Vec::new());
        for entry in fs::read_dir(&self.layers)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let is_layer = |name: &str| key(name).is_some_and(|key| !self.is_rubbish(&self.dir(&key), &key));
            if entry.file_type()?.is_dir() {
                if !is_layer(&name) {
                    folders.push(entry.path());
                }
            } else if let Some(name) = name.strip_suffix(".lock")
                && !is_layer(name)
            {
                locks.push(entry.path());
            }
        }
        Ok((folders, locks))
    }
}
