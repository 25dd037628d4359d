//! The types of a complete configuration.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Everything that `create` needs to know, with no value left open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The guest's user; names the home folder and the site.
    pub login: Login,
    /// The machine's name on this host.
    pub name: MachineName,
    /// Which guest definition: `debian-13`.
    pub guest: String,
    /// Another ISO than the definition's.
    pub iso: Option<IsoChoice>,
    /// Where the project is and how it is built.
    pub project: Project,
    /// The virtual hardware.
    pub machine: Hardware,
    /// Ports on 127.0.0.1; `None` is chosen by the program.
    pub ports: Ports,
    /// Docker in the guest.
    pub docker: Docker,
    /// How the guest reaches the network.
    pub network: Network,
    /// A folder whose `vm/*.toml` override the embedded guest definitions.
    pub overrides: Option<PathBuf>,
}

/// A user name that is valid in the guest and as a part of the site's name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Login(pub(super) String);

/// A machine's name: one path component.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MachineName(pub(super) String);

macro_rules! text {
    ($type:ident) => {
        impl $type {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl From<$type> for String {
            fn from(value: $type) -> Self {
                value.0
            }
        }
    };
}
text!(Login);
text!(MachineName);

impl Login {
    /// The name under which the site answers, `LOGIN.42.fr`.
    pub fn domain(&self) -> String {
        format!("{}.42.fr", self.0)
    }
}

/// An ISO of the user's own choice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IsoChoice {
    /// Where it is.
    pub location: Location,
    /// What it must hash to. Always there for a [`Location::Url`].
    pub checksum: Option<Checksum>,
}

/// Where an ISO is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// A file on this host.
    File(PathBuf),
    /// An http or https address.
    Url(String),
}

/// The expected digest of a file, in lower-case hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Checksum {
    /// 64 digits.
    Sha256(String),
    /// 128 digits.
    Sha512(String),
}

/// The project folder and how it is built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Project {
    /// The folder that holds `Makefile` and `srcs/`.
    pub dir: PathBuf,
    /// The make target; the Makefile's first one if `None`.
    pub target: Option<String>,
    /// A file that becomes `srcs/.env` in the guest.
    pub env: Option<PathBuf>,
    /// A folder that becomes `secrets/` in the guest.
    pub secrets: Option<PathBuf>,
    /// How long `make` may take; scaled to the accelerator if `None`.
    pub make_timeout: Option<Duration>,
}

/// The virtual hardware.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hardware {
    /// Which program runs the machine.
    pub program: MachineChoice,
    /// Which accelerator to use.
    pub accelerator: AcceleratorChoice,
    /// Virtual CPUs.
    pub cpus: u32,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// The disk's virtual size in GiB; it takes only what is written.
    pub disk_gib: u64,
    /// How long an installing or booting guest may stand still; scaled to the accelerator if `None`.
    pub stall_timeout: Option<Duration>,
    /// What starts the installer; what the machine can if `None`.
    pub installer: Option<InstallerBoot>,
}

/// What starts the installer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum InstallerBoot {
    /// The kernel on the ISO, by itself.
    Kernel,
    /// The ISO, remastered so that it needs no key: what machines get that boot no kernel by itself.
    Medium,
}

/// The program that the user wants to run the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum MachineChoice {
    /// QEMU where it is accelerated, else `VirtualBox` where it works, else QEMU.
    #[default]
    Auto,
    /// QEMU.
    Qemu,
    /// `VirtualBox`.
    #[value(name = "virtualbox")]
    VirtualBox,
}

/// The accelerator that the user asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum AcceleratorChoice {
    /// The fastest in which a guest really runs.
    #[default]
    Auto,
    /// Linux's.
    Kvm,
    /// macOS's.
    Hvf,
    /// Emulation: works everywhere, about ten times slower.
    Tcg,
}

/// Ports on 127.0.0.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Ports {
    /// Leads to the guest's 443.
    pub https: Option<u16>,
    /// Leads to the guest's 22.
    pub ssh: Option<u16>,
}

impl Ports {
    /// These where they are named, else those of `other`.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            https: self.https.or(other.https),
            ssh: self.ssh.or(other.ssh),
        }
    }
}

/// Docker in the guest.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Docker {
    /// Whose packages; the guest definition's first choice if `None`.
    pub source: Option<DockerSource>,
    /// A mirror of Docker Hub, as the guest reaches it (10.0.2.2 is this host).
    pub registry_mirror: Option<String>,
}

/// Whose Docker packages are installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum DockerSource {
    /// The distribution's own.
    Debian,
    /// Docker's own repository.
    DockerCe,
}

impl fmt::Display for DockerSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Debian => "debian",
            Self::DockerCe => "docker-ce",
        })
    }
}

/// A proxy's address. It may hold a password, so it is shown without one, for debugging too.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy(String);

impl Proxy {
    /// Takes an address that was looked at.
    pub const fn new(url: String) -> Self {
        Self(url)
    }

    /// The whole address, for those who use the proxy.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&super::value::bare(&self.0))
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({self})")
    }
}

/// How the guest reaches the network.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Network {
    /// A proxy for the installer, apt, the engine and builds, as the guest reaches it.
    pub http_proxy: Option<Proxy>,
    /// Name servers; QEMU's own forwarder if empty.
    pub dns: Vec<IpAddr>,
    /// The Debian mirror; the installer's default if `None`.
    pub debian_mirror: Option<String>,
    /// Debian's snapshot archive, which keeps every version of a package; the guest definition's if `None`.
    pub snapshot_mirror: Option<String>,
}
