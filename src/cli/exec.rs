//! `provision exec`

use super::Machine;

/// The arguments of `exec`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Which machine.
    #[command(flatten)]
    pub machine: Machine,
    /// The command and its arguments; it gets no terminal, and its words arrive as they are
    #[arg(last = true, required = true, value_name = "CMD")]
    pub command: Vec<String>,
}
