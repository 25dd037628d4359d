//! Starting and stopping a machine that is made.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, bail};
use fs_err as fs;

use crate::cancel::Cancel;
use crate::checkpoint::{Base, Store};
use crate::config::Ports;
use crate::event::{Event, Stage};
use crate::fault::{Cause, Fault};
use crate::host;
use crate::identity::{self, Identity};
use crate::instance::{Instance, Phase, Record};
use crate::machine::driver::Hypervisor;
use crate::machine::{self, Boot, Credential, Durability, Forward, Machine, PortTaken, Stopped};
use crate::moments;
use crate::paths::Paths;
use crate::ssh::{Session, Target};
use crate::stage::Host;
use crate::stage::booted::{self, Start};
use crate::verify;
use crate::wait::{self, Wait};

/// How often a guest is asked for its host key that may not have been told of it yet: with pauses that double from one
/// second, for a minute.
const TELLING: u32 = 7;

/// How long, on a real machine, the site may take after a boot.
const SITE: u64 = 60;

/// How to log in to a machine as its user.
///
/// # Errors
/// When its keys cannot be read.
pub fn target(instance: &Instance, record: &Record) -> Result<Target> {
    let identity = Identity::load(&instance.identity())?;
    Ok(Target::new(record.ssh_port, record.login.as_str(), &identity))
}

/// The record of a machine that must run.
///
/// # Errors
/// A [`Cause::Usage`] fault when there is none, or it does not run; a [`Cause::Busy`] one while another command works on it.
pub fn running(instance: &Instance) -> Result<Record> {
    let record = instance.require()?;
    if !instance.runs(&record) {
        if instance.is_busy() {
            bail!(instance.busy());
        }
        bail!(
            Fault::new(Cause::Usage, format!("the machine {} does not run", instance.name))
                .hint(format!("`provision start --name {}`", instance.name))
        );
    }
    Ok(record)
}

/// That the machine runs, and where it is reached.
pub fn ready(instance: &Instance, record: &Record) -> Event {
    Event::Ready {
        name: instance.name.to_string(),
        url: format!("https://{}", record.login.domain()),
        https_port: record.https_port,
        ssh_port: record.ssh_port,
    }
}

/// A machine that runs.
pub struct Started {
    /// A session of its user.
    pub session: Session,
    /// How it came to run.
    pub start: Start,
}

/// Logs in to a machine, which is started first unless it runs. Ports that were taken by somebody else since are
/// replaced, unless the user insists on them.
///
/// # Errors
/// When it was never made whole, lacks its checkpoint, does not come up, or a wanted port is taken.
pub fn start(host: &Host, instance: &Instance, store: &Store, record: &mut Record) -> Result<Started> {
    start_from(host, instance, store, record, None)
}

/// The same from a kept memory, where its disk is as it was then; it boots where the memory does not fit.
///
/// # Errors
/// See [`start`].
pub fn start_from(
    host: &Host,
    instance: &Instance,
    store: &Store,
    record: &mut Record,
    memory: Option<&Path>,
) -> Result<Started> {
    let home = instance.live(record);
    if home.runs() {
        home.resume()?;
        let session = Session::connect(&target(instance, record)?, Duration::from_secs(60), &host.cancel)?;
        return Ok(Started {
            session: session.watched_by(host.machine(&home).watcher()),
            start: Start::Before,
        });
    }
    moments::settle(&host.events, instance, record)?;
    make_known(instance, store, record)?;
    require_disk(instance, store, record)?;
    fs::create_dir_all(&home.run_dir)?;
    record.accelerator = host.engine.accelerator();
    record.cpus = host.size.cpus;
    record.memory_mib = host.size.memory_mib;
    let mut machine = host.machine(&home);
    let mut tries = machine::PORT_TRIES;
    let (from_memory, mut session) = loop {
        choose_ports(record, &[])?;
        instance.remember(record)?;
        match come_up(host, instance, record, machine.as_mut(), memory) {
            Err(error) if tries > 0 && error.is::<PortTaken>() => tries -= 1,
            came_up => break came_up?,
        }
    };
    if from_memory {
        moments::renew(host, &mut session)?;
    }
    machine.release()?;
    Ok(Started {
        session,
        start: if from_memory { Start::FromMemory } else { Start::Booted },
    })
}

