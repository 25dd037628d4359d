//! Puts a new disk in the place of a machine's own.

use anyhow::{Result, bail};
use fs_err as fs;

use crate::checkpoint::{Layer, Store};
use crate::event::{Events, Stage};
use crate::fault::{Cause, Fault};
use crate::identity::Identity;
use crate::instance::{Instance, Phase, Record};
use crate::machine::driver::{Home, Hypervisor};
use crate::moments;
use crate::process::kill_point;

/// What becomes the machine's disk.
pub struct Placing<'a> {
    /// Whom to tell.
    pub events: &'a Events,
    /// The machine.
    pub instance: &'a Instance,
    /// Where the checkpoints are.
    pub store: &'a Store,
    /// What is to run it.
    pub hypervisor: Hypervisor,
    /// What the disk lies on.
    pub layer: &'a Layer,
    /// The keys that open it.
    pub identity: &'a Identity,
}

impl Placing<'_> {
    /// Gives the machine an empty overlay on the checkpoint as its disk. Whatever can be refused or fail without harm
    /// does so before the machine as it was is touched.
    ///
    /// # Errors
    /// When the disk cannot be made, the machine as it was not be ended, or a kept moment of it not be read.
    pub fn place(&self, record: &mut Record) -> Result<()> {
        let Self {
            instance,
            store,
            hypervisor,
            layer,
            ..
        } = *self;
        let driver = hypervisor.driver();
        let home = instance.home();
        let new = Home::of_stage(&instance.new_work_dir(Stage::Verify)?);
        let (made, name) = (driver.disk_in(&new.folder), instance.name.to_string());
        store.settle()?;
        driver.create_overlay(&made, &name, &store.disks(layer))?;
        home.end()?;
        require_possible(instance, hypervisor)?;
        kill_point::pass();
        // From here on a disk may lie on another layer than the record says: without a layer there is nothing to start,
        // and the next `create` places another disk.
        record.layer = None;
        record.work_layer = Some(layer.manifest.base.clone());
        self.enter(record, Phase::Building(Stage::Project))?;
        kill_point::pass();
        if Hypervisor::of(&home.folder) != hypervisor {
            // A moment is a part of its program's machine.
            moments::remove_all(instance)?;
            home.remove()?;
        }
        driver.replace(&made, &driver.disk_in(&home.folder), &name)?;
        kill_point::pass();
        if let Err(error) = moments::forget_created(instance) {
            // It is another disk's, by its ID.
            self.events
                .warn(format!("what `provision reset` went back to is not removed: {error:#}"));
        }
        fs::remove_dir_all(&new.folder)?;
        // The machine's own copy of its keys: it stays reachable when the cache is emptied.
        self.identity.copy_to(&instance.identity())?;
        record.machine = hypervisor;
        record.untouched = true;
        record.disk_id = Some(hex::encode(rand::random::<[u8; 8]>()));
        record.layer = Some(layer.manifest.base.clone());
        record.work_layer = None;
        self.enter(record, Phase::Made)
    }

    fn enter(&self, record: &mut Record, phase: Phase) -> Result<()> {
        record.phase = phase;
        self.instance.remember(record)
    }
}

/// Refuses where a disk of `hypervisor` could not take the place of the machine's own.
///
/// # Errors
/// When a kept moment cannot be read: what it needs is not known then. A [`Cause::Usage`] fault when another program is
/// to run the machine and there are snapshots: they would be lost.
pub fn require_possible(instance: &Instance, hypervisor: Hypervisor) -> Result<()> {
    moments::all(instance)?;
    let before = Hypervisor::of(instance.dir());
    if instance.disk().exists() && before != hypervisor && moments::has_snapshots(instance)? {
        let name = &instance.name;
        let (before, now) = (before.title(), hypervisor.title());
        bail!(
            Fault::new(
                Cause::Usage,
                format!("the machine {name} has snapshots under {before}, which {now} cannot go back to")
            )
            .hint(format!(
                "`provision snapshot rm` removes those that `provision snapshots --name {name}` lists; `--machine {}` \
                 keeps them",
                before.to_lowercase()
            ))
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests;
