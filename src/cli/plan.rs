//! `provision plan`

use super::Settings;

/// The arguments of `plan`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Flags and variables.
    #[command(flatten)]
    pub settings: Settings,
}
