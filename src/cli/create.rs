//! `provision create`

use std::path::PathBuf;

use anyhow::Result;

use super::{App, Settings};
use crate::guest::Definition;
use crate::host;
use crate::pipeline::{self, Aim, Creation};
use crate::timing::Trace;

/// The arguments of `create`.
#[derive(Debug, Clone, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag")]
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
    /// Make it of nothing but what provision.lock pins, or say what differs
    #[arg(long, conflicts_with = "refresh")]
    pub locked: bool,
    /// Write the checks as JUnit XML, for a CI to show; it is written when the run fails, too
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,
    /// Write where the time went to FILE as a Chrome trace, which Perfetto shows; also when the run fails
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub trace: Option<PathBuf>,
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
        let lock = self.locked.then(|| app.lock(&self.settings)).transpose()?;
        Definition::find(&config.guest, config.overrides.as_deref())?.docker_source(&config.docker)?;
        super::watched::require_two_files(&app.cwd, self.junit.as_deref(), self.trace.as_deref())?;
        if let Some(file) = &self.trace {
            Trace::place(&app.cwd.join(file))?;
        }
        if self.install_missing {
            host::install_missing(&app.cancel, &app.events)?;
        }
        app.recorded(&config, self.offline, self.trace.as_deref(), |host, recorder| {
            pipeline::create(&Creation {
                config: &config,
                paths: &app.paths,
                host,
                refresh: self.refresh,
                aim: Aim::Current,
                lock,
                recorder,
            })
        })
    }
}
