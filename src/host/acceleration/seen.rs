//! What a host shows of its virtualisation.

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::path::Path;

use super::permission::Device;

/// KVM's device.
const DEVICE: &str = "/dev/kvm";

/// The architecture of all guests, as `uname -m` tells it.
const GUESTS: &str = "x86_64";

/// Which kind of container the program runs in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Container {
    /// Docker, and what marks its containers as Docker does.
    Docker,
    /// Podman.
    Podman,
    /// A pod.
    Kubernetes,
    /// LXC, LXD or Incus.
    Lxc,
    /// Another.
    Other,
}

/// Whether the running kernel's modules, as files, hold the processor's KVM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shipped {
    /// They do.
    Yes,
    /// They do not.
    No,
    /// There is no folder of modules for the running kernel.
    NoFolder,
}

/// What the host shows.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The processor, as `uname -m` tells it: `x86_64`, `aarch64`, macOS's `arm64`.
    pub architecture: String,
    /// The kernel's release, as `uname -r` tells it.
    pub kernel: String,
    /// The text of `/proc/cpuinfo`.
    pub cpuinfo: String,
    /// The loaded modules, and those built in that have parameters (`/sys/module`).
    pub modules: BTreeSet<String>,
    /// Whether the modules on the disk hold the processor's KVM.
    pub shipped: Shipped,
    /// The error (errno) of opening `/dev/kvm` for reading and writing.
    pub opened: Result<(), i32>,
    /// How `/dev/kvm` lies there, as far as it can be seen.
    pub device: Option<Device>,
    /// The container that this is.
    pub container: Option<Container>,
    /// Vendor and product by the firmware's tables (`/sys/class/dmi/id`).
    pub product: String,
    /// Whether this is a job of a continuous integration, which cannot log in again.
    pub ci: bool,
}

impl Seen {
    /// Looks at this host.
    pub fn look() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let uname = rustix::system::uname();
        let kernel = uname.release().to_string_lossy().into_owned();
        let cpuinfo = read("/proc/cpuinfo");
        let opened = OpenOptions::new().read(true).write(true).open(DEVICE);
        let opened = opened
            .map(drop)
            .map_err(|error| error.raw_os_error().unwrap_or_default());
        Self {
            architecture: uname.machine().to_string_lossy().into_owned(),
            modules: names(Path::new("/sys/module")),
            shipped: shipped(&Path::new("/lib/modules").join(&kernel), vendor_module(&cpuinfo)),
            kernel,
            cpuinfo,
            opened,
            device: Device::look(Path::new(DEVICE)),
            container: container(),
            product: read("/sys/class/dmi/id/sys_vendor") + &read("/sys/class/dmi/id/product_name"),
            // GitHub, GitLab and most others set it.
            ci: std::env::var_os("CI").is_some_and(|value| !value.is_empty() && value != "false"),
        }
    }

    /// Whether guests' instructions are not those of this host.
    pub fn is_other_processor(&self) -> bool {
        self.architecture != GUESTS
    }

    /// The module that the processor needs: by its flags, of which there is none where it cannot run guests.
    pub fn vendor_module(&self) -> Option<&'static str> {
        vendor_module(&self.cpuinfo)
    }

    /// Whether a module is loaded.
    pub fn has_module(&self, module: &str) -> bool {
        self.modules.contains(module)
    }

    /// A module of KVM that is neither Intel's nor AMD's, where it is loaded without theirs.
    pub fn other_module(&self) -> Option<String> {
        let of_processor = ["kvm_intel", "kvm_amd"].iter().any(|module| self.has_module(module));
        let other = self.modules.iter().find(|module| module.starts_with("kvm_"));
        other.filter(|_| !of_processor).cloned()
    }

    /// Whether the host is itself a virtual machine.
    pub fn is_virtual(&self) -> bool {
        flags(&self.cpuinfo).any(|flag| flag == "hypervisor")
    }
}

fn flags(cpuinfo: &str) -> impl Iterator<Item = &str> {
    let lines = cpuinfo.lines().filter(|line| line.starts_with("flags"));
    lines.flat_map(str::split_whitespace)
}

fn vendor_module(cpuinfo: &str) -> Option<&'static str> {
    flags(cpuinfo).find_map(|flag| match flag {
        "vmx" => Some("kvm_intel"),
        "svm" => Some("kvm_amd"),
        _ => None,
    })
}

/// The names in a folder; none where it cannot be read.
fn names(folder: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

/// Whether the kernel whose modules lie in `folder` has the module (modules.dep(5), modules.builtin).
fn shipped(folder: &Path, module: Option<&str>) -> Shipped {
    if !folder.join("modules.dep").exists() {
        return Shipped::NoFolder;
    }
    let lists = ["modules.dep", "modules.builtin"].map(|list| std::fs::read_to_string(folder.join(list)));
    let module = module.unwrap_or("kvm");
    if lists.into_iter().flatten().any(|list| lists_module(&list, module)) {
        Shipped::Yes
    } else {
        Shipped::No
    }
}

/// Whether a line begins with the file of a module, packed or not. Files are named with a dash where modules have an
/// underscore.
pub(super) fn lists_module(list: &str, module: &str) -> bool {
    let file = format!("/{}.ko", module.replace('_', "-"));
    let mut paths = list.lines().map(|line| line.split(':').next().unwrap_or_default());
    paths.any(|path| path.rfind(&file).is_some_and(|at| !path[at + 1..].contains('/')))
}

/// By the marks that container engines leave, as systemd-detect-virt(1) goes by them.
fn container() -> Option<Container> {
    if std::env::var_os("KUBERNETES_SERVICE_HOST").is_some() {
        return Some(Container::Kubernetes);
    }
    let told = std::fs::read_to_string("/run/systemd/container").ok();
    let there = |path: &str| Path::new(path).exists();
    marked(there("/.dockerenv"), there("/run/.containerenv"), told.as_deref())
}

pub(super) fn marked(docker: bool, podman: bool, told: Option<&str>) -> Option<Container> {
    Some(match (docker, podman, told.map(str::trim)) {
        (_, true, _) | (_, _, Some("podman")) => Container::Podman,
        (true, _, _) | (_, _, Some("docker")) => Container::Docker,
        (_, _, Some("lxc" | "lxc-libvirt")) => Container::Lxc,
        (_, _, Some(_)) => Container::Other,
        _ => return None,
    })
}
