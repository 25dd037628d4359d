//! `provision create`

use super::Settings;

/// The arguments of `create`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Install the packages that this host lacks; asks for your password if it needs sudo, which nothing else uses
    #[arg(long)]
    pub install_missing: bool,
    /// Ask the mirror for the current point release instead of taking the cached ISO
    #[arg(long)]
    pub refresh: bool,
    /// Flags and variables.
    #[command(flatten)]
    pub settings: Settings,
}
