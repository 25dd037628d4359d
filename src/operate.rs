//! Starting and stopping a machine that is made.

mod disk;
mod ports;
mod start;

pub use disk::{make_known, require_disk};
pub use ports::{choose_ports, ports_of_others};
pub use start::{Started, start, start_from};

use anyhow::{Result, bail};

use crate::cancel::Cancel;
use crate::config::Ports;
use crate::event::{Event, Stage};
use crate::fault::{Cause, Fault};
use crate::identity::Identity;
use crate::instance::{Instance, Record};
use crate::machine::driver::{Home, Hypervisor};
use crate::machine::{self, Stopped};
use crate::ssh::Target;
use crate::stage::Host;
use crate::verify;
use crate::wait::Wait;

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
        url: record.site(),
        https_port: record.https_port,
        ssh_port: record.ssh_port,
    }
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
    let home = instance.live(record);
    if force {
        return home.end();
    }
    power_off(host, &home, cancel)
}

/// Powers off what runs in `home`, also where another program runs it than the one that `host` is for: then its power is cut.
///
/// # Errors
/// When it does not end, or the user interrupts.
pub fn power_off(host: &Host, home: &Home, cancel: &Cancel) -> Result<()> {
    let runs_it = Hypervisor::of(&home.folder);
    if runs_it != host.engine.hypervisor() {
        host.events.warn(format!(
            "{} runs the machine as it was: its power is cut, and what the guest had not written is lost",
            runs_it.title()
        ));
        return home.end();
    }
    let mut machine = host.machine(home);
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
