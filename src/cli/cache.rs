//! `provision cache`

mod check;
mod contents;
mod export;
mod import;
mod key;
mod others;
mod pipe;
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
    /// Print a key under which a CI keeps the checkpoint of this configuration
    ///
    /// It changes with whatever the checkpoint is made from, and is the same on every host, also before anything was made
    /// there: the current point release is asked for where it is not known. Nothing is downloaded but the mirror's signed list.
    /// What `.env` files, the folder of secrets and a proxy's password hold does not count, as a key is no secret.
    Key(key::Args),
    /// Write a checkpoint with all that it needs to one file, for another host or a CI's cache
    ///
    /// The file holds the layers with what they lie on and the keys that open them, so keep it as you would keep keys. The ISO
    /// is not in it and not needed: only the stage install reads that.
    Export(export::Args),
    /// Put a checkpoint that `cache export` has written into the cache
    ///
    /// Nothing of it is there before all of it is known to be whole. What is here already stays as it is.
    Import(import::Args),
}

impl Args {
    /// Lists, prunes or checks the cache, or carries a part of it.
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
            Action::Key(args) => args.run(app),
            Action::Export(args) => args.run(app),
            Action::Import(args) => args.run(app),
        }
    }
}

fn busy() -> Fault {
    Fault::new(Cause::Busy, "another provision command uses the checkpoints")
        .hint("wait for it to end: `provision list` tells which machines are unfinished")
}
