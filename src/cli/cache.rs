//! `provision cache`

mod check;
mod contents;
mod others;
mod prune;
mod tree;

use anyhow::Result;
use clap::Subcommand;

use super::App;
use crate::checkpoint::Store;
use crate::fault::{Cause, Fault};
use contents::Contents;

/// The arguments of `cache`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// What to do with it.
    #[command(subcommand)]
    pub action: Action,
}

/// What to do with the cache.
#[derive(Debug, Clone, Subcommand)]
pub enum Action {
    /// Show what is cached: what lies on what, how large and old it is, and which machines need it
    Ls,
    /// Delete what no machine uses
    ///
    /// With rules, only what each of them lets go: of what no machine uses, --keep-last and --older-than say what
    /// stays, and with --max-size the oldest goes first, until the rest is small enough.
    Prune(prune::Args),
    /// Check every checkpoint: its bytes, its tables, and what it lies on
    ///
    /// A damaged one is set aside, and the next `create` builds it again.
    Check,
}

impl Args {
    /// Lists, prunes or checks the cache.
    ///
    /// # Errors
    /// When the cache cannot be read, something cannot be removed, or a checkpoint is damaged.
    pub fn run(&self, app: &App) -> Result<()> {
        match &self.action {
            Action::Ls => {
                let contents = Contents::read_known(app, &Store::at(&app.paths.cache))?;
                app.reporter.output(&contents)
            }
            Action::Prune(args) => args.run(app),
            Action::Check => check::run(app),
        }
    }
}

fn busy() -> Fault {
    Fault::new(Cause::Busy, "another provision command uses the checkpoints")
        .hint("wait for it to end: `provision list` tells which machines are unfinished")
}
