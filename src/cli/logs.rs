//! `provision logs`

use super::Machine;
use crate::event::Stage;

/// The arguments of `logs`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Which machine.
    #[command(flatten)]
    pub machine: Machine,
    /// Only the log of this stage [default: all, in order]
    #[arg(long, value_enum, value_name = "STAGE")]
    pub stage: Option<Stage>,
    /// Go on showing what is added, until Ctrl-C
    #[arg(short, long)]
    pub follow: bool,
}
