//! Starting and stopping a machine that is made.

use std::time::Duration;

use anyhow::{Result, bail};
use fs_err as fs;

use crate::cancel::Cancel;
use crate::config::Ports;
use crate::event::Stage;
use crate::fault::{Cause, Fault};
use crate::host;
use crate::identity::Identity;
use crate::instance::{Instance, Phase, Record};
use crate::machine::{self, Boot, Durability, Forward, Machine as _, Stopped};
use crate::ssh::{Session, Target};
use crate::stage::{Host, booted};

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
/// A [`Cause::Usage`] fault when there is none, or it does not run.
pub fn running(instance: &Instance) -> Result<Record> {
    let record = instance.require()?;
    if !instance.runs(&record) {
        bail!(
            Fault::new(Cause::Usage, format!("the machine {} does not run", instance.name))
                .hint(format!("`provision start --name {}`", instance.name))
        );
    }
    Ok(record)
}

/// Logs in to a machine, which is started first unless it runs. Ports that were taken by somebody else since are
/// replaced, unless the user insists on them by `wanted`.
///
/// # Errors
/// When it was never made whole, does not come up, or a wanted port is taken.
pub fn start(host: &Host, instance: &Instance, record: &mut Record, wanted: Ports) -> Result<Session> {
    let run_dir = instance.live_dir(record);
    if machine::qemu::runs(&run_dir) {
        machine::qemu::resume(&run_dir)?;
        let session = Session::connect(&target(instance, record)?, Duration::from_secs(60))?;
        return Ok(session.watched_by(host.machine(&run_dir).watcher()));
    }
    if let Phase::Building(stage) = record.phase {
        bail!(
            Fault::new(
                Cause::Usage,
                format!("the machine {} is not made yet: {stage} did not finish", instance.name)
            )
            .hint("`provision create` goes on from there")
        );
    }
    fs::create_dir_all(&run_dir)?;
    choose_ports(record, wanted)?;
    record.accelerator = host.accelerator;
    instance.remember(record)?;
    let boot = Boot {
        name: instance.name.to_string(),
        disk: match record.phase {
            Phase::Failed(_) => run_dir.join("disk.qcow2"),
            _ => instance.disk(),
        },
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
        durability: Durability::Kept,
        run_dir: run_dir.clone(),
    };
    let mut machine = host.machine(&run_dir);
    host.events.step(Stage::Verify, "booting");
    machine.start(&boot)?;
    let session = booted::log_in(host, &mut machine, &boot, &target(instance, record)?)?;
    machine.release()?;
    Ok(session)
}

fn choose_ports(record: &mut Record, wanted: Ports) -> Result<()> {
    let last = Ports {
        https: Some(record.https_port),
        ssh: Some(record.ssh_port),
    };
    let ports = match host::ports::choose(last, &[]) {
        Ok(ports) => ports,
        Err(_) => host::ports::choose(wanted, &[])?,
    };
    record.https_port = ports.https;
    record.ssh_port = ports.ssh;
    Ok(())
}

/// Powers a machine off; at once with `force`.
///
/// # Errors
/// When it does not end, or the user interrupts.
pub fn stop(host: &Host, instance: &Instance, record: &Record, force: bool, cancel: &Cancel) -> Result<()> {
    let mut machine = host.machine(&instance.live_dir(record));
    if force {
        return machine.kill();
    }
    let limit = host.patience(machine::POWER_OFF);
    if machine::shut_down(&mut machine, limit, cancel)? == Stopped::PowerCut {
        let limit = humantime::format_duration(limit);
        host.events.warn(format!(
            "the guest did not power off within {limit}: its power was cut, and what it had not written is lost"
        ));
    }
    Ok(())
}
