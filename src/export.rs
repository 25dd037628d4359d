//! Writes a machine's disk, or a checkpoint's, as an image that runs elsewhere.

mod format;
mod kubevirt;
mod oci;
mod ova;
mod ovf;
mod place;
mod reference;
mod replace;
mod seal;
mod source;
mod stream;

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result};
use fs_err as fs;
use serde::Serialize;

pub use self::format::Format;
pub use self::place::{Place, is_partial};
pub use self::reference::image as image_name;
pub use self::source::Source;
use self::stream::Told;
use crate::cancel::Cancel;
use crate::event::{Event, Events, Stage, Unit};
use crate::fault::{Cause, Fault};
use crate::host;
use crate::identity::Secret;
use crate::machine::qemu::convert::{self, Conversion, ImageFormat, Part};
use crate::paths::Paths;
use crate::stage::Host;

/// What sealing may write into its copy, generously: an initramfs, and what booting writes.
const SEAL_ROOM: u64 = 1 << 30;

/// What of an image is neither data nor holes: headers and tables, generously.
const TABLES: u64 = 16 << 20;

/// What is wanted.
#[derive(Debug)]
pub struct Export<'a> {
    /// What is exported.
    pub source: &'a Source,
    /// As what.
    pub format: Format,
    /// To where.
    pub output: &'a Path,
    /// Whether what is there is replaced.
    pub force: bool,
    /// How a machine is started here, to seal a copy of the disk first.
    pub seal: Option<&'a Host>,
    /// The name under which a containerdisk will be found in a registry.
    pub image: Option<&'a str>,
    /// Where things are kept.
    pub paths: &'a Paths,
    /// Whom to tell.
    pub events: &'a Events,
    /// Whether the user asked to stop.
    pub cancel: &'a Cancel,
}

/// What was written.
#[derive(Debug, Serialize)]
pub struct Exported {
    /// The image.
    pub file: PathBuf,
    /// A containerdisk's manifest for KubeVirt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manifest: Option<PathBuf>,
    /// Its format.
    pub format: Format,
    /// What it takes on the host's disk, in bytes.
    pub bytes: u64,
    /// How large the guest's disk is, in bytes.
    pub disk_bytes: u64,
    /// How long it took.
    pub seconds: f64,
    /// Whether it may be handed out.
    pub sealed: bool,
    /// The guest's user, once there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub login: Option<String>,
    /// The new password that sealing gave it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
}

/// Writes the image. It is there whole or not at all.
///
/// # Errors
/// When the output exists, space is short, the guest cannot be sealed, `qemu-img` fails, or the user interrupts.
pub fn export(wanted: &Export<'_>) -> Result<Exported> {
    write(wanted).map_err(|error| Cancel::in_vain(error, "no image was written"))
}

fn write(wanted: &Export<'_>) -> Result<Exported> {
    let start = Instant::now();
    let own = [wanted.paths.cache.as_path(), wanted.paths.machines.as_path()];
    let place = Place::take(wanted.output, wanted.format, wanted.force, &own)?;
    let source = wanted.source.as_qcow2(&place.room("whole")?)?;
    let parts = convert::map(&source, "qcow2", wanted.cancel)?;
    let sealing = if wanted.seal.is_some() { SEAL_ROOM } else { 0 };
    host::disk::require(place.folder(), wanted.format.room(&parts) + TABLES + sealing)
        .map_err(|error| elsewhere(error, wanted.format))?;
    let sealed = wanted
        .seal
        .map(|host| seal_copy(wanted, host, &source, &place))
        .transpose()?;
    let disk = sealed.as_ref().map_or(&source, |sealed| &sealed.disk);
    let parts = match sealed {
        Some(_) => convert::map(disk, "qcow2", wanted.cancel)?,
        None => parts,
    };
    let writing = Instant::now();
    wanted.events.emit(Event::StageStarted {
        stage: Stage::Export,
        reason: format!("{} as {}", wanted.source.what, wanted.format.title()),
        typical_seconds: None,
    });
    let job = Job {
        wanted,
        disk,
        parts: &parts,
        place: &place,
    };
    let made = job.write()?;
    let bytes = size_on_disk(&made)?;
    let manifest = job.write_manifest()?;
    place.publish(&made, manifest.as_deref())?;
    wanted.events.emit(Event::StageDone {
        stage: Stage::Export,
        seconds: writing.elapsed().as_secs_f64(),
    });
    Ok(Exported {
        file: place.target().to_owned(),
        manifest: manifest.map(|_| place.manifest()),
        format: wanted.format,
        bytes,
        disk_bytes: convert::size(&parts),
        seconds: start.elapsed().as_secs_f64(),
        sealed: sealed.is_some(),
        login: wanted.source.login.as_ref().map(ToString::to_string),
        password: sealed.and_then(|sealed| Some(sealed.password?.expose().to_owned())),
    })
}

