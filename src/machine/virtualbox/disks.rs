//! Disks and checkpoints under `VirtualBox`.
//!
//! `VirtualBox` has no disks on their own: a disk belongs to a machine. So a disk is a *folder* here, in which one
//! registered machine lies:
//!
//! ```text
//! FOLDER/NAME/NAME.vbox               the machine's settings
//! FOLDER/NAME/disk.vdi                its disk, where that lies on no other
//! FOLDER/NAME/Snapshots/{UUID}.vdi    what differs from the disk under it
//! FOLDER/NAME/Logs/VBox.log           what its process told
//! ```
//!
//! A checkpoint is a machine that is never started and has a snapshot; what lies on it is a linked clone of that. The
//! whole tree of disks is listed, with its places, in the settings of the machine at its root. Therefore machines are
//! moved by `VirtualBox` itself, and where files were moved by others, or `VirtualBox` was given another home,
//! [`know`](super::known::know) puts things right.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use fs_err as fs;

use super::arguments::{self, CONTROLLER, DISK_PORT, MEDIUM_PORT};
use super::info::{self, Disk, Info, Known};
use super::vboxmanage::VBoxManage;
use super::{keys, known, moving};
use crate::fault::{Cause, Fault};
use crate::host;
use crate::key::digest;
use crate::wait::Wait;

/// How long a machine that was told to end may take; its disk's cache may have to be written.
pub const END_LIMIT: Duration = Duration::from_secs(60);

/// How long `VirtualBox` may take from one rename to the next as it saves a machine's settings, on a busy host.
const SAVE_LIMIT: Duration = Duration::from_secs(10);

/// A name that no other machine of this user has, and that tells whose it is: `provision-jdoe-0a1b2c3d`.
pub fn unique_name(what: &str, folder: &Path) -> String {
    let digest = digest(folder.as_os_str().as_encoded_bytes());
    format!("provision-{what}-{}", &digest[..8])
}

/// The settings file of the machine in `folder`; `None` while there is none. One that is just being replaced is waited for:
/// `VirtualBox` renames the old file, and then the new one to its name (`xml::XmlFileWriter::write` in its sources).
pub fn settings_in(folder: &Path) -> Option<PathBuf> {
    let there = || file_of_machine(folder, "vbox");
    there().or_else(|| {
        file_of_machine(folder, "vbox-prev")?;
        let saved = Wait::new("VirtualBox to save the machine's settings", SAVE_LIMIT);
        saved.until(|| Ok(there())).ok()
    })
}

/// `NAME/NAME.SUFFIX` of the machine in `folder`.
fn file_of_machine(folder: &Path, suffix: &str) -> Option<PathBuf> {
    let entries = std::fs::read_dir(folder).ok()?;
    entries.flatten().find_map(|entry| {
        let mut name = entry.file_name();
        name.push(".");
        name.push(suffix);
        Some(entry.path().join(name)).filter(|file| file.is_file())
    })
}

/// The settings file of the machine that must be in `folder`.
///
/// # Errors
/// When there is none.
pub fn settings(folder: &Path) -> Result<PathBuf> {
    settings_in(folder)
        .with_context(|| Fault::new(Cause::Machine, format!("there is no machine in {}", folder.display())))
}

/// What `VirtualBox` tells of the machine in `folder`.
///
/// # Errors
/// When it does not know it.
pub fn show(vbox: &VBoxManage, folder: &Path) -> Result<Info> {
    vbox.ask(arguments::show(&settings(folder)?))
        .map(|text| Info::parse(&text))
}

/// Makes a machine in `folder` with an empty disk of `gib` GiB that takes only what is written to it.
///
/// # Errors
/// When there is one already, or `VirtualBox` fails; nothing is left then.
pub fn create(vbox: &VBoxManage, folder: &Path, what: &str, gib: u64) -> Result<()> {
    create_with(vbox, folder, what, |disk| {
        vbox.change(arguments::create_disk(disk, gib)).map(drop)
    })
}

/// Makes a machine in `folder` whose disk is the VDI `image`, on the same file system, which is gone then.
///
/// # Errors
/// When there is one already, or `VirtualBox` fails; nothing is left then, of the image neither.
pub fn adopt(vbox: &VBoxManage, image: &Path, folder: &Path, what: &str) -> Result<()> {
    create_with(vbox, folder, what, |disk| Ok(fs::rename(image, disk)?))
}

fn create_with(
    vbox: &VBoxManage,
    folder: &Path,
    what: &str,
    place_disk: impl FnOnce(&Path) -> Result<()>,
) -> Result<()> {
    let context = || format!("creating the machine in {}", folder.display());
    let name = unique_name(what, folder);
    vbox.change(arguments::create(&name, folder, vbox.version()))
        .with_context(context)?;
    let settings = folder.join(&name).join(format!("{name}.vbox"));
    let disk = settings.with_file_name("disk.vdi");
    let attached = vbox
        .change(arguments::controller(&settings))
        .and_then(|_| place_disk(&disk))
        .and_then(|()| vbox.change(arguments::attach_disk(&settings, &disk)));
    or_nothing(vbox, folder, attached.map(drop)).with_context(context)
}

