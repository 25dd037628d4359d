//! What is remembered of a machine when a run begins.

use anyhow::Result;

use super::Creation;
use crate::config::MachineName;
use crate::event::Stage;
use crate::fault::{Cause, Fault};
use crate::instance::{Instance, Phase, Record};

/// The record to begin with: the machine's own, or that of a new machine.
pub(super) fn record(creation: &Creation<'_>, instance: &Instance) -> Result<Record> {
    let Creation { config, host, .. } = creation;
    let before = instance.record()?;
    if let Some(before) = &before {
        refuse_imported(&instance.name, before)?;
    }
    // One of which nothing was made yet is nobody's.
    let before = before.filter(|before| before.layer.is_some() || before.work_layer.is_some());
    if let Some(before) = &before
        && before.login != config.login
    {
        return Err(Fault::new(
            Cause::Config,
            format!("the machine {} belongs to the login {}", instance.name, before.login),
        )
        .hint("choose another `--name`, or `provision destroy` it first")
        .into());
    }
    if let Some(before) = &before
        && before.project != config.project.dir
    {
        let (old, new) = (before.project.display(), config.project.dir.display());
        host.events.warn(format!(
            "the machine {} was made from {old}; now it is from {new}",
            instance.name
        ));
    }
    let mut record = before.unwrap_or_else(|| new_record(creation));
    record.follow_guest(&config.guest);
    record.project.clone_from(&config.project.dir);
    record.wish = config.machine.accelerator;
    record.wanted_ports = config.ports.or(record.wanted_ports);
    Ok(record)
}

/// Refuses an imported machine: there is nothing to make it from.
///
/// # Errors
/// A [`Cause::Config`] fault.
pub fn refuse_imported(name: &MachineName, record: &Record) -> Result<()> {
    if !record.imported {
        return Ok(());
    }
    Err(Fault::new(
        Cause::Config,
        format!("the machine {name} was imported: there is no project to make it from"),
    )
    .hint("`provision start` starts it; choose another `--name` for a new one, or `provision destroy` it first")
    .into())
}

/// The record of a machine of which nothing is made yet.
pub(super) fn new_record(creation: &Creation<'_>) -> Record {
    let Creation { config, host, .. } = creation;
    Record {
        login: config.login.clone(),
        guest: config.guest.clone(),
        made: jiff::Timestamp::now(),
        phase: Phase::Building(Stage::Media),
        layer: None,
        work_layer: None,
        imported: false,
        https_port: 0,
        ssh_port: 0,
        wanted_ports: config.ports,
        cpus: host.size.cpus,
        memory_mib: host.size.memory_mib,
        machine: host.engine.hypervisor(),
        accelerator: host.engine.accelerator(),
        wish: config.machine.accelerator,
        project: config.project.dir.clone(),
        disk_id: None,
        untouched: false,
        restoring: None,
    }
}
