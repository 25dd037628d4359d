//! `provision cache import`: puts a checkpoint that was carried here into the store, once all of it is known to be whole.

use std::io::Read;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use fs_err as fs;
use serde::Serialize;

use super::adopt::{Arrived, Fate};
use super::index::{Index, Packed, refused, release_member};
use super::told::Told;
use super::unpack::{self, Members};
use crate::cancel::Cancel;
use crate::checkpoint::{Layer, Making, Store};
use crate::event::{Event, Events, Stage};
use crate::fault::{Cause, Fault};
use crate::host;
use crate::lock::Lock;
use crate::media;
use crate::paths::Paths;
use crate::process::kill_point;

/// What is written beside the data: manifests, keys, tables of the file system, generously, in bytes.
const BESIDE: u64 = 16 << 20;

/// What is wanted.
pub struct Receiving<'a> {
    /// Where things are kept.
    pub paths: &'a Paths,
    /// Whom to tell.
    pub events: &'a Events,
    /// Whether the user asked to stop.
    pub cancel: &'a Cancel,
}

/// What became of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It was there.
    There,
    /// It was put into the store.
    Imported,
}

/// A checkpoint of an archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Checkpoint {
    /// The stage that made it.
    pub stage: Stage,
    /// Its key.
    pub key: String,
    /// What became of it.
    pub state: State,
}

/// What became of an archive.
#[derive(Debug, Serialize)]
pub struct Received {
    /// The checkpoints, the lowest first.
    pub checkpoints: Vec<Checkpoint>,
    /// How much data was written, in bytes.
    pub bytes: u64,
    /// How long it took.
    pub seconds: f64,
}

/// Puts the checkpoint that `from` gives into the store, with all that it needs. Nothing is there of it before all of it is known
/// to be whole; what is there already stays.
///
/// # Errors
/// When it is damaged, of another version, opens with other keys than what is here, lies on another making of what is here,
/// space is short, or the user interrupts.
pub fn receive(wanted: &Receiving<'_>, from: impl Read) -> Result<Received> {
    take(wanted, from).map_err(|error| Cancel::in_vain(error, "nothing was imported"))
}

fn take(wanted: &Receiving<'_>, from: impl Read) -> Result<Received> {
    let start = Instant::now();
    let Receiving { events, cancel, paths } = wanted;
    let mut archive = unpack::open(from)?;
    let mut members = Members::new(&mut archive)?;
    let index = members.index()?;
    let top = &index.top()?.manifest;
    events.emit(Event::StageStarted {
        stage: Stage::Import,
        reason: format!(
            "the checkpoint {} ({}) and what it lies on",
            top.stage,
            top.base.key.short()
        ),
        typical_seconds: None,
    });
    let store = Store::open(&paths.cache)?;
    let mut arrived = Vec::new();
    for keys in &index.identities {
        let contents = keys
            .files
            .iter()
            .map(|file| members.small(&keys.member(&file.name), file.size));
        let contents: Vec<Vec<u8>> = contents.collect::<Result<_>>()?;
        arrived.push(Arrived::new(keys, &contents, paths)?);
    }
    let release = index.release.as_ref();
    let release = release
        .map(|list| anyhow::Ok((&list.name, members.small(&release_member(&list.name), list.size)?)))
        .transpose()?;
    let (_lock, fates) = lock(wanted, &store, &index, &arrived)?;
    let standing = standing(&index, &store)?;
    let new = || index.layers.iter().zip(&standing).filter(|(_, there)| !**there);
    let bytes: u64 = new().map(|(layer, _)| layer.bytes()).sum();
    host::disk::require(store.folder(), bytes + BESIDE)?;

    events.step(Stage::Import, "unpacking and verifying");
    let arriving = store.arriving()?;
    let mut unpacking = Unpacking {
        told: Told::new(events, cancel, Stage::Import, index.bytes()),
        folder: arriving.folder(),
        members: &mut members,
    };
    let unpacked = index
        .layers
        .iter()
        .zip(&standing)
        .try_for_each(|(layer, there)| unpacking.layer(layer, !there));
    // An interruption comes as an error of reading.
    cancel.check()?;
    host::disk::or_full(unpacked, store.folder())?;
    members.verify()?;
    unpack::end(archive)?;
    for (layer, _) in new() {
        vet(&index, layer, arriving.folder())?;
    }

    kill_point::pass();
    for (keys, fate) in arrived.iter().zip(fates) {
        keys.settle(fate)?;
        kill_point::pass();
    }
    if let Some((name, content)) = &release {
        media::take_release(name, content, &paths.isos()).map_err(|error| refused(&format!("{error:#}")))?;
    }
    let mut checkpoints = Vec::new();
    for layer in &index.layers {
        let state = place(wanted, &store, &index, layer, arriving.folder())?;
        kill_point::pass();
        let manifest = &layer.manifest;
        checkpoints.push(Checkpoint {
            stage: manifest.stage,
            key: manifest.base.key.to_string(),
            state,
        });
    }
    let seconds = start.elapsed().as_secs_f64();
    events.emit(Event::StageDone {
        stage: Stage::Import,
        seconds,
    });
    Ok(Received {
        checkpoints,
        bytes,
        seconds,
    })
}

