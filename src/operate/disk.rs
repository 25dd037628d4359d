//! The disk of a machine that would run, and the checkpoints under it.

use std::path::PathBuf;

use anyhow::{Result, bail};

use crate::checkpoint::{Base, Store};
use crate::fault::{Cause, Fault};
use crate::instance::{Instance, Phase, Record};
use crate::machine::driver::Hypervisor;

/// Refuses a machine that has no disk, or whose disk lies on a checkpoint that is gone or was made again.
///
/// # Errors
/// A [`Cause::Usage`] fault that says which.
pub fn require_disk(instance: &Instance, store: &Store, record: &Record) -> Result<()> {
    let has_disk = instance.live(record).disk().exists();
    if record.imported && record.phase == Phase::Made && has_disk {
        return Ok(());
    }
    let (Some(base), true) = (base(record), has_disk) else {
        let message = match record.phase {
            Phase::Building(stage) | Phase::Failed(stage) => {
                format!("the machine {} is not made yet: {stage} did not finish", instance.name)
            }
            Phase::Made => format!("the disk of the machine {} is gone", instance.name),
        };
        if record.imported {
            bail!(Fault::new(Cause::Usage, message).hint("`provision import --force` makes it anew from its image"));
        }
        bail!(Fault::new(Cause::Usage, message).hint("`provision create` goes on from there"));
    };
    if !store.has(base) {
        let message = format!(
            "the checkpoint {} under the disk of the machine {} is not in {}",
            base.key.short(),
            instance.name,
            store.folder().display()
        );
        bail!(
            Fault::new(Cause::Usage, message)
                .hint("PROVISION_CACHE_DIR must be as it was at `create`; if the checkpoint is gone, `provision create` makes the machine anew")
        );
    }
    Ok(())
}

/// The checkpoint under the disk of a machine that would run now.
fn base(record: &Record) -> Option<&Base> {
    match record.phase {
        Phase::Failed(_) => record.work_layer.as_ref(),
        Phase::Building(_) | Phase::Made => record.layer.as_ref(),
    }
}

/// Has the machine's program know its disk and the checkpoints under it, wherever it was when it last saw them.
///
/// # Errors
/// When one is damaged, or the program fails.
pub fn make_known(instance: &Instance, store: &Store, record: &Record) -> Result<()> {
    let home = instance.live(record);
    let disk = home.disk();
    if !disk.exists() {
        return Ok(());
    }
    let below = base(record).map(|base| store.chain(base)).unwrap_or_default();
    let below: Vec<PathBuf> = below.into_iter().map(|layer| layer.disk).collect();
    Hypervisor::of(&home.folder).driver().make_known(&disk, &below)
}
