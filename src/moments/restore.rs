//! Back to a kept moment.

use anyhow::{Context as _, Result, bail};

use super::{Kept, created, home, tidy};
use crate::checkpoint::Store;
use crate::event::{Events, Stage};
use crate::fault::{Cause, Fault};
use crate::identity::Identity;
use crate::instance::{Instance, Phase, Record};
use crate::operate::{self, Started};
use crate::process::kill_point;
use crate::stage::Host;
use crate::stage::booted::Start;

/// Makes the machine what it was at the moment `kept`; what it is now is lost. It runs afterwards if it ran then. The
/// caller holds the machine's lock and a share of the store.
///
/// # Errors
/// When the checkpoint under it is gone, or the machine does not come up.
pub fn restore(
    host: &Host,
    instance: &Instance,
    store: &Store,
    record: &mut Record,
    kept: &Kept,
) -> Result<Option<Started>> {
    require_possible(store, record, kept)?;
    require_whole(instance, kept)?;
    instance.live(record).end()?;
    begin(instance, record, kept)?;
    complete(instance, record)?;
    if !kept.manifest.ran {
        return Ok(None);
    }
    let memory = kept.manifest.memory.then_some(kept.moment.folder.as_path());
    operate::start_from(host, instance, store, record, memory).map(Some)
}

fn require_possible(store: &Store, record: &Record, kept: &Kept) -> Result<()> {
    let Record { layer, machine, .. } = &kept.manifest.record;
    if *machine != record.machine {
        bail!(
            Fault::new(
                Cause::Usage,
                format!(
                    "it was kept under {}, and the machine runs under {} now",
                    machine.title(),
                    record.machine.title()
                )
            )
            .hint(format!(
                "`provision create --machine {}` changes that",
                machine.title().to_lowercase()
            ))
        );
    }
    if let Some(layer) = layer
        && !store.has(layer)
    {
        bail!(
            Fault::new(
                Cause::Usage,
                format!(
                    "the checkpoint {} that it lies on is not in {}",
                    layer.key.short(),
                    store.folder().display()
                )
            )
            .hint("PROVISION_CACHE_DIR must be as it was when it was kept")
        );
    }
    Ok(())
}

/// Writes down that the machine is to be what it was: from here on whoever comes next completes it.
pub(super) fn begin(instance: &Instance, record: &mut Record, kept: &Kept) -> Result<()> {
    let was = &kept.manifest.record;
    let mut now = Record {
        phase: Phase::Made,
        restoring: Some(kept.folder.clone()),
        // These are this host's and the user's, as they are now.
        https_port: record.https_port,
        ssh_port: record.ssh_port,
        wanted_ports: record.wanted_ports,
        wish: record.wish,
        accelerator: record.accelerator,
        ..was.clone()
    };
    now.work_layer = None;
    instance.remember(&now)?;
    *record = now;
    Ok(())
}

/// Makes sure that nothing is missing of what [`complete`] needs.
pub(super) fn require_whole(instance: &Instance, kept: &Kept) -> Result<()> {
    let whole = instance.home().require_moment(&kept.moment);
    whole
        .and_then(|()| Identity::load(&kept.identity()).map(drop))
        .with_context(|| kept.damaged())
}

/// Completes a restore that was begun; the machine does not run.
///
/// # Errors
/// When its disk cannot be given to it.
pub(super) fn complete(instance: &Instance, record: &mut Record) -> Result<()> {
    let Some(folder) = &record.restoring else {
        return Ok(());
    };
    let kept = begun(instance, folder).with_context(|| {
        Fault::new(
            Cause::Other,
            format!(
                "a restore of the machine {} was interrupted and cannot be completed",
                instance.name
            ),
        )
        .hint("`provision restore` of another snapshot still can; `provision create` makes the machine anew")
    })?;
    kill_point::pass();
    instance.clear_work()?;
    instance.home().go_back(&kept.moment, kept.manifest.memory)?;
    Identity::load(&kept.identity())?.copy_to(&instance.identity())?;
    kill_point::pass();
    record.restoring = None;
    instance.remember(record)
}

/// What a restore was begun to, whole.
fn begun(instance: &Instance, folder: &str) -> Result<Kept> {
    let kept = Kept::read(&home(instance).join(folder))?;
    require_whole(instance, &kept)?;
    Ok(kept)
}

/// Gives up a restore that was begun and that something is missing for. It is not known whether the machine got the
/// disk: the machine is not made until it is made anew or another restore ends.
///
/// # Errors
/// When that cannot be written down.
pub fn give_up_if_lost(events: &Events, instance: &Instance, record: &mut Record) -> Result<()> {
    let Some(Err(error)) = record.restoring.as_ref().map(|folder| begun(instance, folder)) else {
        return Ok(());
    };
    events.warn(format!("a restore that was interrupted is given up: {error:#}"));
    record.restoring = None;
    record.layer = None;
    record.phase = Phase::Building(if record.imported { Stage::Import } else { Stage::Project });
    instance.remember(record)
}

/// Back to how `create` left the machine, running, with the site waited for.
///
/// # Errors
/// When that was not kept, or the machine does not come up.
pub fn reset(host: &Host, instance: &Instance, store: &Store, record: &mut Record) -> Result<()> {
    tidy(&host.events, instance);
    let kept = created::find(instance)?;
    let started = restore(host, instance, store, record, &kept)?;
    host.events.step(Stage::Verify, "SSH answers");
    operate::wait_for_site(host, record)?;
    let went_on = started.is_some_and(|started| started.start == Start::FromMemory);
    if went_on {
        return Ok(());
    }
    // The next time it goes on from its memory again.
    created::keep_created_anew(host, instance, record)
}
