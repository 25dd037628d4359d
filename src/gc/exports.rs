//! Machines of exports that were killed with their guardian: they work beside the export's target, wherever that is.

use std::path::{Path, PathBuf};

use anyhow::Result;
use fs_err as fs;

use super::Search;
use crate::export;
use crate::lock::Lock;
use crate::process::table;

impl Search<'_> {
    pub(super) fn exports(&mut self) -> Result<()> {
        for runner in table::runners() {
            let Some(partial) = partial(&runner.folder) else {
                continue;
            };
            // Its export still works while it holds the lock.
            if let Some(_lock) = Lock::try_take(&partial.join("lock"))? {
                self.found_runner(&runner);
                self.found_path("half an export", &partial, || Ok(fs::remove_dir_all(&partial)?));
            }
        }
        Ok(())
    }
}

/// The `.NAME.partial` with a lock in it that `folder` lies in: see [`crate::export`].
fn partial(folder: &Path) -> Option<PathBuf> {
    folder
        .ancestors()
        .find(|path| export::is_partial(path))
        .map(Path::to_owned)
}
