//! What `VBoxManage` and `VBoxHeadless` say, as faults with their own message and what the user can do about it.

use crate::fault::{Cause, Fault};

/// A way out.
struct Remedy {
    /// What it says; one of them is enough.
    marks: &'static [&'static str],
    cause: Cause,
    hint: &'static str,
}

const REBUILD: &str = "`sudo modprobe vboxdrv` loads the driver; if there is none for this kernel, install the kernel's headers and \
    run `sudo /sbin/vboxconfig` (Debian's package: `sudo apt install virtualbox-dkms linux-headers-amd64`); \
    on macOS allow it under Privacy & Security; `--machine qemu` needs no driver";

const SIGN: &str = "Secure Boot refuses drivers that are not signed: enrol the key that signs it (`sudo mokutil --import \
    /var/lib/dkms/mok.pub` or `/var/lib/shim-signed/mok/MOK.der`, then restart the host and confirm), or turn Secure Boot off \
    in the firmware; `--machine qemu` needs no driver";

/// Marks that tell that there is no driver.
const NO_DRIVER: &[&str] = &[
    "VERR_VM_DRIVER_NOT_INSTALLED",
    "rc=-1908",
    "Error -1908",
    "/dev/vboxdrv does not exist",
    "kernel module is not loaded",
];

/// In the order in which they are looked for: a cause before what follows from it. The names are those of `VirtualBox`'s
/// `err.h`, `iprt/err.h` and of its API.
const REMEDIES: &[Remedy] = &[
    Remedy {
        marks: &[
            "Key was rejected by service",
            "Required key not available",
            "need to sign the kernel modules",
        ],
        cause: Cause::HostMissing,
        hint: SIGN,
    },
    Remedy {
        marks: NO_DRIVER,
        cause: Cause::HostMissing,
        hint: REBUILD,
    },
    Remedy {
        marks: &["VERR_VM_DRIVER_VERSION_MISMATCH", "rc=-1912", "Error -1912"],
        cause: Cause::HostMissing,
        hint: "the loaded driver is of another version: `sudo /sbin/vboxconfig`, or restart the host after an upgrade",
    },
    Remedy {
        marks: &[
            "VERR_VM_DRIVER_LOAD_ERROR",
            "VERR_VM_DRIVER_OPEN_ERROR",
            "VERR_VM_DRIVER_NOT_ACCESSIBLE",
            "Error -1909",
            "Error -1910",
        ],
        cause: Cause::HostMissing,
        hint: REBUILD,
    },
    Remedy {
        marks: &["VERR_VMX_IN_VMX_ROOT_MODE", "VERR_SVM_IN_USE"],
        cause: Cause::HostMissing,
        hint: "KVM holds the processor's virtualization: end its machines, then `sudo modprobe -r kvm_intel` (or kvm_amd); \
            since Linux 6.12 it does so without any machine unless the kernel is started with `kvm.enable_virt_at_load=0`; \
            `--machine qemu` uses KVM itself",
    },
    Remedy {
        marks: &[
            "VERR_VMX_NO_VMX",
            "VERR_VMX_MSR_ALL_VMX_DISABLED",
            "VERR_VMX_MSR_VMX_DISABLED",
            "VERR_VMX_MSR_LOCKED_OR_DISABLED",
            "VERR_SVM_NO_SVM",
            "VERR_SVM_DISABLED",
            "VERR_NEM_NOT_AVAILABLE",
        ],
        cause: Cause::HostMissing,
        hint: "turn VT-x or AMD-V on in the host's firmware (in a virtual machine: nested virtualization); \
            `--machine qemu` can do without",
    },
    Remedy {
        marks: &[
            "group and/or other writable",
            "Effective UID is not root",
            "VERR_SUPLIB_",
            "Cannot trust the",
        ],
        cause: Cause::HostMissing,
        hint: "VirtualBox only runs from folders and files that root alone can change: take others' right to write from what \
            it names (`sudo chmod go-w`), or install VirtualBox again",
    },
    Remedy {
        marks: &[
            "is already locked",
            "lock request pending",
            "is locked for",
            "VBOX_E_INVALID_SESSION_STATE",
        ],
        cause: Cause::Busy,
        hint: "another program uses this machine: close it in VirtualBox's window",
    },
    Remedy {
        marks: &["child media", "VBOX_E_OBJECT_IN_USE"],
        cause: Cause::Busy,
        hint: "another machine lies on this one: remove that first (`provision list`)",
    },
    Remedy {
        marks: &["already exists", "has the same UUID as an existing"],
        cause: Cause::Busy,
        hint: "a machine of this name was left in this folder: `provision destroy` removes it, or take another with `--name NAME`",
    },
    Remedy {
        marks: &["VERR_DISK_FULL", "reported disk full", "No space left on device"],
        cause: Cause::Space,
        hint: "free some space (`provision cache prune` removes old checkpoints), then run the same command again",
    },
    Remedy {
        marks: &[
            "Could not find an open hard disk",
            "Parent medium with UUID",
            "VERR_VD_IMAGE_CORRUPTED",
        ],
        cause: Cause::Machine,
        hint: "a disk on which this one lies is gone: `provision create` makes the machine anew",
    },
    Remedy {
        marks: &["VERR_NO_MEMORY", "VERR_NO_PAGE_MEMORY", "VERR_EM_NO_MEMORY"],
        cause: Cause::Machine,
        hint: "the host lacks memory: close programs, or take less with `--memory`",
    },
    Remedy {
        marks: &["terminated unexpectedly during startup"],
        cause: Cause::Machine,
        hint: "most often the driver is not loaded (`ls /dev/vboxdrv`) or belongs to another version (`sudo /sbin/vboxconfig`); \
            VBoxHardening.log in the machine's folder Logs tells",
    },
];

