//! What `provision doctor` finds out about the host.

mod rows;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use anyhow::Result;
use rustix::fs::Access;
use serde::Serialize;

use super::acceleration::Diagnosis;
use super::check::{Finding, NAMELESS, findings};
use super::{disk, ports};
use crate::cancel::Cancel;
use crate::fault::NOT_YOURS;

/// What a machine's disk and its checkpoints take in all, in bytes: below this `create` may fail.
const ROOM: u64 = 12 << 30;

/// A finding with what would help.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Told<T> {
    /// What was found.
    #[serde(flatten)]
    pub found: T,
    /// The command that mends it; `None` where nothing is to be mended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<&'static str>,
}

/// The room in a folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Room {
    /// What is kept there.
    pub holds: &'static str,
    /// The folder.
    pub path: PathBuf,
    /// How many bytes this user may still write there.
    pub free_bytes: u64,
    /// Whether that is enough for a machine.
    pub state: Amount,
}

/// How much room is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Amount {
    /// A machine has room.
    Enough,
    /// It may not have.
    Little,
    /// Nobody like this user can write there.
    Closed,
}

/// The usual ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Port {
    /// The port.
    pub port: u16,
    /// Whether it can be bound on 127.0.0.1 now.
    pub free: bool,
}

/// All that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Examination {
    /// Whether `create` can work here. Emulation, little room and taken ports do not keep it from that.
    pub ok: bool,
    /// The programs.
    pub programs: Vec<Told<Finding>>,
    /// The accelerator.
    pub accelerator: Diagnosis,
    /// VirtualBox, which may run machines instead of QEMU.
    pub virtualbox: Told<VirtualBoxReport>,
    /// The disks.
    pub room: Vec<Told<Room>>,
    /// The ports.
    pub ports: Vec<Port>,
}

/// How VirtualBox is on this host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum VirtualBoxReport {
    /// It is not installed, and need not be.
    Absent,
    /// It is there, but cannot be used.
    Unusable {
        /// Why.
        message: String,
    },
    /// It is there.
    Present {
        /// Its version.
        version: String,
        /// Whether its kernel driver is loaded; it runs no machine without.
        driver: bool,
        /// Whether KVM holds the processor's virtualisation, although no machine runs under it.
        kvm_holds: bool,
    },
}

impl VirtualBoxReport {
    /// What would help.
    const fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Present { driver: false, .. } => {
                Some("`sudo modprobe vboxdrv`; without a driver for this kernel, `sudo /sbin/vboxconfig` builds one")
            }
            Self::Present { kvm_holds: true, .. } => Some(
                "where a machine fails with VERR_VMX_IN_VMX_ROOT_MODE or VERR_SVM_IN_USE: `sudo modprobe -r kvm_intel` (or \
                 kvm_amd), or start the kernel with `kvm.enable_virt_at_load=0`",
            ),
            Self::Absent | Self::Unusable { .. } | Self::Present { .. } => None,
        }
    }
}

/// Whether KVM holds the processor's virtualisation from when its module is loaded, as it does since Linux 6.12 unless told
/// otherwise, by what `/sys/module` shows of it. `VirtualBox`, which has it from nobody, cannot run a machine then.
pub fn kvm_holds() -> bool {
    let of_processor = ["/sys/module/kvm_intel", "/sys/module/kvm_amd"].map(|module| Path::new(module).exists());
    let at_load = std::fs::read_to_string("/sys/module/kvm/parameters/enable_virt_at_load");
    of_processor.contains(&true) && at_load.is_ok_and(|value| value.trim() == "Y")
}

/// Looks at the host. `folders` are where much is written, with what is kept there; `accelerator` and `virtualbox` are
/// found out by who can run a guest.
///
/// # Errors
/// When a file system does not answer, or the user interrupts.
pub fn examine(
    accelerator: Diagnosis,
    virtualbox: VirtualBoxReport,
    folders: &[(&'static str, PathBuf)],
    cancel: &Cancel,
) -> Result<Examination> {
    let room = |(holds, path): &(&'static str, PathBuf)| Ok(room(holds, path.clone(), disk::free_space(path)?));
    let port = |port| Port {
        port,
        free: ports::bind(port).is_ok(),
    };
    let programs = findings(cancel)?;
    Ok(Examination {
        ok: programs.iter().all(Finding::is_present),
        programs: programs.into_iter().map(program).collect(),
        accelerator,
        virtualbox: Told {
            hint: virtualbox.hint(),
            found: virtualbox,
        },
        room: folders.iter().map(room).collect::<Result<_>>()?,
        ports: [443, 8443].map(port).to_vec(),
    })
}

fn program(found: Finding) -> Told<Finding> {
    let hint = match &found {
        found if found.is_present() => None,
        found if found.is_for_a_name() => Some(NAMELESS),
        _ => Some("`provision doctor --install-missing`"),
    };
    Told { found, hint }
}

/// Whether this user can make the folder `path`, or write in it if it is there.
fn may_be_written(path: &Path) -> bool {
    let there = path.ancestors().find(|above| std::fs::symlink_metadata(above).is_ok());
    let wanted = Access::WRITE_OK | Access::EXEC_OK;
    there.is_some_and(|there| there.is_dir() && rustix::fs::access(there, wanted).is_ok())
}

fn room(holds: &'static str, path: PathBuf, free_bytes: u64) -> Told<Room> {
    let (state, hint) = match free_bytes {
        _ if !may_be_written(&path) => (Amount::Closed, Some(NOT_YOURS)),
        0..ROOM => (
            Amount::Little,
            Some("`provision cache prune` deletes what no machine uses"),
        ),
        _ => (Amount::Enough, None),
    };
    Told {
        found: Room {
            holds,
            path,
            free_bytes,
            state,
        },
        hint,
    }
}
