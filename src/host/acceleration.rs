//! Whether guests can run on the host's own processor, and if not, why: a diagnosis made of what the host shows
//! ([`Seen`]) and of what QEMU said to a probe ([`Verdict`]). Pure; looking is in `seen.rs`.

mod hints;
mod permission;
mod seen;
#[cfg(test)]
mod tests;
mod words;

use serde::{Deserialize, Serialize};

pub use seen::Seen;
use seen::Shipped;

/// What came of the attempt to boot something small under an accelerator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It ran and said so.
    Runs,
    /// QEMU refused, with this message.
    Refused(String),
    /// QEMU was ended by a signal, mostly its own abort, after this message.
    Crashed(String),
    /// QEMU started, but the guest printed nothing within the limit.
    Silent,
}

/// How the host's accelerator is. The names of the states are for scripts, and stay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Acceleration {
    /// A guest really runs under it.
    Works {
        /// `KVM` or `HVF`.
        name: String,
    },
    /// The host's processor is of another kind than the guests'.
    OtherProcessor {
        /// As `uname -m` tells it.
        architecture: String,
    },
    /// The processor has no virtualisation, or the firmware or the host of this virtual machine hides it.
    NoCpuFlag,
    /// The kernel's module is not loaded.
    ModuleMissing {
        /// `kvm_intel` or `kvm_amd`.
        module: &'static str,
    },
    /// It is not loaded, and cannot be: there is none for the running kernel.
    ModuleUnavailable {
        /// `kvm_intel` or `kvm_amd`.
        module: &'static str,
        /// As `uname -r` tells it.
        kernel: String,
    },
    /// There is no `/dev/kvm`, although the module is loaded.
    DeviceMissing,
    /// This user may not open the device.
    NoPermission,
    /// Another hypervisor holds the processor's virtualisation.
    Busy {
        /// QEMU's words.
        message: String,
    },
    /// The device opens and QEMU starts, but a guest executes nothing.
    RunsNothing,
    /// The device opens, but lacks what QEMU needs to run a guest.
    Limited {
        /// The kernel's module, where it is neither Intel's nor AMD's.
        #[serde(skip_serializing_if = "Option::is_none")]
        module: Option<String>,
        /// QEMU's words.
        message: String,
    },
    /// It fails in another way.
    Refused {
        /// QEMU's or the system's words.
        message: String,
    },
    /// Whether a guest runs is not known without QEMU.
    QemuMissing,
}

/// How the accelerator is, and what would help.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnosis {
    /// How it is.
    #[serde(flatten)]
    pub acceleration: Acceleration,
    /// The command that mends it, or that goes on without; `None` when it works.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Diagnosis {
    fn new(acceleration: Acceleration, seen: &Seen) -> Self {
        let hint = hints::of(&acceleration, seen);
        Self { acceleration, hint }
    }

    /// What can be told of KVM without starting anything; `None` when the device opens, so that only a guest that runs
    /// tells more.
    pub fn before_probe(seen: &Seen) -> Option<Self> {
        let acceleration = if seen.is_other_processor() {
            Acceleration::OtherProcessor {
                architecture: seen.architecture.clone(),
            }
        } else {
            closed(seen)?
        };
        Some(Self::new(acceleration, seen))
    }

    /// What a probe's outcome means under the accelerator that is called `name`.
    pub fn after_probe(seen: &Seen, name: &str, verdict: &Verdict) -> Self {
        let acceleration = match verdict {
            Verdict::Runs => Acceleration::Works { name: name.to_owned() },
            Verdict::Silent => Acceleration::RunsNothing,
            Verdict::Refused(message) if is_any(message, BUSY) => Acceleration::Busy {
                message: message.clone(),
            },
            Verdict::Refused(message) if is_any(message, UNSUPPORTED) => Acceleration::NoCpuFlag,
            Verdict::Refused(_) if seen.is_other_processor() => Acceleration::OtherProcessor {
                architecture: seen.architecture.clone(),
            },
            Verdict::Refused(message) if !is_any(message, LIMITED) => Acceleration::Refused {
                message: message.clone(),
            },
            Verdict::Refused(message) | Verdict::Crashed(message) => Acceleration::Limited {
                module: seen.other_module(),
                message: message.clone(),
            },
        };
        Self::new(acceleration, seen)
    }

    /// That there is no QEMU with which to find out.
    pub fn without_qemu(seen: &Seen) -> Self {
        Self::new(Acceleration::QemuMissing, seen)
    }

    /// Whether guests run under it.
    pub const fn works(&self) -> bool {
        matches!(self.acceleration, Acceleration::Works { .. })
    }

    /// Whether this may be otherwise in a moment, with nothing changed on the host.
    pub const fn passes(&self) -> bool {
        matches!(self.acceleration, Acceleration::Busy { .. })
    }
}

/// `EBUSY` of `KVM_CREATE_VM` as QEMU tells it, and HVF's own (Apple's `hv_return_t`).
const BUSY: &[&str] = &["Device or resource busy", "HV_BUSY"];

/// HVF on a processor without virtualisation (`hv_return_t`).
const UNSUPPORTED: &[&str] = &["HV_UNSUPPORTED", "HV_NO_DEVICE"];

/// What QEMU (accel/kvm, target/i386/kvm) says when KVM does not take the state that it sets up for a processor, or does
/// not run it.
const LIMITED: &[&str] = &[
    "failed to set MSR",
    "failed to get MSR",
    "kvm_msr_buf->nmsrs",
    "kvm_init_vcpu",
    "kvm run failed",
    "KVM: entry failed",
    "KVM internal error",
    "KVM_SET_",
    "KVM_GET_",
];

fn is_any(message: &str, marks: &[&str]) -> bool {
    marks.iter().any(|mark| message.contains(mark))
}

/// Why the device does not open; `None` when it does. A module that is neither Intel's nor AMD's (`kvm_pvm`) needs no
/// flag of the processor.
fn closed(seen: &Seen) -> Option<Acceleration> {
    let errno = rustix::io::Errno::from_raw_os_error(seen.opened.err()?);
    let absent = [
        rustix::io::Errno::NOENT,
        rustix::io::Errno::NOTDIR,
        rustix::io::Errno::NODEV,
        rustix::io::Errno::NXIO,
    ];
    let denied = [rustix::io::Errno::ACCESS, rustix::io::Errno::PERM];
    Some(if denied.contains(&errno) {
        Acceleration::NoPermission
    } else if !absent.contains(&errno) {
        Acceleration::Refused {
            message: format!("/dev/kvm: {}", std::io::Error::from(errno)),
        }
    } else if seen.other_module().is_some() {
        Acceleration::DeviceMissing
    } else {
        match seen.vendor_module() {
            None => Acceleration::NoCpuFlag,
            Some(module) if seen.has_module(module) => Acceleration::DeviceMissing,
            Some(module) if seen.shipped == Shipped::No => Acceleration::ModuleUnavailable {
                module,
                kernel: seen.kernel.clone(),
            },
            Some(module) => Acceleration::ModuleMissing { module },
        }
    })
}
