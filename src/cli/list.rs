//! `provision list`

/// The arguments of `list`: none of its own.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct Args {}
