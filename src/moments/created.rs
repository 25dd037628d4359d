//! How `create` left a machine, for `reset`.

use anyhow::{Context as _, Result};

use super::{CREATED, Kept, all, discard, keep_as, random_id, require_room, restore, sweep};
use crate::event::Stage;
use crate::fault::{Cause, Fault};
use crate::instance::{Instance, Record};
use crate::machine::qemu::arguments::Size;
use crate::stage::Host;

/// How `create` left the machine.
///
/// # Errors
/// A [`Cause::Usage`] fault when that was not kept.
pub(super) fn find(instance: &Instance) -> Result<Kept> {
    let kept = all(instance)?.into_iter().rfind(Kept::is_created);
    kept.with_context(|| {
        let name = &instance.name;
        if matches!(instance.record(), Ok(Some(record)) if record.imported) {
            let message = format!("the machine {name} was imported: no `create` left it in any way");
            return Fault::new(Cause::Usage, message).hint(format!(
                "`provision snapshots --name {name}` lists where `provision restore` takes it; `provision import --force` makes it anew"
            ));
        }
        Fault::new(Cause::Usage, format!("how `create` left the machine {name} was not kept"))
            .hint("another `provision create` keeps how the machine is then")
    })
}

/// Keeps how the running machine is now, for `reset`, unless that was done since its disk was made. Whatever keeps it
/// from being kept is told, and no error: the machine runs.
///
/// # Errors
/// When the user interrupts.
pub fn keep_created(host: &Host, instance: &Instance, record: &Record) -> Result<()> {
    let kept = all(instance).map(|all| all.iter().any(|kept| kept.is_created() && is_of(kept, record)));
    match kept {
        Ok(true) => Ok(()),
        Ok(false) => keep_anew(host, instance, record),
        Err(error) => Err(error),
    }
    .or_else(|error| told(host, error))
}

/// The same, in place of what was kept before.
///
/// # Errors
/// When the user interrupts.
pub fn keep_created_anew(host: &Host, instance: &Instance, record: &Record) -> Result<()> {
    keep_anew(host, instance, record).or_else(|error| told(host, error))
}

/// How the run that made the machine's disk left it, with a memory for a guest of that size: what another run kept may hold
/// what its user did. One of which something is missing serves as little.
///
/// # Errors
/// When a moment cannot be read.
pub fn created_with_memory(instance: &Instance, record: &Record, size: Size) -> Result<Option<Kept>> {
    let serves = |kept: &Kept| {
        let Kept { manifest, .. } = kept;
        let was = Size {
            cpus: manifest.record.cpus,
            memory_mib: manifest.record.memory_mib,
        };
        let is_clean = kept.is_created() && manifest.record.untouched && is_of(kept, record);
        is_clean && manifest.memory && was == size && restore::require_whole(instance, kept).is_ok()
    };
    Ok(all(instance)?.into_iter().rfind(serves))
}

/// Whether that is how `create` left the disk that the machine has.
pub(super) fn is_of(kept: &Kept, record: &Record) -> bool {
    let was = &kept.manifest.record;
    (&was.layer, &was.disk_id) == (&record.layer, &record.disk_id)
}

fn keep_anew(host: &Host, instance: &Instance, record: &Record) -> Result<()> {
    host.events
        .step(Stage::Verify, "keeping this moment for `provision reset`");
    let room = require_room(instance, record);
    if let Err(error) = &room {
        host.events.warn(format!(
            "{error:#}: `provision reset` will boot the machine instead of going on from its memory"
        ));
    }
    keep_as(instance, record, &format!("{CREATED}{}", random_id()), room.is_ok())?;
    // The former one goes once the new one is there.
    sweep(instance)
}

fn told(host: &Host, error: anyhow::Error) -> Result<()> {
    if Fault::is_stop(&error) {
        return Err(error);
    }
    host.events
        .warn(format!("this moment is not kept for `provision reset`: {error:#}"));
    Ok(())
}

/// Forgets how `create` left the machine: its disk is another now.
///
/// # Errors
/// When it cannot be removed.
pub fn forget_created(instance: &Instance) -> Result<()> {
    for kept in all(instance)?.iter().filter(|kept| kept.is_created()) {
        discard(instance, &kept.folder)?;
    }
    sweep(instance)
}
