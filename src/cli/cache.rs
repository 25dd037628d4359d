//! `provision cache`

use clap::Subcommand;

/// The arguments of `cache`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// What to do with it.
    #[command(subcommand)]
    pub action: Action,
}

/// What to do with the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Subcommand)]
pub enum Action {
    /// List what is cached and how large it is
    Ls,
    /// Delete what no machine uses
    Prune,
}
