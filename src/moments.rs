//! Moments of a machine that are kept: how `create` left it, for `reset`, and the user's own, for `restore`.
//!
//! ```text
//! machines/NAME/moments/SNAPSHOT/       one of the user's
//! machines/NAME/moments/.created-ID/    how `create` left the machine; the newest counts
//! machines/NAME/moments/.new-ID/        one that is being kept
//! machines/NAME/moments/.gone-ID/       one that is being removed
//!     moment.json                       when and of which machine; written last
//!     identity/                         the keys that open it
//!     ...                               what the machine's program keeps with it, the memory among it
//! ```
//!
//! A moment is there when its folder has its name, and every name comes by a rename. Whatever an interrupted command left
//! is removed by the next that works on the machine's moments. The disks are the program's
//! ([`crate::machine::driver::Driver`]).

mod created;
mod name;
mod renew;
mod restore;
#[cfg(test)]
mod tests;

pub use created::{created_with_memory, forget_created, keep_created, keep_created_anew};
pub use name::SnapshotName;
pub use renew::renew;
pub use restore::{give_up_if_lost, reset, restore};

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use bytesize::ByteSize;
use fs_err as fs;
use serde::{Deserialize, Serialize};

use crate::checkpoint::Base;
use crate::event::Events;
use crate::fault::{Cause, Fault};
use crate::host;
use crate::identity::Identity;
use crate::instance::{Instance, Phase, Record};
use crate::machine::driver::Moment;
use crate::process::kill_point;

const MANIFEST: &str = "moment.json";
const NEW: &str = ".new-";
const GONE: &str = ".gone-";
const CREATED: &str = ".created-";
const IDENTITY: &str = "identity";

/// The format of a moment's folder.
const FORMAT: u32 = 1;

/// What a kept memory takes beside the guest's own: QEMU's state of devices and screen, in bytes.
const DEVICES: u64 = 64 << 20;

/// What is known of a moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    format: u32,
    /// What tells it from all others.
    pub id: String,
    /// When it was kept.
    pub kept: jiff::Timestamp,
    /// Whether the machine ran then.
    pub ran: bool,
    /// Whether its memory was kept.
    pub memory: bool,
    /// The machine as it was.
    pub record: Record,
}

/// A moment that is there.
#[derive(Debug, Clone, PartialEq)]
pub struct Kept {
    /// Its folder's name.
    pub folder: String,
    /// Where it lies.
    pub moment: Moment,
    /// What is known of it.
    pub manifest: Manifest,
}

impl Kept {
    fn read(folder: &Path) -> Result<Self> {
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let reading = || damaged(&name, folder);
        let text = fs::read(folder.join(MANIFEST)).with_context(reading)?;
        let manifest: Manifest = serde_json::from_slice(&text).with_context(reading)?;
        if manifest.format != FORMAT {
            bail!(reading());
        }
        let moment = Moment {
            id: manifest.id.clone(),
            folder: folder.to_owned(),
        };
        Ok(Self {
            folder: name,
            moment,
            manifest,
        })
    }

    /// Whether it is how `create` left the machine.
    pub fn is_created(&self) -> bool {
        self.folder.starts_with(CREATED)
    }

    /// How much its folder takes on the host's disk, in bytes; what its disk takes is shared with others.
    pub fn size(&self) -> u64 {
        use std::os::unix::fs::MetadataExt as _;
        let files = fs::read_dir(&self.moment.folder).into_iter().flatten().flatten();
        // st_blocks counts units of 512 bytes whatever the file system (stat(3type)).
        files
            .filter_map(|file| file.metadata().ok())
            .map(|data| data.blocks() * 512)
            .sum()
    }

    fn damaged(&self) -> Fault {
        damaged(&self.folder, &self.moment.folder)
    }

    fn identity(&self) -> PathBuf {
        self.moment.folder.join(IDENTITY)
    }
}

/// What is said of the moment `name` in `folder` that something is missing of.
fn damaged(name: &str, folder: &Path) -> Fault {
    let fault = Fault::new(
        Cause::Other,
        format!("the snapshot {name} in {} is damaged", folder.display()),
    );
    // machines/NAME/moments/SNAPSHOT
    let machine = folder.ancestors().nth(2).and_then(Path::file_name).unwrap_or_default();
    let machine = machine.to_string_lossy();
    if name.starts_with(CREATED) {
        let folder = shlex::try_quote(&folder.to_string_lossy()).map_or_else(|_| "that folder".to_owned(), Into::into);
        return fault.hint(format!(
            "`rm -r {folder}` gives it up; then `provision rebuild --name {machine}` makes the machine clean"
        ));
    }
    fault.hint(format!("`provision snapshot rm {name} --name {machine}` removes it"))
}

fn home(instance: &Instance) -> PathBuf {
    instance.dir().join("moments")
}

