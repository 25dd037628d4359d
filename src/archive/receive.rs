//! `provision cache import`: puts a checkpoint that was carried here into the store, once all of it is known to be whole.

use std::io::Read;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, Result};
use serde::Serialize;

use super::adopt::{Arrived, Fate};
use super::index::{Index, Packed, refused, release_member};
use super::layers::{self, Unpacking};
use super::told::Told;
use super::unpack::{self, Members};
use crate::cancel::Cancel;
use crate::checkpoint::Store;
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
    // An interruption comes as an error of reading.
    let taken = take(wanted, from).or_else(|error| wanted.cancel.check().and(Err(error)));
    taken.map_err(|error| Cancel::in_vain(error, "nothing was imported"))
}

fn take(wanted: &Receiving<'_>, from: impl Read) -> Result<Received> {
    let start = Instant::now();
    let Receiving { events, cancel, paths } = wanted;
    let mut archive = unpack::open(from)?;
    let mut members = Members::new(&mut archive)?;
    let store = Store::open(&paths.cache)?;
    let head = {
        // Its keys lie in the cache while they are looked at, where `gc` takes them for what a killed run left.
        let _share = store.share(cancel, || {
            events.note("another provision removes checkpoints; waiting for it");
        })?;
        Head::read(&mut members, wanted)?
    };
    let index = &head.index;
    let (_lock, fates) = lock(wanted, &store, &head)?;
    let standing = layers::standing(index, &store)?;
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
    let each = &mut index.layers.iter().zip(&standing);
    let unpacked = each.try_for_each(|(layer, there)| unpacking.layer(layer, !there));
    host::disk::or_full(unpacked, store.folder())?;
    members.verify()?;
    unpack::end(archive)?;
    new().try_for_each(|(layer, _)| layers::vet(index, layer, arriving.folder()))?;

    let checkpoints = settle(wanted, &head, &fates, &store, arriving.folder())?;
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

/// What comes before the layers.
struct Head {
    index: Index,
    keys: Vec<Arrived>,
    /// Name and content of the signed list of ISOs.
    release: Option<(String, Vec<u8>)>,
}

impl Head {
    fn read<R: Read>(members: &mut Members<'_, R>, wanted: &Receiving<'_>) -> Result<Self> {
        let index = members.index()?;
        let Packed { manifest, .. } = index.top()?;
        let (stage, key) = (manifest.stage, manifest.base.key.short());
        wanted.events.emit(Event::StageStarted {
            stage: Stage::Import,
            reason: format!("the checkpoint {stage} ({key}) and what it lies on"),
            typical_seconds: None,
        });
        let mut keys = Vec::new();
        for arrived in &index.identities {
            let files = arrived.files.iter();
            let contents = files.map(|file| members.small(&arrived.member(&file.name), file.size));
            let contents: Vec<Vec<u8>> = contents.collect::<Result<_>>()?;
            keys.push(Arrived::new(arrived, &contents, wanted.paths)?);
        }
        let release = index.release.as_ref().map(|list| {
            let content = members.small(&release_member(&list.name), list.size)?;
            anyhow::ensure!(media::is_release(&content), refused("its list of ISOs is none"));
            anyhow::Ok((list.name.clone(), content))
        });
        let release = release.transpose()?;
        Ok(Self { index, keys, release })
    }
}

/// Keeps others from removing layers meanwhile; where keys are to be replaced, from using any.
fn lock(wanted: &Receiving<'_>, store: &Store, head: &Head) -> Result<(Lock, Vec<Fate>)> {
    let fates = || {
        let keys = head.keys.iter();
        keys.map(|keys| keys.fate(&head.index, store))
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

/// Puts everything in its place: keys first, since layers without theirs would be in the way of the next import.
fn settle(
    wanted: &Receiving<'_>,
    head: &Head,
    fates: &[Fate],
    store: &Store,
    arriving: &Path,
) -> Result<Vec<Checkpoint>> {
    kill_point::pass();
    for (keys, fate) in head.keys.iter().zip(fates) {
        keys.settle(*fate)?;
        kill_point::pass();
    }
    if let Some((name, content)) = &head.release {
        media::take_release(name, content, &wanted.paths.isos())?;
    }
    let mut checkpoints = Vec::new();
    for layer in &head.index.layers {
        let state = layers::place(store, &head.index, layer, arriving, wanted.events, wanted.cancel)?;
        kill_point::pass();
        let manifest = &layer.manifest;
        checkpoints.push(Checkpoint {
            stage: manifest.stage,
            key: manifest.base.key.to_string(),
            state,
        });
    }
    Ok(checkpoints)
}
