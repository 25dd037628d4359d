//! The moment in which an image becomes a machine.

use std::path::Path;

use anyhow::Result;
use fs_err as fs;

use crate::event::Stage;
use crate::identity::Identity;
use crate::instance::{Instance, Phase, Record};
use crate::machine::driver::Hypervisor;
use crate::moments;
use crate::process::kill_point;

/// Makes the disk `made` that of the machine, which becomes what `record` says, whatever it was before.
pub(super) fn put_in_place(instance: &Instance, made: &Path, identity: &Identity, record: &Record) -> Result<()> {
    let driver = record.machine.driver();
    instance.clear_work_but(Some(Stage::Import))?;
    if instance.record()?.is_some() {
        // From here on the record of the former does not tell what the disk is.
        instance.remember(&Record {
            phase: Phase::Building(Stage::Import),
            ..record.clone()
        })?;
        instance.forget_provenance()?;
    }
    kill_point::pass();
    moments::remove_all(instance)?;
    kill_point::pass();
    // A disk of the same kind is replaced.
    if Hypervisor::of(instance.dir()) != record.machine {
        instance.home().remove()?;
    }
    for of_the_former in [instance.run_dir(), instance.dir().join("logs")] {
        if of_the_former.exists() {
            fs::remove_dir_all(of_the_former)?;
        }
    }
    driver.replace(made, &driver.disk_in(instance.dir()), instance.name.as_str())?;
    kill_point::pass();
    // What the former disk lay on is left once that has gone.
    instance.home().sweep_moments(&[])?;
    identity.copy_to(&instance.identity())?;
    // The record comes last: without it there is no machine.
    instance.remember(record)
}
