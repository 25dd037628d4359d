//! `provision ssh`

use super::Machine;

/// The arguments of `ssh`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Which machine.
    #[command(flatten)]
    pub machine: Machine,
    /// A command to run instead of the login shell
    #[arg(last = true, value_name = "CMD")]
    pub command: Vec<String>,
}