/// Keeps others from removing layers meanwhile; where keys are to be replaced, from using any.
fn lock(wanted: &Receiving<'_>, store: &Store, index: &Index, arrived: &[Arrived]) -> Result<(Lock, Vec<Fate>)> {
    let fates = || {
        arrived
            .iter()
            .map(|keys| keys.fate(index, store))
            .collect::<Result<Vec<_>>>()
    };
    let share = store.share(wanted.cancel, || {
        wanted
            .events
            .note("another provision removes checkpoints; waiting for it");
    })?;
    let shared = fates()?;
    if !shared.contains(&Fate::Replaces) {
        return Ok((share, shared));
    }
    drop(share);
    let alone = store.try_alone()?.with_context(|| {
        Fault::new(
            Cause::Busy,
            "another provision command uses the keys that would be replaced",
        )
        .hint("wait for it to end: `provision list` tells which machines are unfinished")
    })?;
    Ok((alone, fates()?))
}

/// Whether each layer is there. Refuses those that would lie on another making of one than that on which they were made: the
/// disk under them would be another.
fn standing(index: &Index, store: &Store) -> Result<Vec<bool>> {
    let layers = index.layers.iter();
    let there: Vec<Option<Layer>> = layers.map(|layer| store.get(&layer.base().key)).collect();
    let below = index.layers.iter().zip(&there).rev().skip(1);
    for (layer, there) in below {
        if there.as_ref().is_some_and(|there| there.manifest.base != *layer.base()) {
            return Err(other_making(layer).into());
        }
    }
    Ok(there.iter().map(Option::is_some).collect())
}

fn other_making(layer: &Packed) -> Fault {
    let (stage, key) = (layer.manifest.stage, layer.base().key.short());
    let message =
        format!("the checkpoint {stage} ({key}) was made here, too: what lies on the one in the file does not fit it");
    Fault::new(Cause::Config, message).hint(
        "`provision create` makes the rest on the one that is here; or `provision cache prune` first, if no machine needs it",
    )
}

/// What takes layers out of an archive.
struct Unpacking<'a, 'b, 'c, R: Read> {
    members: &'a mut Members<'b, R>,
    told: Told<'c>,
    folder: &'a Path,
}

impl<R: Read> Unpacking<'_, '_, '_, R> {
    /// Reads a layer's files, into a folder of its own if it is wanted.
    fn layer(&mut self, layer: &Packed, is_wanted: bool) -> Result<()> {
        let folder = folder_of(self.folder, layer);
        if is_wanted {
            fs::create_dir(&folder)?;
        }
        for file in &layer.files {
            let member = layer.member(&file.name);
            let into = is_wanted.then(|| create(&folder.join(&file.name))).transpose()?;
            let digest = self.members.file(&member, file, into.as_ref(), &mut self.told)?;
            let noted = layer.manifest.digests.get(&file.name);
            if noted.is_some_and(|noted| *noted != digest) {
                bail!(refused(&format!(
                    "{member} is not what it was when it was made (SHA-256)"
                )));
            }
        }
        Ok(())
    }
}

fn folder_of(arriving: &Path, layer: &Packed) -> PathBuf {
    arriving.join(layer.base().key.as_str())
}

fn create(path: &Path) -> Result<std::fs::File> {
    let mut options = std::fs::OpenOptions::new();
    let open = options.write(true).create_new(true).mode(0o600).open(path);
    open.with_context(|| format!("making {}", path.display()))
}

/// Refuses a disk that names more than the one under it.
fn vet(index: &Index, layer: &Packed, arriving: &Path) -> Result<()> {
    let driver = index.hypervisor.driver();
    let parent = layer.manifest.parent.as_ref();
    let parent = parent.map(|parent| Path::new("..").join(parent.key.as_str()));
    driver.vet(&driver.disk_in(&folder_of(arriving, layer)), parent.as_deref())
}

/// Makes a layer of what was unpacked of it, as a run does that has made it.
fn place(wanted: &Receiving<'_>, store: &Store, index: &Index, layer: &Packed, arriving: &Path) -> Result<State> {
    let Packed { manifest, files } = layer;
    let base = layer.base();
    let _lock = store.lock(&base.key, wanted.cancel, || {
        wanted.events.note(format!(
            "another provision makes the checkpoint {}; waiting for it",
            manifest.stage
        ));
    })?;
    if let Some(there) = store.get(&base.key) {
        let is_below = index.layers.last() != Some(layer);
        if is_below && there.manifest.base != *base {
            return Err(other_making(layer).into());
        }
        return Ok(State::There);
    }
    let folder = folder_of(arriving, layer);
    let beside: Vec<PathBuf> = files.iter().skip(1).map(|file| folder.join(&file.name)).collect();
    let making = Making {
        hypervisor: index.hypervisor,
        disk: &index.hypervisor.driver().disk_in(&folder),
        beside: &beside.iter().map(PathBuf::as_path).collect::<Vec<_>>(),
        arrives: true,
    };
    store.commit_all(making, manifest)?;
    Ok(State::Imported)
}
