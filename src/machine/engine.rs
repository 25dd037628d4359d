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
use crate::host::{self, doctor::VirtualBoxReport};

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
            let is_fast = qemu.as_ref().is_ok_and(|chosen| chosen.because.is_none());
            match preferred(is_fast, wish, VBoxManage::may_run_machines()) {
                Hypervisor::Qemu => qemu,
                Hypervisor::VirtualBox => virtualbox(cancel).or(qemu),
            }
        }
    }
}

/// The program that is taken where the user names none: QEMU if something runs its guests natively (`is_fast`), else
/// `VirtualBox` where it could run some, else QEMU.
fn preferred(is_fast: bool, wish: AcceleratorChoice, virtualbox_may_run: bool) -> Hypervisor {
    // A wish for an accelerator is one for QEMU.
    if is_fast || wish != AcceleratorChoice::Auto || !virtualbox_may_run {
        Hypervisor::Qemu
    } else {
        Hypervisor::VirtualBox
    }
}

/// What `doctor` tells of `VirtualBox`.
pub fn virtualbox_report(cancel: &Cancel) -> VirtualBoxReport {
    if !VBoxManage::is_installed() {
        return VirtualBoxReport::Absent;
    }
    match VBoxManage::find(cancel) {
        Ok(vbox) => VirtualBoxReport::Present {
            version: vbox.version().to_string(),
            driver: VBoxManage::may_run_machines(),
            kvm_holds: host::doctor::kvm_holds(),
        },
        Err(error) => VirtualBoxReport::Unusable {
            message: error.to_string(),
        },
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

/// Which program a plan is about: the one that the user names, there or not, else what [`choose`] would take. Where there is
/// none, it is about QEMU, which `create` says how to install.
pub fn planned(program: MachineChoice, wish: AcceleratorChoice, cache: &Path, cancel: &Cancel) -> Hypervisor {
    Hypervisor::named(program).unwrap_or_else(|| {
        choose(program, wish, cache, cancel)
            .map(|chosen| chosen.engine.hypervisor())
            .unwrap_or_default()
    })
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

    /// What sets the pace of its guests: times are compared among those of one name.
    pub fn pace(&self) -> &'static str {
        match self {
            Self::Qemu { accelerator, .. } => accelerator.name(),
            Self::VirtualBox(_) => "virtualbox",
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

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    #[test]
    fn a_plan_is_about_the_program_that_is_named_there_or_not() {
        let (cache, wish) = (tempfile::tempdir().unwrap(), AcceleratorChoice::Auto);
        for named in Hypervisor::ALL {
            let planned = planned(named.choice(), wish, cache.path(), &Cancel::default());
            assert_eq!(planned, named);
        }
        assert_eq!(Hypervisor::named(MachineChoice::Auto), None);
    }

    #[test]
    fn qemu_is_preferred_while_something_runs_its_guests() {
        use AcceleratorChoice::{Auto, Tcg};
        for (is_fast, wish, virtualbox_may_run, expected) in [
            (true, Auto, true, Hypervisor::Qemu),
            (true, Auto, false, Hypervisor::Qemu),
            (false, Auto, true, Hypervisor::VirtualBox),
            (false, Auto, false, Hypervisor::Qemu),
            (false, Tcg, true, Hypervisor::Qemu),
        ] {
            assert_eq!(preferred(is_fast, wish, virtualbox_may_run), expected);
        }
    }

    /// The sources under `folder` but tests and `src/machine`.
    fn sources(folder: &Path) -> Vec<PathBuf> {
        let entries = fs_err::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        entries
            .filter(|path| {
                !["tests", "tests.rs", "model", "machine"]
                    .map(OsStr::new)
                    .contains(&path.file_name().unwrap())
            })
            .flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] })
            .filter(|path| path.extension() == Some(OsStr::new("rs")))
            .collect()
    }

    #[test]
    fn virtualboxs_states_are_read_in_one_place() {
        let room = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/machine/virtualbox");
        let reads = |path: &PathBuf| {
            let text = fs_err::read_to_string(path).unwrap();
            text.contains("VMState=") || text.contains("\"VMState\"") || text.contains("runningvms")
        };
        let readers: Vec<_> = sources(&room).into_iter().filter(reads).collect();
        assert_eq!(readers, [room.join("info.rs")]);
    }

    #[test]
    fn no_other_room_tells_one_program_from_the_other() {
        let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let files = sources(&src);
        assert!(files.len() > 100, "{files:?}");
        for file in files {
            let text = fs_err::read_to_string(&file).unwrap();
            let (code, _) = text.split_once("#[cfg(test)]\nmod ").unwrap_or((&text, ""));
            for name in [
                "Hypervisor::VirtualBox",
                "MachineChoice::VirtualBox",
                "Engine::VirtualBox",
                "VBoxManage::",
                "virtualbox::",
            ] {
                assert!(!code.contains(name), "{} names {name}", file.display());
            }
        }
    }
}
