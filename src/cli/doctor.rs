//! `provision doctor`

use anyhow::Result;

use super::App;
use crate::host;
use crate::host::acceleration::{Diagnosis, Seen};
use crate::machine::accelerator::Accelerator;
use crate::machine::engine;
use crate::machine::qemu::choose;

/// The arguments of `doctor`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Install the packages that this host lacks; asks for your password if it needs sudo
    #[arg(long)]
    pub install_missing: bool,
}

impl Args {
    /// Examines the host and tells. Whether a guest runs under the accelerator is asked after packages were installed,
    /// since that needs QEMU.
    ///
    /// # Errors
    /// [`Cause::HostMissing`](crate::fault::Cause::HostMissing) when the host lacks a program, after all was told.
    pub fn run(&self, app: &App) -> Result<()> {
        if self.install_missing {
            host::install_missing(&app.cancel, &app.events)?;
        }
        let folders = [
            ("cache", app.paths.cache.clone()),
            ("machines", app.paths.machines.clone()),
        ];
        let accelerator = accelerator(app)?;
        for line in accelerator.message().into_iter().flat_map(str::lines) {
            app.events.detail(format!("the accelerator's probe: {line}"));
        }
        let found = host::doctor::examine(
            accelerator,
            engine::virtualbox_report(&app.cancel),
            &folders,
            &app.cancel,
        )?;
        app.reporter.output(&found)?;
        host::require(&app.cancel)
    }
}

fn accelerator(app: &App) -> Result<Diagnosis> {
    let fast = if cfg!(target_os = "macos") {
        Accelerator::Hvf
    } else {
        Accelerator::Kvm
    };
    let seen = Seen::look();
    if fast == Accelerator::Kvm
        && let Some(found) = Diagnosis::before_probe(&seen)
    {
        return Ok(found);
    }
    match host::qemu(&app.cancel) {
        Ok((qemu, version)) => choose::diagnosis_anew(fast, &qemu, &version, &app.paths.cache, &app.cancel),
        Err(_) => Ok(Diagnosis::without_qemu(&seen)),
    }
}
