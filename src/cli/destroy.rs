//! `provision destroy`

use anyhow::{Result, bail};

use super::{App, Machine};
use crate::fault::{Cause, Fault};
use crate::report;

/// The arguments of `destroy`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Which machine.
    #[command(flatten)]
    pub machine: Machine,
    /// Do not ask whether the machine's data may be lost
    #[arg(short, long)]
    pub yes: bool,
}

impl Args {
    /// Deletes the machine.
    ///
    /// # Errors
    /// When there is none, the user does not confirm, or something of it cannot be removed.
    pub fn run(&self, app: &App) -> Result<()> {
        let instance = app.instance(&self.machine)?;
        // One that is damaged can be deleted, too.
        if matches!(instance.record(), Ok(None)) {
            bail!(instance.none());
        }
        let question = format!("Delete the machine {} and all data in it?", instance.name);
        if !self.yes && !report::confirm(&question, &app.cancel)? {
            bail!(Fault::new(Cause::Usage, "nothing was deleted").hint("`--yes` deletes without asking"));
        }
        let (_lock, record) = instance.lock_even_damaged()?;
        instance.destroy()?;
        let name = &instance.name;
        app.events.note(if record.is_some_and(|record| record.imported) {
            format!("{name} is deleted")
        } else {
            format!("{name} is deleted; its checkpoints stay in the cache")
        });
        Ok(())
    }
}
