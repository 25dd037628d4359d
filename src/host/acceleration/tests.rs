use super::permission::Device;
use super::seen::{Container, lists_module, marked};
use super::*;

const INTEL: &str = "processor\t: 0\nflags\t\t: fpu vmx sse\nvmx flags\t: vnmi\n";
const AMD: &str = "flags\t\t: fpu svm sse\n";
const NONE: &str = "flags\t\t: fpu sse\n";
const VIRTUAL: &str = "flags\t\t: fpu sse hypervisor\n";

const ENOENT: i32 = 2;
const ENXIO: i32 = 6;
const EPERM: i32 = 1;
const EACCES: i32 = 13;
const ENODEV: i32 = 19;
const EMFILE: i32 = 24;

/// QEMU 10.0's words, the first two under a paravirtual KVM, the third when the kernel says EBUSY to `KVM_CREATE_VM`.
const MSR: &str = "qemu-system-x86_64: error: failed to set MSR 0x10a to 0xc000069\nqemu-system-x86_64: \
    target/i386/kvm/kvm.c:3849: kvm_buf_set_msrs: Assertion `ret == cpu->kvm_msr_buf->nmsrs' failed.";
const BUSY_WORDS: &str = "qemu-system-x86_64: -accel kvm: ioctl(KVM_CREATE_VM) failed: Device or resource busy\n\
    qemu-system-x86_64: -accel kvm: failed to initialize kvm: Device or resource busy";
const MEMORY: &str = "qemu-system-x86_64: -accel kvm: ioctl(KVM_CREATE_VM) failed: Cannot allocate memory";

/// An Intel host with everything in order, on which `change` is made.
fn seen(change: impl FnOnce(&mut Seen)) -> Seen {
    let mut seen = Seen {
        architecture: "x86_64".into(),
        kernel: "6.12.1-amd64".into(),
        cpuinfo: INTEL.into(),
        modules: modules(&["kvm", "kvm_intel"]),
        shipped: Shipped::Yes,
        opened: Ok(()),
        device: Some(device(0o660, 107, Some("kvm"))),
        container: None,
        product: "LENOVO\n20XW\n".into(),
        ci: false,
    };
    change(&mut seen);
    seen
}

fn modules(names: &[&str]) -> std::collections::BTreeSet<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

fn device(mode: u32, gid: u32, group: Option<&str>) -> Device {
    Device {
        mode,
        gid,
        group: group.map(str::to_owned),
        in_group: false,
        listed: false,
    }
}

/// A host whose device is not there.
fn absent(cpuinfo: &str, loaded: &[&str], change: impl FnOnce(&mut Seen)) -> Seen {
    seen(|seen| {
        seen.cpuinfo = cpuinfo.into();
        seen.modules = modules(loaded);
        seen.opened = Err(ENOENT);
        seen.device = None;
        change(seen);
    })
}

fn state(diagnosis: &Diagnosis) -> String {
    let value = serde_json::to_value(diagnosis).unwrap();
    value["state"].as_str().unwrap().to_owned()
}

#[test]
fn nothing_is_said_of_a_device_that_opens() {
    // Its own answer counts more than the flags: a host without them may still lend a working device.
    for cpuinfo in [INTEL, NONE] {
        let seen = seen(|seen| seen.cpuinfo = cpuinfo.into());
        assert_eq!(Diagnosis::before_probe(&seen), None);
    }
}

#[test]
fn what_is_missing_is_told_apart() {
    let same = |_: &mut Seen| ();
    let docker = |seen: &mut Seen| seen.container = Some(Container::Docker);
    for (seen, wanted, hint) in [
        (absent(NONE, &[], same), "no_cpu_flag", "firmware-setup"),
        (
            absent(NONE, &["kvm", "kvm_intel"], same),
            "no_cpu_flag",
            "firmware-setup",
        ),
        (absent(VIRTUAL, &[], same), "no_cpu_flag", "nested virtualisation"),
        (absent(INTEL, &[], same), "module_missing", "sudo modprobe kvm_intel"),
        (absent(AMD, &["kvm"], same), "module_missing", "sudo modprobe kvm_amd"),
        (
            absent(AMD, &[], docker),
            "module_missing",
            "at the container's host: `sudo modprobe kvm_amd`",
        ),
        (
            absent(INTEL, &[], |seen| seen.shipped = Shipped::NoFolder),
            "module_missing",
            "restart",
        ),
        (
            absent(INTEL, &[], |seen| seen.shipped = Shipped::No),
            "module_unavailable",
            "linux-image-amd64",
        ),
        (absent(INTEL, &["kvm", "kvm_intel"], same), "device_missing", "mknod"),
        (
            absent(AMD, &["kvm", "kvm_amd"], docker),
            "device_missing",
            "docker run --device /dev/kvm",
        ),
        (
            absent(VIRTUAL, &["kvm", "kvm_pvm"], docker),
            "device_missing",
            "--device /dev/kvm",
        ),
        (
            absent(INTEL, &[], |seen| seen.opened = Err(ENODEV)),
            "module_missing",
            "modprobe",
        ),
        (
            absent(INTEL, &[], |seen| seen.opened = Err(ENXIO)),
            "module_missing",
            "modprobe",
        ),
        (seen(|seen| seen.opened = Err(EACCES)), "no_permission", "usermod"),
        (
            seen(|seen| seen.opened = Err(EPERM)),
            "no_permission",
            "--device /dev/kvm",
        ),
        (
            seen(|seen| {
                seen.opened = Err(EACCES);
                seen.modules = modules(&["kvm", "kvm_pvm"]);
            }),
            "no_permission",
            "guests may run under kvm_pvm or not",
        ),
        (seen(|seen| seen.opened = Err(EMFILE)), "refused", "--accelerator tcg"),
        (
            seen(|seen| seen.architecture = "aarch64".into()),
            "other_processor",
            "--accelerator tcg",
        ),
    ] {
        let found = Diagnosis::before_probe(&seen).unwrap();
        assert_eq!(state(&found), wanted, "{seen:?}");
        let said = found.hint.as_deref().unwrap();
        assert!(said.contains(hint) && said.contains('`'), "{wanted}: {said}");
        assert!(!found.works());
        assert_eq!(found.reason().lines().count(), 1);
    }
}

