//! `provision create`

use anyhow::Result;

use super::{App, Settings};
use crate::guest::Definition;
use crate::host;
use crate::machine::qemu::arguments::Size;
use crate::pipeline::{self, Creation};
use crate::stage::Host;

/// The arguments of `create`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Install the packages that this host lacks; asks for your password if it needs sudo, which nothing else uses
    #[arg(long)]
    pub install_missing: bool,
    /// Ask the mirror for the current point release instead of taking the cached ISO
    #[arg(long)]
    pub refresh: bool,
    /// Connect to nothing: ISO, packages and images come from what this host kept; what is missing is named before
    /// anything begins
    #[arg(long, conflicts_with_all = ["refresh", "install_missing"])]
    pub offline: bool,
    /// Flags and variables.
    #[command(flatten)]
    pub settings: Settings,
}

impl Args {
    /// Makes the machine.
    ///
    /// # Errors
    /// Whatever stops a stage.
    pub fn run(&self, app: &App) -> Result<()> {
        // Nobody wants to give a password first and hear of a misspelt key then.
        let config = app.config(&self.settings)?;
        Definition::find(&config.guest, config.overrides.as_deref())?.docker_source(&config.docker)?;
        if self.install_missing {
            host::install_missing(&app.cancel, &app.events)?;
        }
        let size = Size {
            cpus: config.machine.cpus,
            memory_mib: config.machine.memory_mib,
        };
        let host = Host {
            stall_timeout: config.machine.stall_timeout,
            keeper: app.keeper(&config, self.offline)?,
            ..app.host(app.program(&config)?, config.machine.accelerator, size)?
        };
        pipeline::create(&Creation {
            config: &config,
            paths: &app.paths,
            host: &host,
            refresh: self.refresh,
        })
    }
}
