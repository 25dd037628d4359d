//! `provision credentials`

use super::Machine;

/// The arguments of `credentials`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Which machine.
    #[command(flatten)]
    pub machine: Machine,
}
