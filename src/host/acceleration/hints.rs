//! What mends a host on which no guest runs; where nothing does, what goes on without.

use super::seen::{Container, Seen, Shipped};
use super::{Acceleration, permission};

/// Goes on without.
const EMULATE: &str = "`provision create --accelerator tcg` emulates the processor instead";

/// What a virtual machine is told by, in its firmware's tables or its kernel's release, and how its host lends it
/// virtualisation. Azure's machines look like Hyper-V's.
const NESTED: &[(&str, &str)] = &[
    (
        "microsoft-standard-WSL",
        "write `nestedVirtualization=true` below `[wsl2]` in Windows's `%UserProfile%\\.wslconfig`, then `wsl --shutdown`",
    ),
    (
        "VirtualBox",
        "at the host of this virtual machine, while it is off: `VBoxManage modifyvm NAME --nested-hw-virt on`",
    ),
    (
        "VMware",
        "at the host of this virtual machine, while it is off: `vhv.enable = \"TRUE\"` in its .vmx file",
    ),
    (
        "Microsoft Corporation",
        "at the host of this virtual machine, while it is off: `Set-VMProcessor -VMName NAME \
         -ExposeVirtualizationExtensions $true`; in Azure take a size with nested virtualization",
    ),
    (
        "Google",
        "make this virtual machine with `gcloud compute instances create NAME --enable-nested-virtualization`",
    ),
    (
        "Amazon EC2",
        "take an instance type with nested virtualization, or a bare one (`.metal`)",
    ),
    (
        "QEMU",
        "at the host of this virtual machine give it the host's processor: `virt-xml NAME --edit --cpu host-passthrough`, \
         in Proxmox `qm set ID --cpu host`, else QEMU's `-cpu host`",
    ),
];

/// What would help; `None` when it works.
pub(super) fn of(acceleration: &Acceleration, seen: &Seen) -> Option<String> {
    Some(match acceleration {
        Acceleration::Works { .. } => return None,
        Acceleration::QemuMissing => "`provision doctor --install-missing` installs it".to_owned(),
        Acceleration::NoCpuFlag => processor(seen),
        Acceleration::ModuleMissing { module } => module_missing(module, seen),
        Acceleration::ModuleUnavailable { module, .. } => format!(
            "take a kernel that has it (Debian: `sudo apt-get install linux-image-amd64`, Ubuntu: `sudo apt-get install \
             linux-image-generic`), restart, then `sudo modprobe {module}`"
        ),
        Acceleration::DeviceMissing => device_missing(seen).to_owned(),
        Acceleration::NoPermission => match seen.other_module() {
            // Nobody knows before it opens.
            Some(module) => format!(
                "{EMULATE}; guests may run under {module} or not, which shows once it opens: {}",
                permission::hint(seen)
            ),
            None => permission::hint(seen),
        },
        Acceleration::Busy { .. } => busy(seen).to_owned(),
        Acceleration::RunsNothing | Acceleration::Limited { .. } if seen.is_virtual() => {
            format!("{EMULATE}; for KVM, {}", nested(seen))
        }
        Acceleration::Refused { message } if message.contains("HV_DENIED") => format!(
            "QEMU must be signed for it (com.apple.security.hypervisor), as Homebrew's is: `brew reinstall qemu`; {EMULATE}"
        ),
        Acceleration::OtherProcessor { .. }
        | Acceleration::RunsNothing
        | Acceleration::Limited { .. }
        | Acceleration::Refused { .. } => EMULATE.to_owned(),
    })
}

/// Virtualisation that the processor does not show.
fn processor(seen: &Seen) -> String {
    if seen.is_virtual() {
        format!("{}; until then {EMULATE}", nested(seen))
    } else if cfg!(target_os = "macos") {
        EMULATE.to_owned()
    } else {
        "switch VT-x or AMD-V (SVM) on in the firmware's set-up, to which `sudo systemctl reboot --firmware-setup` leads"
            .to_owned()
    }
}

/// How the host of this virtual machine lends it virtualisation.
fn nested(seen: &Seen) -> &'static str {
    let told = |mark: &str| seen.product.contains(mark) || seen.kernel.contains(mark);
    let known = NESTED.iter().find(|(mark, _)| told(mark));
    known.map_or(
        "enable nested virtualisation for this virtual machine at its host",
        |(_, how)| how,
    )
}

fn module_missing(module: &str, seen: &Seen) -> String {
    match (seen.container, seen.shipped) {
        (Some(_), _) => {
            format!("at the container's host: `sudo modprobe {module}`, then start it with `--device /dev/kvm`")
        }
        // A package manager replaced the kernel, and with it the modules.
        (None, Shipped::NoFolder) => format!(
            "the running kernel's modules are gone from /lib/modules, as after an upgrade: restart this host, then \
             `sudo modprobe {module}`"
        ),
        // Kernels before 6.6 or so show the flag although the firmware locked it.
        (None, Shipped::Yes | Shipped::No) => format!(
            "`sudo modprobe {module}`; if that says “Operation not supported”, switch VT-x or AMD-V (SVM) on in the firmware"
        ),
    }
}

const fn device_missing(seen: &Seen) -> &'static str {
    match seen.container {
        Some(Container::Docker) => {
            "start the container with `docker run --device /dev/kvm`; for GitLab's runner `devices = [\"/dev/kvm\"]` below \
             `[runners.docker]` in its config.toml"
        }
        Some(Container::Podman) => "start the container with `podman run --device /dev/kvm --group-add keep-groups`",
        Some(Container::Kubernetes) => {
            "give the pod the device: with KubeVirt's device plugin `devices.kubevirt.io/kvm: 1` among its limits"
        }
        Some(Container::Lxc) => "at the container's host: `lxc config device add NAME kvm unix-char path=/dev/kvm`",
        Some(Container::Other) => "give the container the device /dev/kvm",
        None => "`sudo mknod -m 660 /dev/kvm c 10 232 && sudo chgrp kvm /dev/kvm` makes it anew",
    }
}

fn busy(seen: &Seen) -> &'static str {
    if seen.has_module("vboxdrv") {
        "`VBoxManage list runningvms` names VirtualBox's machines, `VBoxManage controlvm NAME acpipowerbutton` ends one; or \
         run this one there, too: `provision create --machine virtualbox`"
    } else {
        "end the other hypervisor's machines (VMware, a second one that is not KVM), then `provision doctor` again; without: \
         `provision create --accelerator tcg`"
    }
}
