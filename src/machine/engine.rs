//! What starts machines on this host.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::accelerator::Accelerator;
use super::driver::{Features, Home, Hypervisor};
use super::qemu::Qemu;
use super::qemu::arguments::Size;
use super::virtualbox::VirtualBox;
use super::virtualbox::vboxmanage::VBoxManage;
use super::{Machine, qemu};
use crate::cancel::Cancel;
use crate::config::{AcceleratorChoice, MachineChoice};
use crate::host;

/// A program that starts machines, and what runs the guest's instructions then.
#[derive(Debug, Clone)]
pub enum Engine {
    /// QEMU.
    Qemu {
        /// Its program.
        program: PathBuf,
        /// What runs the guest's instructions.
        accelerator: Accelerator,
    },
    /// `VirtualBox`, which always uses the host's own virtualisation.
    VirtualBox(VBoxManage),
}

/// An engine and, where the guest is emulated, why nothing faster was taken.
#[derive(Debug, Clone)]
pub struct Chosen {
    /// It.
    pub engine: Engine,
    /// Why the guest is emulated, in words.
    pub because: Option<String>,
}

/// Chooses by the user's wishes and by what works here; what was found out is kept in the folder `cache`.
///
/// # Errors
/// When a wish cannot be fulfilled, or no program is there.
pub fn choose(program: MachineChoice, wish: AcceleratorChoice, cache: &Path, cancel: &Cancel) -> Result<Chosen> {
    match program {
        MachineChoice::Qemu => qemu(wish, cache, cancel),
        MachineChoice::VirtualBox => virtualbox(cancel),
        MachineChoice::Auto => {
            let qemu = qemu(wish, cache, cancel);
            // A wish for an accelerator is one for QEMU.
            let is_fast = qemu.as_ref().is_ok_and(|chosen| chosen.because.is_none());
            if is_fast || wish != AcceleratorChoice::Auto || !VBoxManage::may_run_machines() {
                return qemu;
            }
            virtualbox(cancel).or(qemu)
        }
    }
}

/// Which program [`choose`] would take.
///
/// # Errors
/// When a wish cannot be fulfilled.
pub fn program(program: MachineChoice, wish: AcceleratorChoice, cache: &Path, cancel: &Cancel) -> Result<Hypervisor> {
    // Neither needs an accelerator's probe.
    if program == MachineChoice::Qemu || (program == MachineChoice::Auto && !VBoxManage::may_run_machines()) {
        return Ok(Hypervisor::Qemu);
    }
    choose(program, wish, cache, cancel).map(|chosen| chosen.engine.hypervisor())
}

fn virtualbox(cancel: &Cancel) -> Result<Chosen> {
    Ok(Chosen {
        engine: Engine::VirtualBox(VBoxManage::find(cancel)?),
        because: None,
    })
}

fn qemu(wish: AcceleratorChoice, cache: &Path, cancel: &Cancel) -> Result<Chosen> {
    let (program, version) = host::qemu(cancel)?;
    let chosen = qemu::choose::choose(wish, &program, &version, cache, cancel)?;
    let accelerator = chosen.accelerator;
    Ok(Chosen {
        engine: Engine::Qemu { program, accelerator },
        because: chosen.because.filter(|_| accelerator == Accelerator::Tcg),
    })
}

impl Engine {
    /// Which program it is.
    pub const fn hypervisor(&self) -> Hypervisor {
        match self {
            Self::Qemu { .. } => Hypervisor::Qemu,
            Self::VirtualBox(_) => Hypervisor::VirtualBox,
        }
    }

    /// What its machines can do.
    pub fn features(&self) -> Features {
        self.hypervisor().driver().features()
    }

    /// QEMU's accelerator.
    pub const fn accelerator(&self) -> Option<Accelerator> {
        match self {
            Self::Qemu { accelerator, .. } => Some(*accelerator),
            Self::VirtualBox(_) => None,
        }
    }

    /// By how much longer than on the bare host things take: waits are scaled by it.
    pub fn slowness(&self) -> u32 {
        self.accelerator().map_or(1, Accelerator::slowness)
    }

    /// The machine of `home`.
    pub fn machine(&self, size: Size, home: &Home, cancel: &Cancel) -> Box<dyn Machine> {
        match self {
            Self::Qemu { program, accelerator } => {
                Box::new(Qemu::new(program, *accelerator, size, &home.run_dir, cancel))
            }
            Self::VirtualBox(vbox) => {
                let folder = self.hypervisor().driver().disk_in(&home.folder);
                Box::new(VirtualBox::new(vbox, size, &folder, &home.run_dir))
            }
        }
    }
}
