//! Moments of a machine that are kept: snapshots of `VirtualBox`'s own, named after the moment.
//!
//! A snapshot of a machine that runs always holds its memory; where that is not wanted, it is thrown away when the
//! machine goes back. Snapshots that the user takes in `VirtualBox`'s window have other names and stay.
//!
//! A snapshot is a part of its machine. So a machine that another takes the place of is set aside as long as there are
//! snapshots of it: in `FOLDER/former/ID`, where `FOLDER` is that of the machine in its place.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use fs_err as fs;

use super::info::{Snapshot, VmState};
use super::vboxmanage::VBoxManage;
use super::{arguments, disks, moving};
use crate::fault::{Cause, Fault};
use crate::machine::qemu::arguments::Size;
use crate::machine::{Forward, StaleMemory};

/// What the names of snapshots begin with that this program has taken.
const PREFIX: &str = "provision-";

/// The folder of machines that were set aside.
const FORMER: &str = "former";

/// What `VirtualBox` says of a saved memory from which a machine cannot go on: the errors of its saved states' reader
/// (`VBox/err.h`).
const STALE: [&str; 2] = ["VERR_SSM_", "VERR_PGM_SAVED"];

/// Keeps how the machine in `folder` is now as `id`, its memory too if it runs; it goes on. Gives whether the memory was
/// wanted and kept.
///
/// # Errors
/// When `VirtualBox` fails.
pub(super) fn keep(vbox: &VBoxManage, folder: &Path, id: &str, memory: bool) -> Result<bool> {
    let context = || format!("taking a snapshot of the machine in {}", folder.display());
    let (machine, name) = (disks::settings(folder)?, format!("{PREFIX}{id}"));
    let runs = disks::show(vbox, folder)?.state().is_alive();
    let take = if runs {
        arguments::take_live_snapshot(&machine, &name)
    } else {
        arguments::take_snapshot(&machine, &name)
    };
    vbox.change_slowly(take).with_context(context)?;
    Ok(runs && memory)
}

/// Moves the powered-off machine in `from` to `to`, in place of the one there.
///
/// # Errors
/// When `VirtualBox` fails.
pub(super) fn replace(vbox: &VBoxManage, from: &Path, to: &Path, what: &str) -> Result<()> {
    if formers(to).is_empty() && !has_moments(vbox, to) {
        disks::remove(vbox, to)?;
    } else {
        make_way(vbox, to)?;
    }
    moving::move_to(vbox, from, to, what)
}

/// Sets the machine in `folder` aside if there are snapshots of it, and removes it otherwise.
fn make_way(vbox: &VBoxManage, folder: &Path) -> Result<()> {
    let Some(settings) = disks::settings_in(folder) else {
        return Ok(());
    };
    let own = settings.parent().unwrap_or(folder);
    if !has_moments(vbox, folder) {
        return disks::remove(vbox, own);
    }
    let aside = folder.join(FORMER).join(hex::encode(rand::random::<[u8; 8]>()));
    moving::relocate(vbox, folder, &aside, FORMER)
        .map(drop)
        .with_context(|| format!("setting the machine in {} aside", folder.display()))
}

/// The folders of the machines that were set aside in `folder`.
fn formers(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder.join(FORMER)).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

/// Whether there are snapshots of this program of the machine in `folder`.
fn has_moments(vbox: &VBoxManage, folder: &Path) -> bool {
    let is_ours = |snapshot: &Snapshot| snapshot.name.starts_with(PREFIX);
    disks::show(vbox, folder).is_ok_and(|info| info.snapshots().iter().any(is_ours))
}

/// Gives the machine in `folder`, which does not run, what `id` kept: the disk, and with `memory` what it is to go on
/// from.
///
/// # Errors
/// When there is no such moment, or `VirtualBox` fails.
pub(super) fn go_back(vbox: &VBoxManage, folder: &Path, id: &str, memory: bool) -> Result<()> {
    let context = || format!("restoring a snapshot of the machine in {}", folder.display());
    let snapshot = bring(vbox, folder, id).with_context(context)?;
    let machine = disks::settings(folder)?;
    vbox.change_slowly(arguments::restore_snapshot(&machine, &snapshot.uuid))
        .with_context(context)?;
    if !memory && disks::show(vbox, folder)?.state() == VmState::Saved {
        vbox.change(arguments::discard_state(&machine)).with_context(context)?;
    }
    Ok(())
}

/// Makes sure that `VirtualBox` has the snapshot `id`, of the machine in `folder` or of one that was set aside.
///
/// # Errors
/// When it has not.
pub(super) fn require(vbox: &VBoxManage, folder: &Path, id: &str) -> Result<()> {
    find(vbox, folder, id).map(drop)
}

