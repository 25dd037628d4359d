//! A machine wherever it lies, whoever started it.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::{Driver, Hypervisor, Moment};
use crate::changes::{Changes, Real};

/// Where a machine lies and where it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    /// The folder in which its disk lies.
    pub folder: PathBuf,
    /// Where its PID, socket and logs are while it runs.
    pub run_dir: PathBuf,
}

impl Home {
    /// A machine whose disk lies where it runs.
    pub fn of_stage(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            run_dir: folder.to_owned(),
        }
    }

    fn driver(&self) -> &'static dyn Driver {
        Hypervisor::of(&self.folder).driver()
    }

    /// Its disk, there or not.
    pub fn disk(&self) -> PathBuf {
        self.driver().disk_in(&self.folder)
    }

    /// Whether it runs, whoever started it.
    pub fn runs(&self) -> bool {
        self.driver().runs(self)
    }

    /// An error once its guest cannot go on, whoever started it.
    ///
    /// # Errors
    /// A fault with the program's last words when it has ended; one of [`crate::fault::Cause::Space`] when the guest
    /// stands still because the host's disk is full.
    pub fn look(&self) -> Result<()> {
        self.driver().look(self)
    }

    /// Lets its guest go on if that stands still because the host's disk was full.
    ///
    /// # Errors
    /// When the program does not answer.
    pub fn resume(&self) -> Result<()> {
        self.driver().resume(self)
    }

    /// Writes its screen to `file` as a PNG.
    ///
    /// # Errors
    /// When it does not run or has no screen.
    pub fn screenshot(&self, file: &Path) -> Result<()> {
        self.driver().screenshot(self, file)
    }

    /// Ends it, if it runs, whoever started it.
    ///
    /// # Errors
    /// When it cannot be ended.
    pub fn end(&self) -> Result<()> {
        self.driver().end(self)
    }

    /// Keeps how it is now as `moment`, whose folder is there: its disk and, if it runs and `memory` is wanted, its
    /// memory. It goes on at once, running or not. Gives whether the memory was kept.
    ///
    /// # Errors
    /// When the program fails or the disk is full: the machine is as before, and [`Home::sweep_moments`] removes what
    /// is left.
    pub fn keep_moment(&self, moment: &Moment, memory: bool) -> Result<bool> {
        self.driver().keep_moment(self, moment, memory)
    }

    /// Makes sure that what [`Home::go_back`] needs of `moment` is there.
    ///
    /// # Errors
    /// When something of it is gone or cannot be read.
    pub fn require_moment(&self, moment: &Moment) -> Result<()> {
        self.driver().require_moment(self, moment)
    }

    /// Gives the machine, which does not run, the disk that `moment` kept; what the disk held is lost. With `memory` its
    /// next start with [`crate::machine::Boot::memory`] goes on from there; without, it boots.
    ///
    /// # Errors
    /// When the program fails; the machine has its disk as before then.
    pub fn go_back(&self, moment: &Moment, memory: bool) -> Result<()> {
        self.driver().go_back(self, moment, memory)
    }

    /// Removes the moments that are not in `kept`, and what interrupted commands left of some; what others lie on
    /// stays, and so does the machine's own disk.
    ///
    /// # Errors
    /// When something cannot be removed.
    pub fn sweep_moments(&self, kept: &[Moment]) -> Result<()> {
        self.driver().sweep_moments(self, kept)
    }

    /// Ends it and removes its disk, if there is one, with all that was kept of it.
    ///
    /// # Errors
    /// When it cannot be ended or removed.
    pub fn remove(&self) -> Result<()> {
        self.remove_by(&Real)
    }

    /// The same by other means.
    ///
    /// # Errors
    /// See [`Home::remove`].
    pub fn remove_by(&self, changes: &dyn Changes) -> Result<()> {
        self.end()?;
        self.driver().remove(changes, &self.disk())
    }
}
