//! `provision fetch`

use anyhow::Result;

use super::{App, Settings};
use crate::machine::qemu::arguments::Size;
use crate::pipeline::{self, Creation};
use crate::stage::Host;

/// The arguments of `fetch`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Ask the mirror for the current point release instead of taking the cached ISO
    #[arg(long)]
    pub refresh: bool,
    /// Flags and variables.
    #[command(flatten)]
    pub settings: Settings,
}

impl Args {
    /// Gets what a `create` without a network would need.
    ///
    /// # Errors
    /// When something cannot be had, or cannot be known yet.
    pub fn run(&self, app: &App) -> Result<()> {
        let config = app.config(&self.settings)?;
        let size = Size {
            cpus: config.machine.cpus,
            memory_mib: config.machine.memory_mib,
        };
        let host = Host {
            stall_timeout: config.machine.stall_timeout,
            keeper: app.keeper(&config, false)?,
            ..app.host(app.program(&config)?, config.machine.accelerator, size)?
        };
        pipeline::fetch(&Creation {
            config: &config,
            paths: &app.paths,
            host: &host,
            refresh: self.refresh,
        })
    }
}