/// Every moment of a machine, the oldest first.
///
/// # Errors
/// When one cannot be read.
pub fn all(instance: &Instance) -> Result<Vec<Kept>> {
    let mut all = folders(instance)?
        .into_iter()
        .filter(|(name, _)| !is_rubbish(name))
        .map(|(_, path)| Kept::read(&path))
        .collect::<Result<Vec<_>>>()?;
    all.sort_by_key(|kept| kept.manifest.kept);
    Ok(all)
}

fn is_rubbish(name: &str) -> bool {
    name.starts_with(NEW) || name.starts_with(GONE)
}

fn folders(instance: &Instance) -> Result<Vec<(String, PathBuf)>> {
    let entries = match fs::read_dir(home(instance)) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let named = |entry: std::io::Result<fs::DirEntry>| {
        let entry = entry?;
        Ok((entry.file_name().to_string_lossy().into_owned(), entry.path()))
    };
    entries.map(named).collect()
}

/// The user's snapshot `name`.
///
/// # Errors
/// A [`Cause::Usage`] fault when there is none.
pub fn find(instance: &Instance, name: &SnapshotName) -> Result<Kept> {
    let folder = home(instance).join(name.as_str());
    if !folder.exists() {
        bail!(none(instance, name));
    }
    Kept::read(&folder)
}

fn none(instance: &Instance, name: &SnapshotName) -> Fault {
    Fault::new(
        Cause::Usage,
        format!("the machine {} has no snapshot {name}", instance.name),
    )
    .hint(format!(
        "`provision snapshots --name {}` lists those it has",
        instance.name
    ))
}

/// Whether there are snapshots of the user's.
///
/// # Errors
/// When the folder cannot be read.
pub fn has_snapshots(instance: &Instance) -> Result<bool> {
    let is_users = |name: &str| !is_rubbish(name) && !name.starts_with(CREATED);
    Ok(folders(instance)?.iter().any(|(name, _)| is_users(name)))
}

/// The checkpoints that the moments of a machine lie on.
///
/// # Errors
/// When a moment cannot be read: what it needs is not known then.
pub fn bases(instance: &Instance) -> Result<Vec<Base>> {
    let all = all(instance)?.into_iter();
    Ok(all.filter_map(|kept| kept.manifest.record.layer).collect())
}

/// Ends what an interrupted command left half done: a restore is completed, half-kept moments go. What cannot be
/// removed now is told: it is in nobody's way. The caller holds the machine's lock.
///
/// # Errors
/// When a restore cannot be completed.
pub fn settle(events: &Events, instance: &Instance, record: &mut Record) -> Result<()> {
    restore::complete(instance, record)?;
    tidy(events, instance);
    Ok(())
}

/// The same but for a restore that was begun, where another takes its place.
pub fn tidy(events: &Events, instance: &Instance) {
    if let Err(error) = sweep(instance) {
        events.warn(format!("what interrupted commands left is not removed: {error:#}"));
    }
}

/// Removes what interrupted commands left of moments: folders, and disks that nothing needs. The caller holds the
/// machine's lock.
///
/// # Errors
/// When a moment cannot be read, or something not be removed.
pub fn sweep(instance: &Instance) -> Result<()> {
    let folders = folders(instance)?;
    if folders.is_empty() && !home(instance).exists() {
        return Ok(());
    }
    let all = all(instance)?;
    let newest = all.iter().rfind(|kept| kept.is_created()).map(|kept| &kept.folder);
    let is_outdated = |kept: &&Kept| kept.is_created() && Some(&kept.folder) != newest;
    for old in all.iter().filter(is_outdated) {
        discard(instance, &old.folder)?;
    }
    let kept = all.iter().filter(|kept| !is_outdated(kept));
    let kept: Vec<Moment> = kept.map(|kept| kept.moment.clone()).collect();
    instance.home().sweep_moments(&kept)?;
    kill_point::pass();
    // Last: as long as they are there, disks of theirs may be, too.
    for path in unfinished(instance)? {
        fs::remove_dir_all(path)?;
    }
    Ok(())
}

/// The folders of moments that are half kept or half removed; while the machine's lock is free, by interrupted commands.
///
/// # Errors
/// When a folder cannot be read.
pub fn unfinished(instance: &Instance) -> Result<Vec<PathBuf>> {
    let folders = folders(instance)?.into_iter();
    let unfinished = folders.filter(|(name, _)| is_rubbish(name));
    Ok(unfinished.map(|(_, path)| path).collect())
}

/// Takes a moment's name from its folder: [`sweep`] removes it.
fn discard(instance: &Instance, folder: &str) -> Result<()> {
    let moments = home(instance);
    let gone = moments.join(format!("{GONE}{}", random_id()));
    fs::rename(moments.join(folder), &gone)?;
    kill_point::pass();
    Ok(fs::File::open(&moments)?.sync_all()?)
}