/// Starts the machine and logs in; gives whether it went on from the memory.
fn come_up(
    host: &Host,
    instance: &Instance,
    record: &Record,
    machine: &mut dyn Machine,
    memory: Option<&Path>,
) -> Result<(bool, Session)> {
    let mut boot = boot(instance, record);
    boot.memory = memory.map(Path::to_owned);
    let target = target(instance, record)?;
    let knock = |machine: &mut dyn Machine, boot: &Boot| log_in(host, record, machine, boot, &target);
    booted::come_up(host, Stage::Verify, machine, &mut boot, knock)
        .or_else(|error| keep_foreign(instance, record, machine, error).map(|session| (false, session)))
}

/// Logs in. The guest of an imported machine may show the host key that it made itself until it has been told of this
/// host's.
fn log_in(host: &Host, record: &Record, machine: &mut dyn Machine, boot: &Boot, target: &Target) -> Result<Session> {
    let tells_late = record.imported && host.engine.features().tells_late;
    let may_be_early =
        |error: &anyhow::Error| Fault::of(error).is_some_and(|fault| tells_late && fault.cause == Cause::Verification);
    wait::retry(TELLING, Duration::from_secs(1), &host.cancel, may_be_early, |_| {
        booted::log_in(host, machine, boot, target)
    })
}

/// Lets an imported machine run whose guest does not take this host's keys: its site may be all that is wanted.
fn keep_foreign(
    instance: &Instance,
    record: &Record,
    machine: &mut dyn Machine,
    error: anyhow::Error,
) -> Result<Session> {
    let cause = Fault::of(&error).map(|fault| fault.cause);
    let is_foreign = record.imported && cause == Some(Cause::Verification);
    if !is_foreign {
        return Err(error);
    }
    machine.release()?;
    let name = &instance.name;
    let message = format!("{name} runs, but it has other keys than this host's: neither ssh nor exec get in");
    Err(error.context(Fault::new(Cause::Guest, message).hint(format!(
        "`provision url --name {name}` leads to its site; with the exported machine's keys, `provision import --identity \
         FOLDER` gets in, and an image made with `export --seal` takes this host's"
    ))))
}

/// What makes a sealed image this host's own: its first boot takes them (`provision-first-boot.sh`).
fn credentials(instance: &Instance, record: &Record) -> Vec<Credential> {
    if !record.imported {
        return Vec::new();
    }
    let identity = instance.identity();
    let given = [
        ("provision.authorized-keys", identity::PUBLIC_KEY),
        ("provision.host-key", identity::HOST_PRIVATE_KEY),
        ("provision.password-hash", identity::PASSWORD_HASH),
    ];
    let credential = |(name, file)| Credential {
        name,
        file: identity.join(file),
    };
    let credentials = given.map(credential).into_iter();
    credentials.filter(|credential| credential.file.exists()).collect()
}

fn boot(instance: &Instance, record: &Record) -> Boot {
    let home = instance.live(record);
    Boot {
        name: instance.name.to_string(),
        disk: home.disk(),
        cdrom: None,
        kernel: None,
        forwards: Some(vec![
            Forward {
                host: record.https_port,
                guest: 443,
            },
            Forward {
                host: record.ssh_port,
                guest: 22,
            },
        ]),
        credentials: credentials(instance, record),
        oem_strings: Vec::new(),
        durability: Durability::Kept,
        memory: None,
        run_dir: home.run_dir,
    }
}

/// Refuses a machine that has no disk, or whose disk lies on a checkpoint that is gone or was made again.
///
/// # Errors
/// A [`Cause::Usage`] fault that says which.
pub fn require_disk(instance: &Instance, store: &Store, record: &Record) -> Result<()> {
    let has_disk = instance.live(record).disk().exists();
    if record.imported && record.phase == Phase::Made && has_disk {
        return Ok(());
    }
    let (Some(base), true) = (base(record), has_disk) else {
        let message = match record.phase {
            Phase::Building(stage) | Phase::Failed(stage) => {
                format!("the machine {} is not made yet: {stage} did not finish", instance.name)
            }
            Phase::Made => format!("the disk of the machine {} is gone", instance.name),
        };
        if record.imported {
            bail!(Fault::new(Cause::Usage, message).hint("`provision import --force` makes it anew from its image"));
        }
        bail!(Fault::new(Cause::Usage, message).hint("`provision create` goes on from there"));
    };
    if !store.has(base) {
        let message = format!(
            "the checkpoint {} under the disk of the machine {} is not in {}",
            base.key.short(),
            instance.name,
            store.folder().display()
        );
        bail!(
            Fault::new(Cause::Usage, message)
                .hint("PROVISION_CACHE_DIR must be as it was at `create`; if the checkpoint is gone, `provision create` makes the machine anew")
        );
    }
    Ok(())
}

