//! `provision stop`

use anyhow::Result;

use super::{App, Machine};
use crate::operate;

/// The arguments of `stop`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Which machine.
    #[command(flatten)]
    pub machine: Machine,
    /// Cut the power instead of asking the guest to shut down
    #[arg(long)]
    pub force: bool,
}

impl Args {
    /// Powers the machine off.
    ///
    /// # Errors
    /// When there is none, or it does not end.
    pub fn run(&self, app: &App) -> Result<()> {
        let instance = app.instance(&self.machine)?;
        let (_lock, record) = instance.lock_made()?;
        if !instance.runs(&record) {
            app.events.note(format!("{} does not run", instance.name));
            return Ok(());
        }
        let host = app.host_of(&record)?;
        operate::stop(&host, &instance, &record, self.force, &app.cancel)?;
        app.events.note(format!("{} is stopped", instance.name));
        Ok(())
    }
}
