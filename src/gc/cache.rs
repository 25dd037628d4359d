//! What is left in the cache.

use std::path::{Path, PathBuf};

use anyhow::Result;
use fs_err as fs;

use super::{Search, entries, is_half_identity, is_temporary};
use crate::checkpoint::Store;

impl Search<'_> {
    /// Half-made checkpoints, their locks, files that were being written. Whoever makes such holds a share of the store.
    pub(super) fn cache(&mut self) -> Result<()> {
        let store = Store::at(&self.paths.cache);
        if !store.folder().exists() {
            return Ok(());
        }
        let Some(_alone) = store.try_alone()? else {
            self.events
                .note("another provision command uses the checkpoints: what is in the cache was not looked at");
            return Ok(());
        };
        let (folders, locks) = store.rubbish()?;
        for folder in folders {
            self.found_path("half a checkpoint", &folder, || store.discard(&folder));
        }
        for lock in locks {
            self.found_path("lock of a checkpoint that is gone", &lock, || {
                Ok(fs::remove_file(&lock)?)
            });
        }
        for path in temporary_in(&self.paths.cache)? {
            self.found_path("temporary file", &path, || {
                if path.is_dir() {
                    return Ok(fs::remove_dir_all(&path)?);
                }
                Ok(fs::remove_file(&path)?)
            });
        }
        Ok(())
    }
}

/// Files that were being written, and keys that were being made, in `folder` and those in it.
fn temporary_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for path in entries(folder)? {
        let is_link = path.is_symlink();
        if !is_link && (is_temporary(&path) || is_half_identity(&path)) {
            found.push(path);
        } else if !is_link && path.is_dir() && !path.ends_with("layers") {
            found.extend(temporary_in(&path)?);
        }
    }
    Ok(found)
}
