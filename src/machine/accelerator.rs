//! What runs the guest's instructions, and what follows from it.

use serde::{Deserialize, Serialize};

/// An accelerator of QEMU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Accelerator {
    /// Linux's.
    Kvm,
    /// macOS's.
    Hvf,
    /// Emulation.
    Tcg,
}

impl Accelerator {
    /// The value of QEMU's `-accel`. The translation cache (MiB) is large enough that a running Docker does not make
    /// QEMU throw translated code away.
    pub const fn qemu_option(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Hvf => "hvf",
            Self::Tcg => "tcg,thread=multi,tb-size=1024",
        }
    }

    /// The value of QEMU's `-cpu`. Under emulation the smallest model is the fastest: programs in the guest that find
    /// vector instructions use them, and those are slow to emulate.
    pub const fn cpu_model(self) -> &'static str {
        match self {
            Self::Kvm | Self::Hvf => "host",
            Self::Tcg => "qemu64",
        }
    }

    /// By how much longer than on the bare host things take: waits are scaled by it.
    pub const fn slowness(self) -> u32 {
        match self {
            Self::Kvm | Self::Hvf => 1,
            Self::Tcg => 5,
        }
    }

    /// Its name as it is typed.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Hvf => "hvf",
            Self::Tcg => "tcg",
        }
    }

    /// How a person calls it.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Kvm => "KVM",
            Self::Hvf => "HVF",
            Self::Tcg => "TCG (emulation)",
        }
    }
}
