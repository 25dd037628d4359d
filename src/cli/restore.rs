//! `provision restore`

use anyhow::Result;

use super::{App, Machine};
use crate::checkpoint::Store;
use crate::moments::{self, SnapshotName};
use crate::operate;
use crate::stage::booted::Start;

/// The arguments of `restore`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The snapshot
    #[arg(value_name = "SNAPSHOT")]
    pub snapshot: SnapshotName,
    /// Which machine.
    #[command(flatten)]
    pub machine: Machine,
}

impl Args {
    /// Takes the machine back to the snapshot.
    ///
    /// # Errors
    /// When there is none of that name, or the machine does not come up.
    pub fn run(&self, app: &App) -> Result<()> {
        let instance = app.instance(&self.machine)?;
        let (_lock, mut record) = instance.lock_made()?;
        let host = app.host_of(&record)?;
        let store = Store::open(&app.paths.cache)?;
        let _share = store.share(&app.cancel, || app.events.note("waiting for another provision"))?;
        moments::tidy(&app.events, &instance);
        let kept = moments::find(&instance, &self.snapshot)?;
        let started = moments::restore(&host, &instance, &store, &mut record, &kept)?;
        let Some(started) = started else {
            app.events
                .note(format!("{} is what it was; it was off then", instance.name));
            return Ok(());
        };
        if started.start != Start::FromMemory {
            operate::wait_for_site(&host, &record)?;
        }
        app.events.emit(operate::ready(&instance, &record));
        Ok(())
    }
}
