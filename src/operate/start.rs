//! Starting a machine, and logging in to it.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use fs_err as fs;

use super::{choose_ports, make_known, require_disk, target};
use crate::checkpoint::Store;
use crate::event::Stage;
use crate::fault::{Cause, Fault};
use crate::identity;
use crate::instance::{Instance, Record};
use crate::machine::{self, Boot, Credential, Durability, Forward, Machine, PortTaken};
use crate::moments;
use crate::ssh::{Session, Target};
use crate::stage::Host;
use crate::stage::booted::{self, Start};
use crate::wait;

/// How often a guest is asked for its host key that may not have been told of it yet: with pauses that double from one
/// second, for a minute.
const TELLING: u32 = 7;

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
