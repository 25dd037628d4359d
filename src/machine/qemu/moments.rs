//! Moments of a machine: the disk as it was, and what was in its memory.
//!
//! The file that the guest wrote to until then is never written to again: the machine gets an empty one on top of it.
//! What is done in which order: the new file is the machine's own before QEMU writes to it, and the moment is one
//! last. Killed in between, QEMU writes to a file that the machine's own lies on, so whoever starts it then misses nothing.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use fs_err as fs;
use serde::{Deserialize, Serialize};

use super::graph::{self, Written};
use super::{disks, look, memory, qmp, resume, runs};
use crate::machine::driver::{Home, Moment};
use crate::process::kill_point;

/// What the moment's folder tells of its disk.
const NOTE: &str = "disk.json";

#[derive(Debug, Serialize, Deserialize)]
struct Note {
    /// The name of the file that is as it was, in the machine's folder.
    disk: PathBuf,
}

impl Note {
    fn read(moment: &Moment) -> Result<Self> {
        let file = moment.folder.join(NOTE);
        serde_json::from_slice(&fs::read(&file)?).with_context(|| format!("reading {}", file.display()))
    }

    fn write(&self, moment: &Moment) -> Result<()> {
        let file = moment.folder.join(NOTE);
        fs::write(&file, serde_json::to_vec(self)?)?;
        fs::File::open(&file)?.sync_all()?;
        Ok(fs::File::open(&moment.folder)?.sync_all()?)
    }

    /// The path of the file: nothing of it but the name is taken from what was written down.
    fn path(&self, folder: &Path) -> Result<PathBuf> {
        let name = self.disk.file_name().context("a moment without a disk")?;
        Ok(folder.join(name))
    }
}

/// See [`Home::keep_moment`].
///
/// # Errors
/// See there.
pub fn keep(home: &Home, moment: &Moment, wants_memory: bool) -> Result<bool> {
    let frozen = if runs(&home.run_dir) {
        resume(&home.run_dir)?;
        look(&home.run_dir)?;
        keep_running(home, moment, wants_memory)?
    } else {
        let frozen = disks::active(&home.folder);
        disks::activate(&home.folder, &disks::new_on(&frozen)?)?;
        frozen
    };
    fs::File::open(&frozen)?.sync_all()?;
    Note { disk: frozen }.write(moment)?;
    Ok(memory::is_kept(&moment.folder))
}

/// Gives the disk that stays as it is.
fn keep_running(home: &Home, moment: &Moment, wants_memory: bool) -> Result<PathBuf> {
    let run_dir = &home.run_dir;
    let below = graph::written(run_dir)?;
    let overlay = disks::new_on(&below.file)?;
    disks::activate(&home.folder, &overlay)?;
    let written = {
        let _paused = Paused::new(run_dir)?;
        kill_point::pass();
        put_on_top(run_dir, &below, &overlay)?;
        kill_point::pass();
        let written = wants_memory.then(|| memory::write(run_dir, &moment.folder));
        kill_point::pass();
        written.transpose()?
    };
    kill_point::pass();
    if let Some(written) = written {
        written.seal(&moment.folder)?;
    }
    kill_point::pass();
    Ok(below.file)
}

fn put_on_top(run_dir: &Path, below: &Written, overlay: &Path) -> Result<()> {
    graph::put_on_top(run_dir, below, overlay).context("giving the machine a new disk on top of its own")
}

/// A guest that goes on when this is dropped.
struct Paused<'a>(&'a Path);

impl<'a> Paused<'a> {
    fn new(run_dir: &'a Path) -> Result<Self> {
        qmp::pause(run_dir)?;
        Ok(Self(run_dir))
    }
}

impl Drop for Paused<'_> {
    fn drop(&mut self) {
        // One that has ended does not answer; whoever comes next sees that, or lets the guest go on.
        let _ = qmp::go_on(self.0);
    }
}

/// See [`Home::require_moment`].
///
/// # Errors
/// See there.
pub fn require(home: &Home, moment: &Moment) -> Result<()> {
    disks::require_whole(&Note::read(moment)?.path(&home.folder)?)
}

/// See [`Home::go_back`].
///
/// # Errors
/// See there.
pub fn go_back(home: &Home, moment: &Moment) -> Result<()> {
    let folder = &home.folder;
    let frozen = Note::read(moment)?.path(folder)?;
    let former = disks::active(folder);
    disks::activate(folder, &disks::new_on(&frozen)?)?;
    kill_point::pass();
    // Nothing lies on the disk that a machine writes to, unless the moment that it is kept for was never finished.
    if former != frozen {
        disks::remove(&former)?;
    }
    Ok(())
}

/// See [`Home::sweep_moments`].
///
/// # Errors
/// See there.
pub fn sweep(home: &Home, kept: &[Moment]) -> Result<()> {
    let disk = |moment: &Moment| Note::read(moment)?.path(&home.folder);
    let mut needed = kept.iter().map(disk).collect::<Result<Vec<_>>>()?;
    if runs(&home.run_dir) {
        needed.push(graph::written(&home.run_dir)?.file);
    }
    disks::sweep(&home.folder, &needed)
}

/// Makes the disk `from` that of the machine whose disk is `to`, which goes unless another lies on it.
///
/// # Errors
/// When it cannot be moved.
pub fn replace(from: &Path, to: &Path) -> Result<()> {
    let folder = to.parent().context("a disk lies in a folder")?;
    let is_needed = disks::is_needed(to)?;
    if to.ends_with(disks::FIRST) && disks::active(folder) == *to && !is_needed {
        // Nothing was ever kept of the machine.
        return Ok(fs::rename(from, to)?);
    }
    let new = disks::new_name(folder);
    fs::rename(from, &new)?;
    disks::activate(folder, &new)?;
    if is_needed { Ok(()) } else { disks::remove(to) }
}
