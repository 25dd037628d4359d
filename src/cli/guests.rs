//! `provision guests`

/// The arguments of `guests`: none of its own.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct Args {}
