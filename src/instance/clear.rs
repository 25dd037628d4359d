//! Removing what stages left of a machine, and the machine.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use fs_err as fs;

use super::{Instance, LOCK, Phase, RECORD, Record};
use crate::changes::{Changes, Real};
use crate::event::Stage;
use crate::machine::driver::Home;
use crate::process::table;

impl Instance {
    /// Ends and removes what an interrupted or failed stage left. The caller holds the lock.
    ///
    /// # Errors
    /// When something cannot be ended or removed.
    pub fn clear_work(&self) -> Result<()> {
        self.clear_work_but(None)
    }

    /// The same, but for `stage`, which is at work.
    ///
    /// # Errors
    /// When something cannot be ended or removed.
    pub fn clear_work_but(&self, stage: Option<Stage>) -> Result<()> {
        let work = self.dir.join("work");
        if !work.exists() {
            return Ok(());
        }
        for entry in fs::read_dir(work)? {
            let dir = entry?.path();
            if stage.is_none_or(|stage| dir != self.work_dir(stage)) {
                Home::of_stage(&dir).remove()?;
                fs::remove_dir_all(&dir)?;
            }
        }
        Ok(())
    }

    /// Makes the folder in which `stage` works, empty.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn new_work_dir(&self, stage: Stage) -> Result<PathBuf> {
        let dir = self.work_dir(stage);
        if dir.exists() {
            Home::of_stage(&dir).remove()?;
            fs::remove_dir_all(&dir)?;
        }
        fs::create_dir_all(&dir)?;
        Ok(dir)
    }

    /// Removes what a run left that ended before any stage made something of the machine, unless what happened is kept in
    /// it. The caller holds the lock.
    ///
    /// # Errors
    /// When something cannot be read or removed.
    pub fn forget_if_nothing_came(&self) -> Result<()> {
        let is_nothing = |record: Record| {
            let is_first = record.phase == Phase::Building(Stage::Media);
            is_first && record.layer.is_none() && record.work_layer.is_none()
        };
        // A restore that was given up leaves a disk, and other snapshots.
        if self.record()?.is_some_and(is_nothing) && self.failures()?.is_empty() && !self.disk().exists() {
            self.destroy()?;
        }
        Ok(())
    }

    /// Removes the machine: ends what runs, then the folder. The caller holds the lock.
    ///
    /// # Errors
    /// When something cannot be ended or removed.
    pub fn destroy(&self) -> Result<()> {
        let context = || format!("removing the machine {}", self.name);
        self.home().remove()?;
        self.clear_work()?;
        // Of such a process neither socket nor PID is left.
        for runner in table::runners_in(&self.dir) {
            runner.kill().with_context(context)?;
        }
        // The record goes last: what was interrupted is still a machine that can be destroyed.
        let changes: &dyn Changes = &Real;
        for entry in fs::read_dir(&self.dir)? {
            let path = entry?.path();
            if !path.ends_with(RECORD) && !path.ends_with(LOCK) {
                changes.remove_tree(&path).with_context(context)?;
            }
        }
        changes.remove_tree(&self.dir.join(RECORD)).with_context(context)?;
        changes.remove_tree(&self.dir).with_context(context)
    }
}
