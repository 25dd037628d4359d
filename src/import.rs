//! Makes a machine of an image: of one that `provision export` wrote, or of anybody's.
//!
//! The disk is converted, never used as it came: what an image names or hides beside its data does not reach the machine.
//! Sealed images are handed this host's keys when the machine starts (see [`crate::operate`]).

mod convert;
mod header;
mod ova;
mod ovf;
mod place;

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use fs_err as fs;

use self::convert::convert;
use self::header::Kind;
use self::place::put_in_place;
use crate::cancel::Cancel;
use crate::checkpoint::Store;
use crate::config::{AcceleratorChoice, Login, MachineChoice, MachineName, Ports, value};
use crate::event::{Event, Events, Stage};
use crate::fault::{Cause, Fault};
use crate::host;
use crate::identity::Identity;
use crate::instance::{self, Instance, Phase, Record};
use crate::lock::Lock;
use crate::machine::driver::{Home, Hypervisor};
use crate::machine::engine;
use crate::operate;
use crate::paths::Paths;

/// What a machine has that neither the image nor the user tells.
const CPUS: u32 = 2;
const MEMORY_MIB: u64 = 4096;

/// What is wanted.
#[derive(Debug)]
pub struct Import<'a> {
    /// The image.
    pub file: &'a Path,
    /// The machine's name.
    pub name: &'a MachineName,
    /// Whether a machine of that name is replaced.
    pub force: bool,
    /// The guest's user, where the user of this program says so.
    pub login: Option<&'a Login>,
    /// The user, where neither the image nor the user of this program says so.
    pub default_login: Option<Login>,
    /// The folder with the keys that open it, if they are not this host's own.
    pub identity: Option<&'a Path>,
    /// What is to run the machine.
    pub program: MachineChoice,
    /// Virtual CPUs.
    pub cpus: Option<u32>,
    /// Memory in MiB.
    pub memory_mib: Option<u64>,
    /// The ports that the user insists on.
    pub ports: Ports,
    /// Where things are kept.
    pub paths: &'a Paths,
    /// Whom to tell.
    pub events: &'a Events,
    /// Whether the user asked to stop.
    pub cancel: &'a Cancel,
}

/// What an image is, by its ending.
enum Image {
    Ova,
    Disk(Kind),
}

/// Makes the machine. It is there whole or not at all.
///
/// # Errors
/// When there is one of that name, the image is damaged or names other files, space is short, or the user interrupts.
pub fn import(wanted: &Import<'_>) -> Result<(Instance, Record)> {
    let start = Instant::now();
    let image = kind(wanted.file)?;
    let identity = wanted.identity.map(Identity::load_given).transpose()?;
    let hypervisor = engine::program(
        wanted.program,
        AcceleratorChoice::default(),
        &wanted.paths.cache,
        wanted.cancel,
    )?;
    let instance = Instance::new(wanted.paths, wanted.name);
    sweep(wanted.paths, &instance)?;
    let lock = instance.lock()?;
    // Keys are made in the cache: nobody may clean up there meanwhile.
    let _share = Store::open(&wanted.paths.cache)?.share(wanted.cancel, || {
        wanted
            .events
            .note("another provision removes checkpoints; waiting for it");
    })?;
    let before = instance.record()?;
    refuse_what_is_there(&instance, before.as_ref(), wanted.force)?;
    instance::register(&wanted.paths.cache, &wanted.paths.machines)?;
    wanted.events.emit(Event::StageStarted {
        stage: Stage::Import,
        reason: format!("{} becomes the machine {}", wanted.file.display(), wanted.name),
        typical_seconds: None,
    });
    let work = Work {
        dir: instance.new_work_dir(Stage::Import)?,
        is_new: before.is_none(),
        instance: &instance,
        _lock: lock,
    };
    let record = make(wanted, &image, identity, &work, hypervisor)
        .map_err(|error| Cancel::in_vain(error, "no machine was made"))?;
    drop(work);
    wanted.events.emit(Event::StageDone {
        stage: Stage::Import,
        seconds: start.elapsed().as_secs_f64(),
    });
    Ok((instance, record))
}

/// A machine's folder while it is being made; what is not used of it goes, and all of it where nothing was made.
struct Work<'a> {
    dir: PathBuf,
    is_new: bool,
    instance: &'a Instance,
    _lock: Lock,
}

impl Drop for Work<'_> {
    fn drop(&mut self) {
        // What cannot be removed now is by the next import.
        let _ = Home::of_stage(&self.dir).remove();
        let _ = fs::remove_dir_all(&self.dir);
        if self.is_new && !matches!(self.instance.record(), Ok(Some(_))) {
            let _ = fs::remove_dir_all(self.instance.dir());
        }
    }
}

fn kind(file: &Path) -> Result<Image> {
    let extension = file
        .extension()
        .map(|extension| extension.to_string_lossy().to_ascii_lowercase());
    let image = match extension.as_deref() {
        Some("ova") => Image::Ova,
        Some("qcow2") => Image::Disk(Kind::Qcow2),
        Some("vdi") => Image::Disk(Kind::Vdi),
        _ => {
            let message = format!("{} is no .ova, .qcow2 or .vdi", file.display());
            bail!(Fault::new(Cause::Usage, message).hint("`qemu-img convert -O qcow2` makes a .qcow2 of other images"));
        }
    };
    if !file.is_file() {
        let message = if file.exists() {
            format!("{} is no plain file", file.display())
        } else {
            format!("there is no file {}", file.display())
        };
        bail!(Fault::new(Cause::Usage, message).hint("name the image: an .ova, .qcow2 or .vdi"));
    }
    Ok(image)
}