/// Makes a machine in `folder` whose disk holds what differs from a checkpoint: the first of `chain`, which names the
/// folders of the checkpoint and all under it.
///
/// # Errors
/// When a checkpoint is not whole, or `VirtualBox` fails; nothing is left then.
pub fn create_overlay(vbox: &VBoxManage, folder: &Path, what: &str, chain: &[&Path]) -> Result<()> {
    let context = || format!("creating the linked clone in {}", folder.display());
    let parent = chain.first().context("a clone needs a checkpoint")?;
    let name = unique_name(what, folder);
    let is_new = settings_in(folder).is_none();
    let link = || vbox.change(arguments::link(&settings(parent)?, moving::CHECKPOINT, &name, folder));
    let cloned = known::knowing(vbox, chain, link).and_then(|_| known::write_down(vbox, chain));
    if is_new {
        or_nothing(vbox, folder, cloned)
    } else {
        cloned
    }
    .with_context(context)
}

/// Removes what a failure left.
fn or_nothing(vbox: &VBoxManage, folder: &Path, result: Result<()>) -> Result<()> {
    result.inspect_err(|_| {
        // The error at hand matters more.
        let _ = remove(vbox, folder);
    })
}

/// Empties the drive, and lets VirtualBox forget the medium: it keeps a list of all that it ever saw.
pub(super) fn take_medium_out(vbox: &VBoxManage, machine: &Path) -> Result<()> {
    let info = Info::parse(&vbox.ask(arguments::show(machine))?);
    if let Some(medium) = info.attached(CONTROLLER, MEDIUM_PORT) {
        vbox.change(arguments::detach_medium(machine))?;
        // Another machine may have it in its drive.
        let _ = vbox.change(arguments::close_medium(Path::new(medium)));
    }
    Ok(())
}

/// Writes all of the disk of the powered-off machine in `folder` to the new file `to`, as a VDI; its folder is for this
/// alone.
///
/// # Errors
/// When room is short, `VirtualBox` fails or the user interrupts; nothing is at `to` then.
pub fn clone_whole(vbox: &VBoxManage, folder: &Path, to: &Path) -> Result<()> {
    let context = || format!("copying the disk of the machine in {}", folder.display());
    let info = show(vbox, folder).with_context(context)?;
    let disk = info
        .attached(CONTROLLER, DISK_PORT)
        .with_context(|| format!("the machine in {} has no disk", folder.display()))?;
    let run_dir = to.parent().unwrap_or(to);
    host::disk::require(run_dir, size_of_chain(vbox, Path::new(disk))?).with_context(context)?;
    // A copy that was called off may still be known, though its file is gone.
    let known = info::disks(&vbox.ask(arguments::list_disks())?);
    if known.iter().any(|disk| disk.file == to) {
        let _ = vbox.change(arguments::close_file(to));
    }
    vbox.copy(arguments::clone_disk(Path::new(disk), to), run_dir)
        .with_context(context)?;
    // Its file alone is wanted.
    let _ = vbox.change(arguments::close_file(to));
    Ok(())
}

/// How many bytes the files take on which `disk` lies, and its own: as many as a copy of all of it may take.
fn size_of_chain(vbox: &VBoxManage, disk: &Path) -> Result<u64> {
    let all = info::disks(&vbox.ask(arguments::list_disks())?);
    let first = all.iter().filter(|known| known.file == disk);
    let files = first.flat_map(|first| info::chain(&all, first));
    Ok(files
        .filter_map(|known| std::fs::metadata(&known.file).ok())
        .map(|data| data.len())
        .sum())
}

/// Takes from a machine what is no part of a checkpoint: the medium, whose file may go, and the host's ports.
pub(super) fn strip(vbox: &VBoxManage, folder: &Path) -> Result<()> {
    let machine = settings(folder)?;
    take_medium_out(vbox, &machine)?;
    let info = show(vbox, folder)?;
    vbox.change(arguments::forwards(&machine, &info.forwards(), None))
        .map(drop)
}