/// The checkpoint under the disk of a machine that would run now.
fn base(record: &Record) -> Option<&Base> {
    match record.phase {
        Phase::Failed(_) => record.work_layer.as_ref(),
        Phase::Building(_) | Phase::Made => record.layer.as_ref(),
    }
}

/// Has the machine's program know its disk and the checkpoints under it, wherever it was when it last saw them.
///
/// # Errors
/// When one is damaged, or the program fails.
pub fn make_known(instance: &Instance, store: &Store, record: &Record) -> Result<()> {
    let home = instance.live(record);
    let disk = home.disk();
    if !disk.exists() {
        return Ok(());
    }
    let below = base(record).map(|base| store.chain(base)).unwrap_or_default();
    let below: Vec<PathBuf> = below.into_iter().map(|layer| layer.disk).collect();
    Hypervisor::of(&home.folder).driver().make_known(&disk, &below)
}

/// Chooses the ports of a machine that does not run: those the user insists on, else those it had, else others.
/// `taken` are those of other machines, which may not run now.
///
/// # Errors
/// When a port that the user insists on is taken or may not be bound.
pub fn choose_ports(record: &mut Record, taken: &[u16]) -> Result<()> {
    let had = |port: u16| (port != 0).then_some(port);
    let (https, ssh) = (had(record.https_port), had(record.ssh_port));
    let mut last = None;
    for before in [(https, ssh), (https, None), (None, ssh), (None, None)] {
        let (https, ssh) = before;
        match host::ports::choose(record.wanted_ports.or(Ports { https, ssh }), taken) {
            Ok(ports) => {
                record.https_port = ports.https;
                record.ssh_port = ports.ssh;
                return Ok(());
            }
            Err(error) => last = Some(error),
        }
    }
    last.map_or(Ok(()), Err)
}

/// The ports that the other machines of this user have, running or not.
///
/// # Errors
/// When a folder cannot be read.
pub fn ports_of_others(paths: &Paths, but: &Instance) -> Result<Vec<u16>> {
    let others = Instance::all(paths)?.into_iter().filter(|other| other.name != but.name);
    let records = others.filter_map(|other| other.record().ok().flatten());
    Ok(records
        .flat_map(|record| [record.https_port, record.ssh_port])
        .collect())
}

/// Tells what a running machine has otherwise than its user wants it: it cannot change while it runs.
pub fn warn_of_settings_to_come(host: &Host, instance: &Instance, record: &Record) {
    if !instance.runs(record) {
        return;
    }
    let now = Ports {
        https: Some(record.https_port),
        ssh: Some(record.ssh_port),
    };
    let mut other = Vec::new();
    if record.wanted_ports.or(now) != now {
        other.push("ports");
    }
    if record.cpus != host.size.cpus {
        other.push("number of CPUs");
    }
    if record.memory_mib != host.size.memory_mib {
        other.push("memory");
    }
    if !other.is_empty() {
        host.events.warn(format!(
            "the machine runs: its new {} will count after `provision stop` and another `create`",
            other.join(" and ")
        ));
    }
}

/// Powers a machine off; at once with `force`.
///
/// # Errors
/// When it does not end, or the user interrupts.
pub fn stop(host: &Host, instance: &Instance, record: &Record, force: bool, cancel: &Cancel) -> Result<()> {
    let mut machine = host.machine(&instance.live(record));
    if force {
        return machine.kill();
    }
    let limit = host.patience(machine::POWER_OFF);
    if machine::shut_down(machine.as_mut(), limit, cancel)? == Stopped::PowerCut {
        let limit = humantime::format_duration(limit);
        host.events.warn(format!(
            "the guest did not power off within {limit}: its power was cut, and what it had not written is lost"
        ));
    }
    Ok(())
}

/// Waits until the services have started; a site that does not come is told, but the machine runs.
///
/// # Errors
/// When the user interrupts.
pub fn wait_for_site(host: &Host, record: &Record) -> Result<()> {
    let domain = record.login.domain();
    host.events.step(Stage::Verify, format!("waiting for https://{domain}"));
    let wait = Wait::new(format!("https://{domain} to answer"), host.patience(SITE)).cancel(&host.cancel);
    match verify::wait_for_site(&record.login, record.https_port, wait) {
        Err(error) if Fault::of(&error).is_some_and(|fault| fault.cause == Cause::Timeout) => {
            host.events.warn(format!("the machine runs, but {error:#}"));
            Ok(())
        }
        waited => waited,
    }
}
