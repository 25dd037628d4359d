//! `provision doctor`

use anyhow::Result;

use super::App;
use crate::host::{
    self,
    doctor::{AcceleratorReport, VirtualBoxReport},
};
use crate::machine::accelerator::Accelerator;
use crate::machine::qemu::choose::{self, Obstacle};
use crate::machine::virtualbox::vboxmanage::VBoxManage;

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
        let found = host::doctor::examine(accelerator(app)?, virtualbox(app), &folders, &app.cancel)?;
        app.reporter.output(&found)?;
        host::require(&app.cancel)
    }
}

fn virtualbox(app: &App) -> VirtualBoxReport {
    if !VBoxManage::is_installed() {
        return VirtualBoxReport::Absent;
    }
    match VBoxManage::find(&app.cancel) {
        Ok(vbox) => VirtualBoxReport::Present {
            version: vbox.version().to_string(),
            driver: VBoxManage::may_run_machines(),
        },
        Err(error) => VirtualBoxReport::Unusable {
            message: error.to_string(),
        },
    }
}

fn accelerator(app: &App) -> Result<AcceleratorReport> {
    let fast = if cfg!(target_os = "macos") {
        Accelerator::Hvf
    } else {
        Accelerator::Kvm
    };
    if fast == Accelerator::Kvm
        && let Some(report) = AcceleratorReport::of_kvm()
    {
        return Ok(report);
    }
    let Ok((qemu, version)) = host::qemu(&app.cancel) else {
        return Ok(AcceleratorReport::Refused {
            message: "QEMU is missing".into(),
        });
    };
    Ok(
        match choose::obstacle(fast, &qemu, &version, &app.paths.cache, &app.cancel)? {
            None => AcceleratorReport::Works {
                name: fast.title().into(),
            },
            Some(Obstacle::Silent(_)) => AcceleratorReport::RunsNothing,
            Some(Obstacle::Device(message) | Obstacle::Refused(message)) => AcceleratorReport::Refused { message },
        },
    )
}