fn refused(message: &str) -> Verdict {
    Verdict::Refused(message.into())
}

/// Fails unless a probe's outcome means this.
#[track_caller]
fn means(seen: &Seen, verdict: &Verdict, wanted: &str, reason: &str, hint: &str) {
    let found = Diagnosis::after_probe(seen, "KVM", verdict);
    assert_eq!(state(&found), wanted, "{verdict:?}");
    assert!(found.reason().contains(reason), "{wanted}: {}", found.reason());
    let said = found.hint.as_deref();
    assert!(said.unwrap_or_default().contains(hint), "{wanted}: {said:?}");
    assert_eq!(said.is_none(), found.works());
    assert_eq!(found.passes(), wanted == "busy");
}

#[test]
fn a_probe_tells_the_rest() {
    let whole = seen(|_| ());
    let pvm = seen(|seen| {
        seen.cpuinfo = VIRTUAL.into();
        seen.modules = modules(&["kvm", "kvm_pvm"]);
    });
    let vbox = seen(|seen| seen.modules = modules(&["kvm", "kvm_intel", "vboxdrv"]));
    let crashed = Verdict::Crashed(MSR.into());
    let msr = refused("qemu: error: failed to set MSR 0x48f");
    let (busy, memory, silence) = (refused(BUSY_WORDS), refused(MEMORY), refused(""));
    let other = "another hypervisor holds";
    for (seen, verdict, wanted, reason, hint) in [
        (&whole, &Verdict::Runs, "works", "KVM: a guest runs", ""),
        (&whole, &Verdict::Silent, "runs_nothing", "executes nothing", "tcg"),
        (&pvm, &Verdict::Silent, "runs_nothing", "executes nothing", "nested"),
        (&pvm, &crashed, "limited", "kvm_pvm", "--accelerator tcg"),
        (&whole, &crashed, "limited", "lacks what QEMU needs", "tcg"),
        (&whole, &msr, "limited", "lacks", "tcg"),
        (&vbox, &busy, "busy", other, "VBoxManage list runningvms"),
        (&whole, &busy, "busy", other, "VMware"),
        (&whole, &memory, "refused", "failed: Cannot allocate", "tcg"),
        (&whole, &silence, "refused", "says nothing", "tcg"),
    ] {
        means(seen, verdict, wanted, reason, hint);
    }
}

#[test]
fn macos_own_words_are_understood() {
    let whole = seen(|_| ());
    let arm = seen(|seen| seen.architecture = "arm64".into());
    for (seen, words, wanted, reason, hint) in [
        (&whole, "Error: HV_BUSY (0xfae94002)", "busy", "another", "tcg"),
        (&whole, "Error: HV_DENIED (0xfae94007)", "refused", "DENIED", "brew"),
        (&whole, "Error: HV_UNSUPPORTED", "no_cpu_flag", "shows no", ""),
        (&arm, "invalid accelerator hvf", "other_processor", "arm64", "tcg"),
    ] {
        means(seen, &refused(words), wanted, reason, hint);
    }
}

#[test]
fn a_person_is_spared_what_qemu_says() {
    let found = Diagnosis::after_probe(&seen(|_| ()), "KVM", &Verdict::Crashed(MSR.into()));
    for part in ["MSR", "Assertion", "qemu-system"] {
        assert!(!found.reason().contains(part), "{}", found.reason());
        assert!(found.message().unwrap().contains(part));
    }
    let long = format!("qemu-system-x86_64: -accel kvm: {}\nmore", "word ".repeat(100));
    let found = Diagnosis::after_probe(&seen(|_| ()), "KVM", &Verdict::Refused(long));
    assert!(found.reason().starts_with("word word") && found.reason().chars().count() <= 101);
}