/// Ends and removes what is in `folder`, machine and files, also where one of them is gone already; does nothing where
/// nothing is. It is done also after the user asked to stop.
///
/// # Errors
/// A [`Cause::Busy`] fault when another machine lies on this one; when something cannot be removed.
pub fn remove(vbox: &VBoxManage, folder: &Path) -> Result<()> {
    let context = || format!("removing the machine in {}", folder.display());
    let vbox = &vbox.unstoppable();
    let known = info::machines(&vbox.ask(arguments::list_machines()).with_context(context)?);
    let known: Vec<_> = known
        .into_iter()
        .filter(|known| known.settings.starts_with(folder))
        .collect();
    release_children(vbox, folder).with_context(context)?;
    for Known { uuid, settings } in known {
        power_off(vbox, &settings).with_context(context)?;
        // A machine that cannot be shown has nothing in its drive.
        let _ = take_medium_out(vbox, &settings);
        keys::forget(vbox, folder).with_context(context)?;
        if vbox.change(arguments::delete(&uuid)).is_err() {
            // Of a machine without files the first call has let go, though it fails.
            let _ = vbox.change(arguments::unregister(&uuid));
        }
    }
    close_disks(vbox, &|disk| disk.lies_in(folder)).with_context(context)?;
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).with_context(context),
        _ => Ok(()),
    }
}

/// Lets `VirtualBox` forget the machine in `folder` and its disks; their files stay.
///
/// # Errors
/// A [`Cause::Busy`] fault when another machine lies on this one.
pub fn forget(vbox: &VBoxManage, folder: &Path) -> Result<()> {
    let context = || format!("letting VirtualBox forget the machine in {}", folder.display());
    let known = info::machines(&vbox.ask(arguments::list_machines()).with_context(context)?);
    release_children(vbox, folder).with_context(context)?;
    for machine in known.iter().filter(|known| known.settings.starts_with(folder)) {
        vbox.change(arguments::unregister(&machine.uuid))
            .with_context(context)?;
    }
    close_disks(vbox, &|disk| disk.lies_in(folder)).with_context(context)
}

/// Refuses where disks elsewhere lie on those in `folder`; lets go of such whose files are gone.
fn release_children(vbox: &VBoxManage, folder: &Path) -> Result<()> {
    let disks = info::disks(&vbox.ask(arguments::list_disks())?);
    let lies_on_ours = |disk: &Disk| info::chain(&disks, disk).any(|below| below.lies_in(folder));
    let children: Vec<_> = disks
        .iter()
        .filter(|disk| !disk.lies_in(folder) && lies_on_ours(disk))
        .collect();
    if let Some(child) = children.iter().find(|child| child.file.exists()) {
        bail!(
            Fault::new(
                Cause::Busy,
                format!("{} lies on the machine in {}", child.file.display(), folder.display())
            )
            .hint("remove what lies on it first: `provision list` names the machines")
        );
    }
    close_disks(vbox, &|disk| children.iter().any(|child| child.uuid == disk.uuid))
}

/// Ends a machine at once, if it runs.
pub(super) fn power_off(vbox: &VBoxManage, machine: &Path) -> Result<()> {
    let is_alive = || {
        // One that cannot be shown cannot run.
        let info = vbox.ask(arguments::show(machine)).map(|text| Info::parse(&text));
        info.is_ok_and(|info| info.state().is_alive())
    };
    if !is_alive() {
        return Ok(());
    }
    // It may end at this very moment; its state tells.
    let _ = vbox.change(arguments::control(machine, "poweroff"));
    Wait::new("the machine to end", END_LIMIT).until(|| Ok((!is_alive()).then_some(())))
}

/// Lets go of disks, those first on which no other lies.
fn close_disks(vbox: &VBoxManage, which: &dyn Fn(&Disk) -> bool) -> Result<()> {
    loop {
        let disks = info::disks(&vbox.ask(arguments::list_disks())?);
        let is_parent = |disk: &Disk| disks.iter().any(|other| other.parent.as_ref() == Some(&disk.uuid));
        let Some(last) = disks.iter().find(|disk| which(disk) && !is_parent(disk)) else {
            return Ok(());
        };
        vbox.change(arguments::close_disk(&last.uuid))?;
    }
}

/// How much the machine in `folder` takes on the host's disk, in bytes.
pub fn size(folder: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let files = files_in(folder, "vdi").unwrap_or_default();
    // st_blocks counts units of 512 bytes whatever the file system (stat(3type)).
    files
        .iter()
        .filter_map(|file| std::fs::metadata(file).ok())
        .map(|data| data.blocks() * 512)
        .sum()
}

/// The files of a kind in `folder` and the folders in it.
pub(super) fn files_in(folder: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(files_in(&path, extension)?);
        } else if path.extension() == Some(OsStr::new(extension)) {
            files.push(path);
        }
    }
    Ok(files)
}

/// Waits until everything in `folder` has reached the host's disk.
pub(super) fn sync(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            sync(&path)?;
        } else {
            fs::File::open(path)?.sync_all()?;
        }
    }
    Ok(fs::File::open(folder)?.sync_all()?)
}

#[cfg(test)]
#[path = "tests/disks.rs"]
mod tests;
