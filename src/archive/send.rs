//! `provision cache export`: writes a checkpoint with all that it needs.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use fs_err as fs;
use serde::Serialize;

use super::index::{self, Index, Keys, Packed, Small, Sparse, release_member};
use super::pack::Packer;
use super::told::Told;
use super::{FORMAT, INDEX, parts};
use crate::cancel::Cancel;
use crate::checkpoint::{Layer, Store};
use crate::event::{Event, Events, Stage};
use crate::export::Place;
use crate::fault::{Cause, Fault};
use crate::host;
use crate::identity::{Identity, Secret};
use crate::paths::Paths;

/// How much smaller than its data an archive is at best: what is empty in a disk is not in it, and the rest was partly packed
/// before.
const AT_BEST: u64 = 5;

/// What is wanted.
pub struct Sending<'a> {
    /// The checkpoint. The caller holds a share of the store.
    pub layer: &'a Layer,
    /// Where it lies.
    pub store: &'a Store,
    /// Whether kept memories are carried, too: large, and of use only to the same QEMU on the same processor.
    pub memory: bool,
    /// Name and content of the signed list that says which ISO is meant.
    pub release: Option<(String, Vec<u8>)>,
    /// Where things are kept.
    pub paths: &'a Paths,
    /// Whom to tell.
    pub events: &'a Events,
    /// Whether the user asked to stop.
    pub cancel: &'a Cancel,
}

/// What was written.
#[derive(Debug, Serialize)]
pub struct Sent {
    /// Where; none on standard output.
    pub file: Option<PathBuf>,
    /// The stage whose checkpoint it is.
    pub stage: Stage,
    /// The checkpoint's key.
    pub key: String,
    /// How large the file is, in bytes.
    pub bytes: Option<u64>,
    /// How much data the checkpoints hold, in bytes.
    pub data_bytes: u64,
    /// How long it took.
    pub seconds: f64,
}

/// Writes it to the file `target`, which is there whole or not at all.
///
/// # Errors
/// When something is there that may not be replaced, a checkpoint is damaged or cannot be carried, space is short, or the user
/// interrupts.
pub fn send_file(wanted: &Sending<'_>, target: &Path, force: bool) -> Result<Sent> {
    let written = || {
        let own = [wanted.paths.cache.as_path(), wanted.paths.machines.as_path()];
        let place = Place::take_file(target, force, &own)?;
        let packing = Packing::new(wanted)?;
        host::disk::require(place.folder(), packing.index.bytes() / AT_BEST)?;
        let made = place.made();
        let sent = packing.write(fs::File::create_new(&made)?);
        let (file, mut sent) = host::disk::or_full(sent, place.folder())?;
        sent.bytes = Some(file.metadata()?.len());
        sent.file = Some(place.target().to_owned());
        drop(file);
        place.publish(&made, None)?;
        Ok(sent)
    };
    written().map_err(|error| Cancel::in_vain(error, "no file was written"))
}

/// Writes it to `to`. What is written before an error is no whole archive, and no import takes it for one.
///
/// # Errors
/// When a checkpoint is damaged or cannot be carried, `to` cannot be written to, or the user interrupts.
pub fn send(wanted: &Sending<'_>, to: impl Write) -> Result<Sent> {
    let packing = Packing::new(wanted)?;
    let (mut to, sent) = packing.write(to)?;
    to.flush().context("writing the archive")?;
    Ok(sent)
}

/// What goes into an archive.
struct Packing<'a> {
    wanted: &'a Sending<'a>,
    index: Index,
    /// Of each layer, the lowest first.
    folders: Vec<PathBuf>,
    identities: Vec<Identity>,
}

impl<'a> Packing<'a> {
    fn new(wanted: &'a Sending<'a>) -> Result<Self> {
        let hypervisor = wanted.layer.hypervisor();
        let Some(names) = hypervisor.driver().portable() else {
            let message = format!(
                "the checkpoint is {}'s, and only QEMU's can be carried",
                hypervisor.title()
            );
            bail!(Fault::new(Cause::Usage, message).hint(
                "its checkpoints are machines in the program's own lists; `--machine qemu` makes others, and `provision export \
                 --checkpoint` writes this one as an image"
            ));
        };
        let names = if wanted.memory { names } else { &names[..1] };
        let mut chain = wanted.store.chain(&wanted.layer.manifest.base);
        chain.reverse();
        let layers = chain
            .iter()
            .map(|layer| packed(layer, names))
            .collect::<Result<Vec<_>>>()?;
        let identities = index::identities(&layers).map_err(anyhow::Error::msg)?;
        let of = |name: &str| match name {
            index::BUILDER => Identity::load(&wanted.paths.builder()),
            login => Identity::load(&wanted.paths.identity(login)),
        };
        let identities: Vec<(String, Identity)> = identities
            .into_iter()
            .map(|name| Ok((name.to_owned(), of(name).context("reading the keys of a checkpoint")?)))
            .collect::<Result<_>>()?;
        let release = wanted.release.as_ref();
        let index = Index {
            format: FORMAT,
            tool: env!("CARGO_PKG_VERSION").to_owned(),
            hypervisor,
            identities: identities.iter().map(|(name, identity)| keys(name, identity)).collect(),
            release: release.map(|(name, content)| small(name, content.len())),
            layers,
        };
        Ok(Self {
            wanted,
            index,
            folders: chain.iter().map(|layer| layer.folder().to_owned()).collect(),
            identities: identities.into_iter().map(|(_, identity)| identity).collect(),
        })
    }