/// The snapshot `id`, and the folder of the machine that has it.
fn find(vbox: &VBoxManage, folder: &Path, id: &str) -> Result<(Snapshot, PathBuf)> {
    let find = |folder: PathBuf| {
        let snapshots = disks::show(vbox, &folder).ok()?.snapshots();
        let is_it = |snapshot: &Snapshot| snapshot.name.strip_prefix(PREFIX) == Some(id);
        Some((snapshots.into_iter().find(is_it)?, folder))
    };
    let found = std::iter::once(folder.to_owned()).chain(formers(folder)).find_map(find);
    found.with_context(|| Fault::new(Cause::Machine, "VirtualBox does not have this snapshot any more"))
}

/// The snapshot `id`. The machine that has it gets its place back.
fn bring(vbox: &VBoxManage, folder: &Path, id: &str) -> Result<Snapshot> {
    let (snapshot, of) = find(vbox, folder, id)?;
    if of != folder {
        // Interrupted in between there is no machine but the former: whoever comes next goes on here.
        make_way(vbox, folder)?;
        moving::move_to(vbox, &of, folder, "restored")?;
    }
    Ok(snapshot)
}

/// Deletes the snapshots of this program that are not among `kept`. One from which several others were taken stays until
/// only one of these is left.
///
/// # Errors
/// When `VirtualBox` fails.
pub(super) fn sweep(vbox: &VBoxManage, folder: &Path, kept: &[&str]) -> Result<()> {
    if disks::settings_in(folder).is_some() {
        sweep_one(vbox, folder, kept)?;
    }
    for former in formers(folder) {
        if disks::settings_in(&former).is_some() {
            sweep_one(vbox, &former, kept)?;
        }
        if !has_moments(vbox, &former) {
            disks::remove(vbox, &former)?;
        }
    }
    Ok(())
}

fn sweep_one(vbox: &VBoxManage, folder: &Path, kept: &[&str]) -> Result<()> {
    let machine = disks::settings(folder)?;
    let is_kept = |snapshot: &Snapshot| snapshot.name.strip_prefix(PREFIX).is_none_or(|id| kept.contains(&id));
    loop {
        let mut has_changed = false;
        for snapshot in disks::show(vbox, folder)?.snapshots() {
            if is_kept(&snapshot) {
                continue;
            }
            match vbox.change_slowly(arguments::delete_snapshot(&machine, &snapshot.uuid)) {
                Ok(_) => has_changed = true,
                Err(error) if has_children(&error) => {}
                Err(error) => {
                    let context = || format!("deleting a snapshot of the machine in {}", folder.display());
                    return Err(error).with_context(context);
                }
            }
        }
        if !has_changed {
            return Ok(());
        }
    }
}

/// Whether a snapshot was not deleted because several lie on it: other snapshots, or one and the machine's disk.
fn has_children(error: &anyhow::Error) -> bool {
    let marks = [
        "more than the one snapshot allowed",
        "it is the current snapshot and has one child snapshot",
    ];
    Fault::of(error).is_some_and(|fault| marks.iter().any(|mark| fault.message.contains(mark)))
}

/// Prepares the machine in `folder` for going on from its memory. All but its forwards is as it was then.
///
/// # Errors
/// A [`StaleMemory`] when there is none, or the machine is to have another size.
pub(super) fn configure(vbox: &VBoxManage, folder: &Path, size: Size, forwards: Option<&[Forward]>) -> Result<()> {
    let info = disks::show(vbox, folder)?;
    if info.state() != VmState::Saved {
        bail!(StaleMemory("VirtualBox has no saved memory of it".into()));
    }
    let has = |key: &str, value: String| info.get(key) == Some(value.as_str());
    if !has("cpus", size.cpus.to_string()) || !has("memory", size.memory_mib.to_string()) {
        bail!(StaleMemory(
            "it had another number of CPUs or another memory then".into()
        ));
    }
    let machine = disks::settings(folder)?;
    let replace = arguments::replace_forwards(&machine, &info.forwards(), forwards.unwrap_or_default());
    vbox.change(replace).map(drop)
}

/// The error of a machine that was to go on from its memory.
pub(super) fn stale(error: anyhow::Error) -> anyhow::Error {
    let said = Fault::of(&error).map(|fault| fault.message.clone()).unwrap_or_default();
    if STALE.iter().any(|mark| said.contains(mark)) {
        return StaleMemory(said).into();
    }
    error
}
