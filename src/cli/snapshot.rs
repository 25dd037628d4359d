//! `provision snapshot`

use anyhow::{Context as _, Result};
use clap::Subcommand;

use super::{App, Machine};
use crate::fault::{Cause, Fault};
use crate::instance::{Instance, Record};
use crate::moments::{self, SnapshotName};
use crate::operate;
use crate::ssh::{Exec, Session};
use crate::stage::Host;

/// How long, in seconds on a real machine, a guest may take to write what it holds.
const SYNC: u64 = 60;

/// The arguments of `snapshot`.
#[derive(Debug, Clone, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Args {
    /// What to do with a snapshot that is there.
    #[command(subcommand)]
    pub action: Option<Action>,
    /// What the snapshot is to be called
    #[arg(value_name = "SNAPSHOT", required = true)]
    pub snapshot: Option<SnapshotName>,
    /// Leave the memory out: the disk alone, as if the power were cut now; `restore` boots from it
    #[arg(long)]
    pub no_memory: bool,
    /// Which machine.
    #[command(flatten)]
    pub machine: Machine,
}

/// What to do with a snapshot that is there.
#[derive(Debug, Clone, Subcommand)]
pub enum Action {
    /// Remove a snapshot
    Rm(Rm),
}

/// The arguments of `snapshot rm`.
#[derive(Debug, Clone, clap::Args)]
pub struct Rm {
    /// The snapshot
    #[arg(value_name = "SNAPSHOT")]
    pub snapshot: SnapshotName,
    /// Which machine.
    #[command(flatten)]
    pub machine: Machine,
}

impl Args {
    /// Keeps or removes a snapshot.
    ///
    /// # Errors
    /// When there is one of that name, or none to be removed, or the machine's program fails.
    pub fn run(&self, app: &App) -> Result<()> {
        match &self.action {
            Some(Action::Rm(rm)) => rm.run(app),
            None => self.keep(app),
        }
    }

    fn keep(&self, app: &App) -> Result<()> {
        let name = self.snapshot.as_ref();
        let name = name.with_context(|| Fault::new(Cause::Usage, "a snapshot needs a name"))?;
        let instance = app.instance(&self.machine)?;
        let (_lock, mut record) = instance.lock_made()?;
        moments::settle(&app.events, &instance, &mut record)?;
        if self.no_memory && instance.runs(&record) {
            sync(app, &instance, &record)?;
        }
        let kept = moments::keep(&instance, &record, name, !self.no_memory)?;
        let with = if kept.manifest.memory { "with" } else { "without" };
        app.events
            .note(format!("{} keeps {name}, {with} its memory", instance.name));
        Ok(())
    }
}

/// Lets the guest write what it holds; what it writes after is as if the power had been cut.
fn sync(app: &App, instance: &Instance, record: &Record) -> Result<()> {
    let host: Host = app.host_of(record)?;
    let limit = host.patience(SYNC);
    let synced = operate::target(instance, record)
        .and_then(|target| Session::connect(&target, limit, &app.cancel))
        .and_then(|mut session| session.read(&Exec::new("sync").limit(limit).cancel(&app.cancel)));
    match synced {
        Err(error) if Fault::is_stop(&error) => Err(error),
        Err(error) => {
            app.events.warn(format!(
                "the guest could not be asked to write what it holds: {error:#}"
            ));
            Ok(())
        }
        Ok(_) => Ok(()),
    }
}

impl Rm {
    fn run(&self, app: &App) -> Result<()> {
        let instance = app.instance(&self.machine)?;
        let (_lock, mut record) = instance.lock_made()?;
        moments::remove(&app.events, &instance, &mut record, &self.snapshot)?;
        app.events
            .note(format!("{} has no snapshot {} any more", instance.name, self.snapshot));
        Ok(())
    }
}
