//! `provision stop`

use super::Machine;

/// The arguments of `stop`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Which machine.
    #[command(flatten)]
    pub machine: Machine,
}
