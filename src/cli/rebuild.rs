//! `provision rebuild`

use std::path::PathBuf;

use anyhow::Result;
use clap::builder::{PossibleValuesParser, TypedValueParser as _};

use super::{App, Settings};
use crate::event::Stage;
use crate::guest::Definition;
use crate::pipeline::{self, Aim, Creation};

/// The stages that leave checkpoints.
const STAGES: [Stage; 4] = [Stage::Install, Stage::Docker, Stage::Account, Stage::Project];

/// The arguments of `rebuild`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Run this stage and those after it anew, even if their checkpoints are there
    #[arg(long, value_name = "STAGE", value_parser = stage())]
    pub from: Option<Stage>,
    /// Connect to nothing: packages and images come from what this host kept; what is missing is named before anything
    /// begins
    #[arg(long)]
    pub offline: bool,
    /// Make it of nothing but what provision.lock pins, or say what differs
    #[arg(long)]
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

/// A stage that leaves a checkpoint.
pub fn stage() -> impl clap::builder::TypedValueParser<Value = Stage> {
    let names = PossibleValuesParser::new(STAGES.map(Stage::name));
    names.try_map(|name| {
        STAGES
            .into_iter()
            .find(|stage| stage.name() == name)
            .ok_or("no such stage")
    })
}

impl Args {
    /// Makes the machine clean.
    ///
    /// # Errors
    /// Whatever stops a stage.
    pub fn run(&self, app: &App) -> Result<()> {
        let config = app.config(&self.settings)?;
        let lock = self.locked.then(|| app.lock(&self.settings)).transpose()?;
        Definition::find(&config.guest, config.overrides.as_deref())?.docker_source(&config.docker)?;
        super::watched::require_two_files(&app.cwd, self.junit.as_deref(), self.trace.as_deref())?;
        app.recorded(&config, self.offline, self.trace.as_deref(), |host, recorder| {
            pipeline::create(&Creation {
                config: &config,
                paths: &app.paths,
                host,
                refresh: false,
                aim: self.from.map_or(Aim::Clean, Aim::Anew),
                lock,
                recorder,
            })
        })
    }
}