#[test]
fn the_host_of_a_virtual_machine_is_told_by_its_firmware() {
    for (product, kernel, hint) in [
        ("innotek GmbH\nVirtualBox\n", "6.12", "--nested-hw-virt on"),
        ("VMware, Inc.\nVMware20,1\n", "6.12", "vhv.enable"),
        (
            "Microsoft Corporation\nVirtual Machine\n",
            "6.12",
            "ExposeVirtualizationExtensions",
        ),
        ("", "5.15.153.1-microsoft-standard-WSL2", "wsl --shutdown"),
        ("QEMU\nStandard PC (Q35 + ICH9, 2009)\n", "6.12", "host-passthrough"),
        (
            "Google\nGoogle Compute Engine\n",
            "6.12",
            "--enable-nested-virtualization",
        ),
        ("Amazon EC2\nm5.large\n", "6.12", ".metal"),
        ("", "6.12", "nested virtualisation"),
    ] {
        let seen = absent(VIRTUAL, &[], |seen| {
            seen.product = product.into();
            seen.kernel = kernel.into();
        });
        let said = Diagnosis::before_probe(&seen).unwrap().hint.unwrap();
        assert!(
            said.contains(hint) && said.contains("--accelerator tcg"),
            "{product}: {said}"
        );
    }
}

#[test]
fn who_may_not_open_the_device_is_told_what_lets_him_in() {
    let in_group = |device: Device| Device {
        in_group: true,
        ..device
    };
    let listed = |device: Device| Device { listed: true, ..device };
    let kvm = || device(0o660, 107, Some("kvm"));
    let (docker, none) = (Some(Container::Docker), None);
    for (device, container, ci, hint) in [
        (kvm(), none, false, "`sudo usermod -aG kvm \"$USER\"`"),
        (
            device(0o660, 36, Some("qemu")),
            none,
            false,
            "`sudo usermod -aG qemu \"$USER\"`",
        ),
        (listed(kvm()), none, false, "`newgrp kvm`"),
        (kvm(), none, true, "/etc/udev/rules.d/99-kvm4all.rules"),
        (
            device(0o600, 0, Some("root")),
            none,
            false,
            "/etc/udev/rules.d/99-kvm4all.rules",
        ),
        (
            device(0o660, 0, Some("root")),
            none,
            false,
            "/etc/udev/rules.d/99-kvm4all.rules",
        ),
        (
            device(0o660, 107, None),
            none,
            false,
            "/etc/udev/rules.d/99-kvm4all.rules",
        ),
        // An access control list, or the group's mask, is in the way.
        (in_group(kvm()), none, false, "setfacl -m \"u:$USER:rw\" /dev/kvm"),
        (device(0o660, 107, None), docker, false, "--group-add 107"),
        (device(0o600, 0, Some("root")), docker, false, "`chmod 666 /dev/kvm`"),
    ] {
        let seen = seen(|seen| {
            seen.opened = Err(EACCES);
            seen.device = Some(device.clone());
            seen.container = container;
            seen.ci = ci;
        });
        let found = Diagnosis::before_probe(&seen).unwrap();
        assert_eq!(found.acceleration, Acceleration::NoPermission);
        assert!(
            found.hint.as_deref().unwrap().contains(hint),
            "{device:?}: {:?}",
            found.hint
        );
    }
}

#[test]
fn modules_are_found_in_the_kernels_lists() {
    for (list, module, there) in [
        (
            "kernel/arch/x86/kvm/kvm-intel.ko.xz: kernel/arch/x86/kvm/kvm.ko.xz\n",
            "kvm_intel",
            true,
        ),
        (
            "kernel/arch/x86/kvm/kvm-amd.ko: kernel/virt/lib/irqbypass.ko\n",
            "kvm_amd",
            true,
        ),
        (
            "kernel/arch/x86/kvm/kvm-intel.ko.xz: kernel/arch/x86/kvm/kvm.ko.xz\n",
            "kvm_amd",
            false,
        ),
        // A builtin one, and one that is only needed by another.
        ("kernel/arch/x86/kvm/kvm-amd.ko\n", "kvm_amd", true),
        ("kernel/x.ko: kernel/arch/x86/kvm/kvm-amd.ko\n", "kvm_amd", false),
        ("", "kvm_amd", false),
    ] {
        assert_eq!(lists_module(list, module), there, "{list}");
    }
}

#[test]
fn containers_are_told_by_what_their_engines_leave() {
    for (docker, podman, told, container) in [
        (false, false, None, None),
        (true, false, None, Some(Container::Docker)),
        (false, true, Some("oci\n"), Some(Container::Podman)),
        (false, false, Some("lxc\n"), Some(Container::Lxc)),
        (false, false, Some("systemd-nspawn\n"), Some(Container::Other)),
    ] {
        assert_eq!(marked(docker, podman, told), container);
    }
}

#[test]
fn groups_are_found_by_number() {
    let file = "root:x:0:\nkvm:x:107:jdoe,asmith\nbroken\n";
    assert_eq!(permission::group(file, 107), Some(("kvm", "jdoe,asmith")));
    assert_eq!(permission::group(file, 0), Some(("root", "")));
    assert_eq!(permission::group(file, 1), None);
}
