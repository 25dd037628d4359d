//! What is said is told with the right way out. Texts marked "7.2.22" were printed by the real programs in the state that
//! they tell of; the others are from reports of users.

use super::*;

/// 7.2.22, no device.
const NO_DEVICE: &str = "VBoxHeadless: Error -1908 in suplibOsInit!\nVBoxHeadless: Kernel driver not installed\n\nVBoxHeadless: Tip! Make sure the kernel module is loaded. It may also help to reinstall VirtualBox.\n";
/// 7.2.22, a device file without a driver.
const NO_LOAD: &str = "VBoxHeadless: Error -1910 in suplibOsInit!\nVBoxHeadless: VERR_VM_DRIVER_LOAD_ERROR\n\nVBoxHeadless: Tip! Make sure the kernel module is loaded. It may also help to reinstall VirtualBox.\n";
/// 7.2.22, a device file of another driver.
const MISMATCH: &str = "VBoxHeadless: Error -1912 in supR3HardenedMainInitRuntime!\nVBoxHeadless: RTR3InitEx failed with rc=-1912 (fRtFlags=0x10000)\n\nVBoxHeadless: Tip! It may help to reinstall VirtualBox.\n";
/// 7.2.22.
const WRITABLE: &str = "VBoxHeadless: supR3HardenedVerifyDir: Cannot trust the directory \"/usr/lib/virtualbox\": group and/or other writable (st_mode=040757)\n";
/// 7.2.22, `startvm` without the driver.
const STARTVM: &str = "VBoxManage: error: The virtual machine 'w3' has terminated unexpectedly during startup with exit code 1 (0x1)\nVBoxManage: error: Details: code NS_ERROR_FAILURE (0x80004005), component MachineWrap, interface IMachine\n";
const KVM: &str = "VBoxManage: error: VT-x is being used by another hypervisor (VERR_VMX_IN_VMX_ROOT_MODE).\nVBoxManage: error: VirtualBox can't operate in VMX root mode. Please disable the KVM kernel extension, recompile your kernel and reboot (VERR_VMX_IN_VMX_ROOT_MODE)\nVBoxManage: error: Details: code NS_ERROR_FAILURE (0x80004005), component ConsoleWrap, interface IConsole\n";
const AMD: &str = "VirtualBox can't enable the AMD-V extension. Please disable the KVM kernel extension, recompile your kernel and reboot (VERR_SVM_IN_USE).";
const FIRMWARE: &str = "VT-x features locked or unavailable in MSR (VERR_VMX_MSR_LOCKED_OR_DISABLED)";
const REJECTED: &str = "modprobe: ERROR: could not insert 'vboxdrv': Key was rejected by service";
/// 7.2.22.
const EXISTS: &str = "VBoxManage: error: Machine settings file '/m/base/base.vbox' already exists\nVBoxManage: error: Details: code VBOX_E_FILE_ERROR (0x80bb0004), component MachineWrap, interface IMachine, callee nsISupports\nVBoxManage: error: Context: \"CreateMachine(bstrSettingsFile.raw(), machine.asOutParam())\" at line 429 of file VBoxManageMisc.cpp\n";
/// 7.2.22.
const CHILDREN: &str = "0%...10%...VBOX_E_OBJECT_IN_USE\nVBoxManage: error: Machine delete failed\nVBoxManage: error: Cannot close medium '/l/disk.vdi' because it has 1 child media\nVBoxManage: error: Details: code VBOX_E_OBJECT_IN_USE (0x80bb000c), component MediumWrap, interface IMedium\n";
/// 7.2.22.
const ORPHAN: &str = "VBoxManage: error: Could not find an open hard disk with UUID {cf2f8e30-a765-4b1f-aa00-9c9563485514}\nVBoxManage: error: Details: code VBOX_E_OBJECT_NOT_FOUND (0x80bb0001), component VirtualBoxWrap, interface IVirtualBox, callee nsISupports\n";

#[test]
fn the_usual_failures_have_their_way_out() {
    let table = [
        (NO_DEVICE, Cause::HostMissing, "modprobe vboxdrv"),
        (NO_LOAD, Cause::HostMissing, "modprobe vboxdrv"),
        (MISMATCH, Cause::HostMissing, "another version"),
        (WRITABLE, Cause::HostMissing, "chmod go-w"),
        (STARTVM, Cause::Machine, "/dev/vboxdrv"),
        (KVM, Cause::HostMissing, "modprobe -r kvm_intel"),
        (AMD, Cause::HostMissing, "kvm_amd"),
        (FIRMWARE, Cause::HostMissing, "firmware"),
        (REJECTED, Cause::HostMissing, "mokutil"),
        (EXISTS, Cause::Busy, "--name NAME"),
        (CHILDREN, Cause::Busy, "remove that first"),
        (ORPHAN, Cause::Machine, "provision create"),
        ("VD: error VERR_DISK_FULL", Cause::Space, "cache prune"),
    ];
    for (said, cause, hint) in table {
        let fault = fault("VBoxManage", said, false);
        assert_eq!(fault.cause, cause, "{said}");
        let told = fault.hint.unwrap_or_default();
        assert!(told.contains(hint), "{said}: {told}");
    }
}

#[test]
fn under_secure_boot_a_missing_driver_is_one_that_is_not_signed() {
    for said in [NO_DEVICE, NO_LOAD] {
        assert!(fault("x", said, true).hint.unwrap().contains("mokutil"));
    }
    assert!(!fault("x", KVM, true).hint.unwrap().contains("mokutil"));
}

#[test]
fn its_own_message_is_shown_and_nothing_else() {
    let table = [
        (
            NO_DEVICE,
            "VBoxHeadless: Error -1908 in suplibOsInit!; Kernel driver not installed",
        ),
        (
            EXISTS,
            "VBoxHeadless: Machine settings file '/m/base/base.vbox' already exists (VBOX_E_FILE_ERROR)",
        ),
        (
            CHILDREN,
            "VBoxHeadless: Machine delete failed; Cannot close medium '/l/disk.vdi' because it has 1 child media (VBOX_E_OBJECT_IN_USE)",
        ),
        (
            "Usage - Change settings\n\nVBoxManage: error: Unknown option: --nonsense\nUsage\nVBoxManage: error: Unknown option: --nonsense\n",
            "VBoxHeadless: Unknown option: --nonsense",
        ),
        ("", "VBoxHeadless failed and said nothing"),
    ];
    for (said, expected) in table {
        assert_eq!(fault("VBoxHeadless", said, false).message, expected);
    }
}

#[test]
fn what_is_unknown_is_shown_without_advice() {
    let fault = fault(
        "VBoxManage modifyvm",
        "VBoxManage: error: Invalid virtual CPU count: 999\n",
        false,
    );
    assert_eq!(fault.message, "VBoxManage modifyvm: Invalid virtual CPU count: 999");
    assert_eq!(fault.hint, None);
    assert_eq!(fault.cause, Cause::Machine);
}