/// The fault of `who` that `said` this. `secure_boot` tells whether the host's firmware lets signed drivers in only.
pub fn fault(who: &str, said: &str, secure_boot: bool) -> Fault {
    let message = match message(said) {
        text if text.is_empty() => format!("{who} failed and said nothing"),
        text => format!("{who}: {text}"),
    };
    let remedy = REMEDIES.iter().find(|remedy| contains(said, remedy.marks));
    let Some(remedy) = remedy else {
        return Fault::new(Cause::Machine, message);
    };
    let signing = secure_boot && remedy.hint == REBUILD;
    Fault::new(remedy.cause, message).hint(if signing { SIGN } else { remedy.hint })
}

/// Whether a text names a reason that is known here.
pub fn is_telling(said: &str) -> bool {
    REMEDIES.iter().any(|remedy| contains(said, remedy.marks))
}

fn contains(said: &str, marks: &[&str]) -> bool {
    marks.iter().any(|mark| said.contains(mark))
}

/// What was said without the program's name, its usage, its percentages and its source's line numbers.
fn message(said: &str) -> String {
    let errors: Vec<&str> = said
        .lines()
        .filter_map(|line| line.trim().split_once("error: "))
        .map(|(_, text)| text)
        .collect();
    let lines = if errors.is_empty() {
        said.lines().map(spoken).collect()
    } else {
        errors
    };
    let mut told: Vec<String> = Vec::new();
    for line in lines {
        if let Some(details) = line.strip_prefix("Details: code ") {
            let code = details.split([' ', ',']).next().unwrap_or_default();
            if let Some(last) = told.last_mut() {
                *last = format!("{last} ({code})");
            }
        } else if !line.is_empty() && !line.starts_with("Context: ") && !told.iter().any(|said| said == line) {
            told.push(line.to_owned());
        }
    }
    told.join("; ")
}

/// A line of `VBoxHeadless` without its name; its banner says nothing.
fn spoken(line: &str) -> &str {
    let line = line.trim();
    let line = line.strip_prefix("VBoxHeadless: ").unwrap_or(line);
    let banner = [
        "Oracle ",
        "Copyright (C)",
        "(C) 20",
        "All rights reserved",
        "Tip! ",
        "Starting virtual machine",
    ];
    if banner.iter().any(|start| line.starts_with(start)) {
        ""
    } else {
        line
    }
}

/// Whether the firmware lets only signed drivers in, by the UEFI specification's variable `SecureBoot` ("Globally
/// defined variables"): 1 after the four bytes of attributes that Linux puts first.
pub fn secure_boot() -> bool {
    let variable = std::fs::read("/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c");
    variable.is_ok_and(|bytes| bytes.get(4) == Some(&1))
}

#[cfg(test)]
#[path = "tests/hints.rs"]
mod tests;
