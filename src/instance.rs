//! The folder of one machine.
//!
//! ```text
//! machines/NAME/machine.json    the record: what it is made of, its ports, where its disk is
//! machines/NAME/manifest.json   what it was made from, in every detail
//! machines/NAME/timings.json    what the run that made it so took
//! machines/NAME/lock            held while a command changes the machine
//! machines/NAME/disk*.qcow2     what the machine wrote since `create`; an overlay on the last checkpoint (QEMU), or
//! machines/NAME/virtualbox/     the same as a linked clone (VirtualBox)
//! machines/NAME/moments/        moments that are kept, with memory or without
//! machines/NAME/identity/       the key pairs and the password of its login (0600)
//! machines/NAME/run/            QEMU's socket, PID, message log and the console of the last start
//! machines/NAME/work/STAGE/     a stage being run: its disk and logs; gone when it is done
//! machines/NAME/logs/STAGE/     what a stage's last run left: console, installer's log, output
//! machines/NAME/failure-TIME/   the same and more of a run that failed
//! ```

mod clear;
mod failure;
mod locked;
mod provenance;
mod record;
mod timings;
mod users;

pub use failure::{bundle, copy_logs};
pub use record::{Phase, Record};
pub use users::register;

use std::path::{Path, PathBuf};

use anyhow::Result;
use fs_err as fs;

use crate::config::MachineName;
use crate::event::Stage;
use crate::fault::Fault;
use crate::machine::driver::Home;
use crate::paths::Paths;

const RECORD: &str = "machine.json";
const LOCK: &str = "lock";

/// A machine's folder.
#[derive(Debug, Clone)]
pub struct Instance {
    /// Its name.
    pub name: MachineName,
    dir: PathBuf,
}

impl Instance {
    /// The machine `name`, there or not.
    pub fn new(paths: &Paths, name: &MachineName) -> Self {
        Self {
            name: name.clone(),
            dir: paths.machines.join(name.as_str()),
        }
    }

    /// Every machine of this user, by name.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn all(paths: &Paths) -> Result<Vec<Self>> {
        let entries = match fs::read_dir(&paths.machines) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut all = Vec::new();
        for entry in entries {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if let Ok(name) = MachineName::try_from(name) {
                let instance = Self::new(paths, &name);
                // A folder that may not be looked into may be a machine's.
                let is_closed = |error: std::io::Error| error.kind() == std::io::ErrorKind::PermissionDenied;
                if instance.dir.join(RECORD).try_exists().unwrap_or_else(is_closed) {
                    all.push(instance);
                }
            }
        }
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }

    /// Every machine that uses the cache of `paths`: those of this data folder, and of every other one that was used
    /// with this cache and is still there.
    ///
    /// # Errors
    /// When a folder cannot be read.
    pub fn all_of_cache(paths: &Paths) -> Result<Vec<Self>> {
        let mut folders = users::Users::of(&paths.cache)?.there;
        folders.insert(paths.machines.clone());
        let mut all = Vec::new();
        for machines in folders {
            let cache = paths.cache.clone();
            all.extend(Self::all(&Paths { cache, machines })?);
        }
        Ok(all)
    }

    /// That there may be more of them, of which nothing can be known now: their folder is on a disk that is not mounted.
    ///
    /// # Errors
    /// When who uses the cache cannot be read.
    pub fn away_from_cache(paths: &Paths) -> Result<Vec<Fault>> {
        Ok(users::Users::of(&paths.cache)?.faults().collect())
    }

    /// Its folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where the machine that the user works with lies and runs.
    pub fn home(&self) -> Home {
        Home {
            folder: self.dir.clone(),
            run_dir: self.run_dir(),
        }
    }

    /// Its disk.
    pub fn disk(&self) -> PathBuf {
        self.home().disk()
    }

    /// The key pairs and the password of its login.
    pub fn identity(&self) -> PathBuf {
        self.dir.join("identity")
    }

    /// Where the machine that the user works with runs.
    pub fn run_dir(&self) -> PathBuf {
        self.dir.join("run")
    }

    /// Where the work of a stage lies while it runs.
    pub fn work_dir(&self, stage: Stage) -> PathBuf {
        self.dir.join("work").join(stage.name())
    }

    /// What the last run of a stage left.
    pub fn logs(&self, stage: Stage) -> PathBuf {
        self.dir.join("logs").join(stage.name())
    }

    /// Where the machine that would be running now lies and runs: the user's, or that of a stage that failed and was
    /// kept.
    pub fn live(&self, record: &Record) -> Home {
        match record.phase {
            Phase::Failed(stage) => Home::of_stage(&self.work_dir(stage)),
            _ => self.home(),
        }
    }

    /// Whether it runs.
    pub fn runs(&self, record: &Record) -> bool {
        self.live(record).runs()
    }
}

#[cfg(test)]
mod tests;
