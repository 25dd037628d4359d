//! `provision start`

use anyhow::Result;

use super::{App, Machine};
use crate::checkpoint::Store;
use crate::instance::Phase;
use crate::operate;
use crate::stage::booted::Start;

/// The arguments of `start`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Which machine.
    #[command(flatten)]
    pub machine: Machine,
}

impl Args {
    /// Starts the machine unless it runs.
    ///
    /// # Errors
    /// When it was never made, or does not come up.
    pub fn run(&self, app: &App) -> Result<()> {
        let instance = app.instance(&self.machine)?;
        let (_lock, mut record) = instance.lock_made()?;
        let host = app.host_of(&record)?;
        let store = Store::open(&app.paths.cache)?;
        let started = operate::start(&host, &instance, &store, &mut record)?;
        if record.phase != Phase::Made {
            app.events
                .warn("its last `create` did not end well: `provision status` tells where it stopped");
        } else if started.start != Start::Before {
            operate::wait_for_site(&host, &record)?;
        }
        app.events.emit(operate::ready(&instance, &record));
        Ok(())
    }
}
