//! `provision destroy`

use super::Machine;

/// The arguments of `destroy`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Which machine.
    #[command(flatten)]
    pub machine: Machine,
    /// Do not ask whether the machine's data may be lost
    #[arg(short, long)]
    pub yes: bool,
}
