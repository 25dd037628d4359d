//! `provision reset`

use anyhow::Result;

use super::{App, Machine};
use crate::checkpoint::Store;
use crate::{moments, operate};

/// The arguments of `reset`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Which machine.
    #[command(flatten)]
    pub machine: Machine,
}

impl Args {
    /// Takes the machine back to how `create` left it.
    ///
    /// # Errors
    /// When that was not kept, or the machine does not come up.
    pub fn run(&self, app: &App) -> Result<()> {
        let instance = app.instance(&self.machine)?;
        let (_lock, mut record) = instance.lock_made()?;
        let host = app.host_of(&record)?;
        let store = Store::open(&app.paths.cache)?;
        let _share = store.share(&app.cancel, || app.events.note("waiting for another provision"))?;
        moments::reset(&host, &instance, &store, &mut record)?;
        app.events.emit(operate::ready(&instance, &record));
        Ok(())
    }
}
