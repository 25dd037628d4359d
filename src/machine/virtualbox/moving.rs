//! Moves machines from folder to folder, also to another file system.
//!
//! On one file system `VirtualBox` moves them itself, by renaming. To another it would copy with its own service, which
//! goes on when whoever asked is gone, and leaves half of a machine here and half there when it is stopped. So they are
//! copied by this process, while `VirtualBox` knows nothing of them, and made known where they are then.

use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use fs_err as fs;

use super::arguments::{CONTROLLER, DISK_PORT};
use super::disks::{remove, settings, settings_in, show, strip, sync, unique_name};
use super::info::{self, Disk, Info};
use super::vboxmanage::VBoxManage;
use super::{arguments, disks, known};
use crate::cancel::Cancel;
use crate::host;
use crate::wait::Wait;

/// The snapshot of a checkpoint.
pub(super) const CHECKPOINT: &str = "checkpoint";

/// What is copied at once, in bytes, between two looks at whether the user asked to stop.
const CHUNK: usize = 1 << 20;

/// What of a machine is no disk, in bytes, generously: settings and logs.
const SETTINGS: u64 = 16 << 20;

/// Makes the powered-off machine in `from` a checkpoint in `to`, which must lie empty or not at all. `from` is gone then.
///
/// # Errors
/// When it still runs, room is short, `VirtualBox` fails or the user interrupts. Then nothing is in `to`, and what may be
/// in `from` is for [`remove`].
pub fn keep(vbox: &VBoxManage, from: &Path, to: &Path, what: &str) -> Result<()> {
    let kept = settle(vbox, from)
        .and_then(|()| strip(vbox, from))
        .and_then(|()| relocate(vbox, from, to, what))
        .and_then(|below| {
            let snapshot = || vbox.change(arguments::take_snapshot(&settings(to)?, CHECKPOINT));
            known::knowing(vbox, &chain(to, &below), snapshot)
        })
        .and_then(|_| sync(to))
        .and_then(|()| Ok(fs::remove_dir_all(from)?));
    kept.inspect_err(|_| {
        // The error at hand matters more.
        let _ = remove(vbox, to);
    })
    .with_context(|| format!("keeping the machine in {} as a checkpoint", from.display()))
}

/// Moves the powered-off machine in `from` to `to`, which must lie empty or not at all, and names it after `what`.
///
/// # Errors
/// When it still runs, room is short, `VirtualBox` fails or the user interrupts.
pub fn move_to(vbox: &VBoxManage, from: &Path, to: &Path, what: &str) -> Result<()> {
    settle(vbox, from)
        .and_then(|()| relocate(vbox, from, to, what))
        .and_then(|_| Ok(fs::remove_dir_all(from)?))
        .with_context(|| format!("moving the machine in {} to {}", from.display(), to.display()))
}

/// Waits until no process holds the machine: `VirtualBox` takes note of its end a little later.
fn settle(vbox: &VBoxManage, folder: &Path) -> Result<()> {
    Wait::new("the machine to end", disks::END_LIMIT)
        .cancel(vbox.cancel())
        .until(|| Ok((!show(vbox, folder)?.state().is_alive()).then_some(())))
}

/// Moves the powered-off machine in `from` to `to` and leaves what else is in `from`. Gives the folders of the machines on
/// which it lies.
pub(super) fn relocate(vbox: &VBoxManage, from: &Path, to: &Path, what: &str) -> Result<Vec<PathBuf>> {
    vbox.change(arguments::rename(&settings(from)?, &unique_name(what, to)))?;
    let info = show(vbox, from)?;
    let below = folders_below(vbox, from, &info)?;
    fs::create_dir_all(to)?;
    if fs::metadata(from)?.dev() == fs::metadata(to)?.dev() {
        vbox.change(arguments::move_to(&settings(from)?, to))?;
        return Ok(below);
    }
    host::disk::require(to, length(from)? + SETTINGS)?;
    let uuid = info.get("UUID").context("VirtualBox tells no identifier")?;
    vbox.change(arguments::unregister(uuid))?;
    copy_folder(from, to, vbox.cancel())?;
    known::know(vbox, &chain(to, &below))?;
    Ok(below)
}

/// The folders of the machines on which that in `folder` lies, the nearest first.
fn folders_below(vbox: &VBoxManage, folder: &Path, info: &Info) -> Result<Vec<PathBuf>> {
    let disks = info::disks(&vbox.ask(arguments::list_disks())?);
    let attached = info.attached(CONTROLLER, DISK_PORT).map(Path::new);
    let disk = disks.iter().find(|disk| Some(&*disk.file) == attached);
    let chain = disk.into_iter().flat_map(|disk| info::chain(&disks, disk));
    let folder_of = |disk: &Disk| {
        let mut above = disk.file.ancestors();
        above.find(|above| settings_in(above).is_some()).map(Path::to_owned)
    };
    let mut folders: Vec<_> = chain
        .filter(|disk| !disk.lies_in(folder))
        .filter_map(folder_of)
        .collect();
    folders.dedup();
    Ok(folders)
}

fn chain<'a>(folder: &'a Path, below: &'a [PathBuf]) -> Vec<&'a Path> {
    let below = below.iter().map(PathBuf::as_path);
    std::iter::once(folder).chain(below).collect()
}

/// How many bytes the files in `folder` have.
fn length(folder: &Path) -> Result<u64> {
    let mut length = 0;
    for entry in fs::read_dir(folder)? {
        let (path, data) = entry.and_then(|entry| Ok((entry.path(), entry.metadata()?)))?;
        length += if data.is_dir() {
            self::length(&path)?
        } else {
            data.len()
        };
    }
    Ok(length)
}

/// Copies what is in `from` into the folder `to`, with everybody's rights.
fn copy_folder(from: &Path, to: &Path, cancel: &Cancel) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (path, new) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type()?.is_dir() {
            copy_folder(&path, &new, cancel)?;
        } else {
            copy_file(&path, &new, cancel)?;
        }
        fs::set_permissions(&new, entry.metadata()?.permissions())?;
    }
    Ok(())
}

/// Copies a file without writing what is empty of it.
fn copy_file(from: &Path, to: &Path, cancel: &Cancel) -> Result<()> {
    let (mut old, mut new) = (fs::File::open(from)?, fs::File::create(to)?);
    let mut chunk = vec![0; CHUNK];
    loop {
        cancel.check()?;
        match old.read(&mut chunk)? {
            0 => break,
            read if chunk[..read].iter().all(|byte| *byte == 0) => {
                new.seek(SeekFrom::Current(i64::try_from(read)?))?;
            }
            read => new.write_all(&chunk[..read])?,
        }
    }
    let length = new.stream_position()?;
    Ok(new.set_len(length)?)
}
