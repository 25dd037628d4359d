//! `provision gc`

use anyhow::Result;
use serde::Serialize;

use super::App;
use crate::gc::{self, Leftover};
use crate::report::{self, Output, Paint};

/// The arguments of `gc`.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct Args {
    /// Only tell what would be removed
    #[arg(short = 'n', long)]
    pub dry_run: bool,
}

/// What was found.
#[derive(Serialize)]
#[serde(transparent)]
struct Found(Vec<Leftover>);

impl Output for Found {
    fn text(&self, paint: Paint) -> String {
        if self.0.is_empty() {
            return "interrupted runs have left nothing".to_owned();
        }
        let row = |leftover: &Leftover| {
            let state = if leftover.removed { "removed" } else { "there" };
            [leftover.kind.to_owned(), leftover.name.clone(), state.to_owned()]
        };
        let rows: Vec<_> = self.0.iter().map(row).collect();
        report::table(["WHAT", "WHICH", "STATE"], &rows, paint)
    }
}

impl Args {
    /// Finds what interrupted runs left, and removes it.
    ///
    /// # Errors
    /// When a folder cannot be read.
    pub fn run(self, app: &App) -> Result<()> {
        let found = gc::search(&app.paths, &app.events, !self.dry_run)?;
        app.reporter.output(&Found(found))
    }
}
