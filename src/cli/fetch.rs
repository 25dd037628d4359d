//! `provision fetch`

use std::path::PathBuf;

use anyhow::Result;

use super::{App, Settings};
use crate::pipeline::{self, Aim, Creation};

/// The arguments of `fetch`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Ask the mirror for the current point release instead of taking the cached ISO
    #[arg(long)]
    pub refresh: bool,
    /// Write where the time went to FILE as a Chrome trace, which Perfetto shows; also when the run fails
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub trace: Option<PathBuf>,
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
        app.recorded(&config, false, self.trace.as_deref(), |host, recorder| {
            pipeline::fetch(&Creation {
                config: &config,
                paths: &app.paths,
                host,
                refresh: self.refresh,
                aim: Aim::Current,
                lock: None,
                recorder,
            })
        })
    }
}