/// Removes what imports left that were killed before there was a machine: nothing else would list or delete it.
fn sweep(paths: &Paths, but: &Instance) -> Result<()> {
    let Ok(entries) = fs::read_dir(&paths.machines) else {
        return Ok(());
    };
    for entry in entries {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let Ok(name) = MachineName::try_from(name) else {
            continue;
        };
        let instance = Instance::new(paths, &name);
        let is_left = || instance.work_dir(Stage::Import).exists() && matches!(instance.record(), Ok(None));
        // Who had the lock may have been an import that has just ended well.
        if instance.name != but.name
            && is_left()
            && let Ok(_lock) = instance.lock()
            && is_left()
        {
            instance.destroy()?;
        }
    }
    Ok(())
}

fn refuse_what_is_there(instance: &Instance, before: Option<&Record>, force: bool) -> Result<()> {
    let Some(record) = before else { return Ok(()) };
    let name = &instance.name;
    if !force {
        bail!(
            Fault::new(Cause::Usage, format!("there is a machine {name} already"))
                .hint("choose another `--name`, or `--force` to replace it with all data in it")
        );
    }
    if instance.runs(record) {
        bail!(
            Fault::new(Cause::Usage, format!("the machine {name} runs"))
                .hint(format!("`provision stop --name {name}` first"))
        );
    }
    Ok(())
}

fn make(
    wanted: &Import<'_>,
    image: &Image,
    identity: Option<Identity>,
    work: &Work<'_>,
    hypervisor: Hypervisor,
) -> Result<Record> {
    let (instance, work) = (work.instance, work.dir.as_path());
    let driver = hypervisor.driver();
    let (disk, kind, described) = unpacked(wanted, image, work)?;
    let converted = work.join("converted");
    convert(wanted, &disk, kind, &converted, driver.image_format())?;
    let (made, name) = (driver.disk_in(work), instance.name.to_string());
    driver.adopt(&converted, &made, &name)?;
    let login = login(wanted, described.as_ref())?;
    let identity = match identity {
        Some(identity) => identity,
        None => Identity::load_or_create(&wanted.paths.identity(login.as_str()), true)?,
    };
    let mut record = record(wanted, login, described.as_ref(), hypervisor)?;
    operate::choose_ports(&mut record, &operate::ports_of_others(wanted.paths, instance)?)?;
    put_in_place(instance, &made, &identity, &record)?;
    Ok(record)
}

/// The disk in an image, and what the image says of its machine.
fn unpacked(wanted: &Import<'_>, image: &Image, work: &Path) -> Result<(PathBuf, Kind, Option<ovf::Described>)> {
    let (events, file) = (wanted.events, wanted.file);
    if let Image::Disk(kind) = image {
        return Ok((std::path::absolute(file).context("finding the image")?, *kind, None));
    }
    host::disk::require(work, fs::metadata(file)?.len())?;
    events.step(Stage::Import, "unpacking and checking");
    let unpacked = ova::unpack(file, work, events, wanted.cancel)?;
    if !unpacked.is_checked {
        events.warn(format!(
            "{} has no manifest: nothing tells whether it is damaged",
            file.display()
        ));
    }
    Ok((unpacked.disk, Kind::Vmdk, Some(unpacked.described)))
}

/// The record of the machine, which has no ports yet. What a descriptor asks for counts where a user could ask for it, too.
fn record(
    wanted: &Import<'_>,
    login: Login,
    described: Option<&ovf::Described>,
    hypervisor: Hypervisor,
) -> Result<Record> {
    let cpus = described.and_then(|it| it.cpus);
    let cpus = cpus.filter(|cpus| value::cpus(&cpus.to_string()).is_ok());
    let memory_mib = described.and_then(|it| it.memory_mib);
    let memory_mib = memory_mib.filter(|mib| value::memory(&format!("{mib}M")).is_ok());
    Ok(Record {
        login,
        guest: "imported".to_owned(),
        made: jiff::Timestamp::now(),
        phase: Phase::Made,
        layer: None,
        work_layer: None,
        imported: true,
        https_port: 0,
        ssh_port: 0,
        wanted_ports: wanted.ports,
        cpus: wanted.cpus.or(cpus).unwrap_or(CPUS),
        memory_mib: wanted.memory_mib.or(memory_mib).unwrap_or(MEMORY_MIB),
        machine: hypervisor,
        accelerator: None,
        wish: AcceleratorChoice::default(),
        project: std::path::absolute(wanted.file).context("finding the image")?,
        disk_id: None,
        untouched: false,
        restoring: None,
    })
}

/// The guest's user: as the user of this program says, else the image, else as everywhere.
fn login(wanted: &Import<'_>, described: Option<&ovf::Described>) -> Result<Login> {
    let described = described.and_then(|described| described.login.clone());
    let login = wanted
        .login
        .cloned()
        .or(described)
        .or_else(|| wanted.default_login.clone());
    login.with_context(|| {
        Fault::new(Cause::Usage, "the image does not tell its user's name").hint("`--login LOGIN` does")
    })
}

#[cfg(test)]
mod tests;