fn random_id() -> String {
    hex::encode(rand::random::<[u8; 8]>())
}

/// Keeps how the machine is now as the user's snapshot `name`, with its memory if it runs and `memory` is wanted. The
/// caller holds the machine's lock and has settled it.
///
/// # Errors
/// When there is one of that name, the machine is not whole, too little room is left for the memory, or its program
/// fails; the machine goes on in any case.
pub fn keep(instance: &Instance, record: &Record, name: &SnapshotName, memory: bool) -> Result<Kept> {
    if home(instance).join(name.as_str()).exists() {
        bail!(
            Fault::new(Cause::Usage, format!("there is a snapshot {name} already")).hint(format!(
                "choose another name, or `provision snapshot rm {name} --name {}` first",
                instance.name
            ))
        );
    }
    require_whole(instance, record)?;
    if memory && instance.runs(record) {
        require_room(instance, record)?;
    }
    keep_as(instance, record, name.as_str(), memory)
}

fn require_whole(instance: &Instance, record: &Record) -> Result<()> {
    // While another disk is put in place nothing tells what the machine's own lies on, and it may go.
    let is_known = record.imported || record.layer.is_some();
    if matches!(record.phase, Phase::Failed(_)) || !is_known || !instance.disk().exists() {
        bail!(
            Fault::new(Cause::Usage, format!("the machine {} is not made", instance.name))
                .hint("`provision status` tells where its `create` stopped")
        );
    }
    Ok(())
}

/// How much a memory may take, at most.
fn require_room(instance: &Instance, record: &Record) -> Result<()> {
    let bytes = (record.memory_mib << 20) + DEVICES;
    host::disk::require(instance.dir(), bytes).with_context(|| {
        Fault::new(
            Cause::Space,
            format!("the machine's memory may take up to {}", ByteSize(bytes)),
        )
        .hint("free some space (`provision cache prune`), or leave the memory out with `--no-memory`")
    })
}

fn keep_as(instance: &Instance, record: &Record, folder: &str, memory: bool) -> Result<Kept> {
    let moments = home(instance);
    fs::create_dir_all(&moments)?;
    let id = random_id();
    let new = moments.join(format!("{NEW}{id}"));
    fs::create_dir(&new)?;
    kill_point::pass();
    let kept = keep_in(instance, record, &id, &new, memory).and_then(|()| {
        kill_point::pass();
        fs::rename(&new, moments.join(folder))?;
        Ok(fs::File::open(&moments)?.sync_all()?)
    });
    if let Err(error) = kept {
        // The error at hand matters more, and the next command sweeps too.
        let _ = sweep(instance);
        return Err(error.context(format!("keeping a moment of the machine {}", instance.name)));
    }
    Kept::read(&moments.join(folder))
}

fn keep_in(instance: &Instance, record: &Record, id: &str, new: &Path, memory: bool) -> Result<()> {
    let machine = instance.home();
    let moment = Moment {
        id: id.to_owned(),
        folder: new.to_owned(),
    };
    let ran = machine.runs();
    let memory = machine.keep_moment(&moment, memory)?;
    kill_point::pass();
    Identity::load(&instance.identity())?.copy_to(&new.join(IDENTITY))?;
    let manifest = Manifest {
        format: FORMAT,
        id: id.to_owned(),
        kept: jiff::Timestamp::now(),
        ran,
        memory,
        record: record.clone(),
    };
    let file = new.join(MANIFEST);
    fs::write(&file, serde_json::to_vec_pretty(&manifest)?)?;
    fs::File::open(&file)?.sync_all()?;
    Ok(fs::File::open(new)?.sync_all()?)
}

/// Removes the user's snapshot `name`; what lies on it stays whole. A restore to it that was begun is completed before,
/// or given up. The caller holds the machine's lock.
///
/// # Errors
/// When there is none, or it cannot be removed.
pub fn remove(events: &Events, instance: &Instance, record: &mut Record, name: &SnapshotName) -> Result<()> {
    if !home(instance).join(name.as_str()).exists() {
        bail!(none(instance, name));
    }
    if record.restoring.as_deref() == Some(name.as_str()) {
        give_up_if_lost(events, instance, record)?;
        restore::complete(instance, record)?;
    }
    discard(instance, name.as_str())?;
    kill_point::pass();
    sweep(instance)
}

/// Removes every moment of a machine that goes, or becomes another.
///
/// # Errors
/// When one cannot be removed.
pub fn remove_all(instance: &Instance) -> Result<()> {
    let moments = home(instance);
    if !moments.exists() {
        return Ok(());
    }
    // What is half removed must not look like a moment.
    for (name, _) in folders(instance)?.iter().filter(|(name, _)| !is_rubbish(name)) {
        discard(instance, name)?;
    }
    fs::remove_dir_all(moments)?;
    instance.home().sweep_moments(&[])
}