/// A copy of the disk that may be handed out.
struct Sealed {
    disk: PathBuf,
    password: Option<Secret>,
}

fn seal_copy(wanted: &Export<'_>, host: &Host, disk: &Path, place: &Place) -> Result<Sealed> {
    let start = Instant::now();
    wanted.events.emit(Event::StageStarted {
        stage: Stage::Seal,
        reason: "keys, logs and caches are removed from a copy".to_owned(),
        typical_seconds: None,
    });
    let folder = place.room("seal")?;
    let (disk, password) = seal::run(host, wanted.source, disk, &folder)?;
    wanted.events.emit(Event::StageDone {
        stage: Stage::Seal,
        seconds: start.elapsed().as_secs_f64(),
    });
    Ok(Sealed { disk, password })
}

/// The writing of one image.
struct Job<'a> {
    wanted: &'a Export<'a>,
    disk: &'a Path,
    parts: &'a [Part],
    place: &'a Place,
}

impl Job<'_> {
    fn write(&self) -> Result<PathBuf> {
        let image = self.place.room("image")?.join("disk");
        self.convert(&image)?;
        let made = match self.wanted.format {
            Format::Ova => {
                self.require_copy(&image)?;
                ova::write(&self.appliance(), &image, &self.place.made(), &self.told("packing"))?
            }
            Format::Containerdisk => {
                self.require_copy(&image)?;
                let name = &self.wanted.source.name;
                let is_tar = self.place.is_tar();
                oci::write(name, &image, &self.place.made(), is_tar, &self.told("packing"))?
            }
            _ => image,
        };
        Ok(made)
    }

    fn convert(&self, image: &Path) -> Result<()> {
        let (events, total) = (self.wanted.events, convert::data(self.parts));
        events.step(Stage::Export, "converting");
        let conversion = Conversion {
            from: self.disk,
            driver: "qcow2",
            to: image,
            format: self.image_format(),
        };
        convert::convert(&conversion, self.wanted.cancel, |hundredths| {
            events.emit(Event::Progress {
                stage: Stage::Export,
                done: convert::part_of(total, hundredths),
                total: Some(total),
                unit: Unit::Bytes,
            });
        })
    }

    const fn image_format(&self) -> ImageFormat {
        self.wanted.format.image()
    }

    /// What packs an image copies it; how large it is is known by then.
    fn require_copy(&self, image: &Path) -> Result<()> {
        let bytes = fs::metadata(image)?.len();
        host::disk::require(self.place.folder(), bytes + TABLES).map_err(|error| elsewhere(error, self.wanted.format))
    }

    fn appliance(&self) -> ovf::Appliance<'_> {
        let source = self.wanted.source;
        ovf::Appliance {
            name: &source.name,
            login: source.login.as_ref().map(crate::config::Login::as_str),
            cpus: source.size.cpus,
            memory_mib: source.size.memory_mib,
            disk_bytes: convert::size(self.parts),
            https_port: source.https_port,
            ssh_port: source.ssh_port,
        }
    }

    fn told(&self, step: &'static str) -> Told<'_> {
        Told {
            events: self.wanted.events,
            cancel: self.wanted.cancel,
            stage: Stage::Export,
            step,
        }
    }

    fn write_manifest(&self) -> Result<Option<PathBuf>> {
        if self.wanted.format != Format::Containerdisk {
            return Ok(None);
        }
        let source = self.wanted.source;
        let machine = kubevirt::Machine {
            name: &source.name,
            image: self.wanted.image,
            cpus: source.size.cpus,
            memory_mib: source.size.memory_mib,
            is_sealed: self.wanted.seal.is_some(),
        };
        let file = self.place.room("manifest")?.join("machine.yaml");
        fs::write(&file, kubevirt::manifest(&machine)?)?;
        fs::File::open(&file)?.sync_all()?;
        Ok(Some(file))
    }
}

fn elsewhere(error: anyhow::Error, format: Format) -> anyhow::Error {
    match Fault::of(&error) {
        Some(fault) if fault.cause == Cause::Space => Fault::new(Cause::Space, fault.message.clone())
            .hint(format!(
                "`--output` may name a file on another disk; {} needs the least",
                if format == Format::Qcow2 {
                    "it"
                } else {
                    "--format qcow2"
                }
            ))
            .into(),
        _ => error,
    }
}

/// What a file, or a folder with all in it, takes on the disk.
fn size_on_disk(path: &Path) -> Result<u64> {
    use std::os::unix::fs::MetadataExt as _;
    let data = fs::symlink_metadata(path).context("looking at what was written")?;
    let mut bytes = data.blocks() * 512;
    if data.is_dir() {
        for entry in fs::read_dir(path)? {
            bytes += size_on_disk(&entry?.path())?;
        }
    }
    Ok(bytes)
}

/// A descriptor as `export` writes it, for the tests of what reads one.
#[cfg(test)]
pub(crate) fn example_descriptor() -> String {
    ovf::example()
}
