//! Layers that come from another host: a place in the store for them until they are known to be whole.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::{NEW, Store};

/// An empty folder in the store, on the same file system as the layers. It goes with this value, or with the next run's sweep.
#[derive(Debug)]
pub struct Arriving<'a> {
    store: &'a Store,
    folder: PathBuf,
}

impl Store {
    /// Makes such a folder. The caller holds a share of the store, or all of it.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn arriving(&self) -> Result<Arriving<'_>> {
        let folder = self.unused(NEW);
        self.changes.make_dir(&folder)?;
        Ok(Arriving { store: self, folder })
    }
}

impl Arriving<'_> {
    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Drop for Arriving<'_> {
    fn drop(&mut self) {
        // What cannot be removed now is by the next run.
        let _ = self.store.discard(&self.folder);
    }
}