    fn write<W: Write>(&self, to: W) -> Result<(W, Sent)> {
        let start = Instant::now();
        let Sending { events, cancel, .. } = self.wanted;
        let top = &self.index.top()?.manifest;
        let key = &top.base.key;
        events.emit(Event::StageStarted {
            stage: Stage::Export,
            reason: format!("the checkpoint {} ({}) and what it lies on", top.stage, key.short()),
            typical_seconds: None,
        });
        events.step(Stage::Export, "packing");
        let told = Told::new(events, cancel, Stage::Export, self.index.bytes());
        let packed = self.pack(to, told);
        // An interruption comes as an error of writing.
        cancel.check()?;
        let to = packed?;
        let seconds = start.elapsed().as_secs_f64();
        events.emit(Event::StageDone {
            stage: Stage::Export,
            seconds,
        });
        let sent = Sent {
            file: None,
            stage: top.stage,
            key: key.to_string(),
            bytes: None,
            data_bytes: self.index.bytes(),
            seconds,
        };
        Ok((to, sent))
    }

    fn pack<W: Write>(&self, to: W, told: Told<'_>) -> Result<W> {
        const WRITING: &str = "writing the archive";
        let mut packer = Packer::new(to, told).context(WRITING)?;
        let text = serde_json::to_vec(&self.index).context(WRITING)?;
        packer.small(INDEX, &text).context(WRITING)?;
        for (keys, identity) in self.index.identities.iter().zip(&self.identities) {
            for (name, content) in identity.to_files() {
                let content = content.expose().as_bytes();
                packer.small(&keys.member(name), content).context(WRITING)?;
            }
        }
        if let Some((name, content)) = &self.wanted.release {
            packer.small(&release_member(name), content).context(WRITING)?;
        }
        for (layer, folder) in self.index.layers.iter().zip(&self.folders) {
            self.wanted
                .events
                .detail(format!("packing the checkpoint {}", layer.manifest.stage));
            for file in &layer.files {
                let open = fs::File::open(folder.join(&file.name))?;
                let digest = packer
                    .file(&layer.member(&file.name), open.file(), file)
                    .context(WRITING)?;
                require_noted(layer, &file.name, &digest)?;
            }
        }
        packer.finish().context(WRITING)
    }
}

/// Refuses a layer that is not what it was when it was made.
fn require_noted(layer: &Packed, name: &str, digest: &str) -> Result<()> {
    let noted = layer.manifest.digests.get(name);
    if noted.is_none_or(|noted| noted == digest) {
        return Ok(());
    }
    let (stage, key) = (layer.manifest.stage, layer.base().key.short());
    let message = format!("the checkpoint {stage} ({key}) is damaged: {name} has changed since it was made (SHA-256)");
    bail!(
        Fault::new(Cause::Verification, message)
            .hint("`provision cache check` sets it aside, `provision create` makes it again")
    )
}

fn packed(layer: &Layer, names: &[&str]) -> Result<Packed> {
    let folder = layer.folder();
    let files = names.iter().filter(|name| folder.join(name).exists());
    let files = files.map(|name| {
        let (data, size) = parts::of(&fs::File::open(folder.join(name))?)?;
        Ok(Sparse {
            name: (*name).to_owned(),
            size,
            data,
        })
    });
    let mut manifest = layer.manifest.clone();
    manifest.digests.retain(|name, _| names.contains(&name.as_str()));
    Ok(Packed {
        manifest,
        files: files.collect::<Result<_>>()?,
    })
}

fn keys(name: &str, identity: &Identity) -> Keys {
    let files = identity.to_files();
    let files = files
        .iter()
        .map(|(name, content): &(_, Secret)| small(name, content.expose().len()));
    Keys {
        name: name.to_owned(),
        files: files.collect(),
    }
}

fn small(name: &str, size: usize) -> Small {
    Small {
        name: name.to_owned(),
        size: size as u64,
    }
}
