//! `provision doctor`

use std::path::PathBuf;

use anyhow::Result;

use crate::cancel::Cancel;
use crate::host::{self, doctor::AcceleratorReport};
use crate::report::Reporter;

/// The arguments of `doctor`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Install the packages that this host lacks; asks for your password if it needs sudo
    #[arg(long)]
    pub install_missing: bool,
}

/// Examines the host and tells. `accelerator` finds out whether a guest runs, which needs QEMU; so it is asked after
/// packages were installed.
///
/// # Errors
/// [`Cause::HostMissing`](crate::fault::Cause::HostMissing) when the host lacks a program, after all was told.
pub fn run(
    args: &Args,
    reporter: &Reporter,
    folders: &[(&'static str, PathBuf)],
    accelerator: impl FnOnce() -> Result<AcceleratorReport>,
    cancel: &Cancel,
) -> Result<()> {
    if args.install_missing {
        host::install_missing(cancel, &reporter.events())?;
    }
    let found = host::doctor::examine(accelerator()?, folders, cancel)?;
    reporter.output(&found)?;
    host::require(cancel)
}
