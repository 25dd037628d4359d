//! `VBoxManage`'s arguments, as pure functions of what is to be done.
//!
//! A machine is named by its settings file everywhere: names need not be unique, and a machine that lies elsewhere than
//! it did is not found. See the manual's reference of `VBoxManage` for each version, and for what it leaves out its
//! source (`VBoxManageModifyVM.cpp`): up to 6.1 options have no hyphens (`--rtcuseutc`), 7.0 renamed most of them
//! (`--rtc-use-utc`) and takes the old names as well, up to 7.2. So the old ones are used here, and [`Version`] decides
//! where there is no common one.

use std::ffi::OsString;
use std::path::Path;

use super::vboxmanage::Version;
use crate::machine::qemu::arguments::Size;
use crate::machine::{Boot, Durability, Forward};

/// The storage controller of disk and medium.
pub const CONTROLLER: &str = "SATA";

/// The disk's port on it.
pub const DISK_PORT: u8 = 0;

/// The medium's port on it.
pub const MEDIUM_PORT: u8 = 1;

/// One call's arguments.
pub type Arguments = Vec<OsString>;

/// Makes and registers a machine in the folder `NAME` of `folder`.
///
/// `Linux26_64` is every 64-bit Linux since 2.6: it says nothing of the guest that the options here do not set. The
/// architecture can be told since 7.1, whose hosts may be ARM machines.
pub fn create(name: &str, folder: &Path, version: Version) -> Arguments {
    let mut args = Args::new(["createvm", "--register", "--ostype", "Linux26_64", "--name", name]);
    if version >= Version::new(7, 1) {
        args.flags(["--platform-architecture", "x86"]);
    }
    args.option("--basefolder", folder);
    args.0
}

/// Sets everything that a guest can see, and what it needs nothing of off.
///
/// The card is an Intel 82540EM, which every kernel and installer knows, in PCI slot 3, where `VirtualBox` puts the
/// first card; the address of its own makes that a clone is given none of another.
pub fn hardware(machine: &Path, boot: &Boot, size: Size, version: Version) -> Arguments {
    let mut args = Args::about("modifyvm", machine);
    args.flags(["--cpus".into(), size.cpus.to_string()]);
    args.flags(["--memory".into(), size.memory_mib.to_string()]);
    args.flags([
        "--firmware",
        "bios",
        "--chipset",
        "piix3",
        "--acpi",
        "on",
        "--ioapic",
        "on",
    ]);
    args.flags(["--rtcuseutc", "on", "--paravirtprovider", "kvm"]);
    args.flags(["--graphicscontroller", "vmsvga", "--vram", "16"]);
    args.flags(["--mouse", "ps2", "--keyboard", "ps2"]);
    args.flags(["--usb", "off", "--usbehci", "off", "--usbxhci", "off"]);
    args.flags([
        "--boot1", "disk", "--boot2", "dvd", "--boot3", "none", "--boot4", "none",
    ]);
    args.flags(["--biosbootmenu", "disabled", "--bioslogodisplaytime", "0"]);
    args.flags(["--bioslogofadein", "off", "--bioslogofadeout", "off"]);
    args.flags([
        "--vrde",
        "off",
        "--clipboard-mode",
        "disabled",
        "--draganddrop",
        "disabled",
    ]);
    args.flags(sound_off(version));
    args.flags([
        "--nic1",
        "nat",
        "--nictype1",
        "82540EM",
        "--macaddress1",
        "080027000001",
    ]);
    args.flags(["--cableconnected1", "on"]);
    if version >= Version::new(7, 0) {
        // Before, the host's 127.0.0.1 was always there at 10.0.2.2.
        args.flags(["--nat-localhostreachable1", "on"]);
    }
    args.flags(["--uart1", "0x3F8", "4", "--uartmode1", "file"]);
    args.0.push(boot.console().into());
    args.flags(["--uart2", "0x2F8", "3", "--uartmode2", "file"]);
    args.0.push(boot.installer_log().into());
    args.0
}

/// 7.0 tells the host's driver from whether there is a card, and wants `--audio` no more.
fn sound_off(version: Version) -> Vec<&'static str> {
    if version >= Version::new(7, 0) {
        vec!["--audio-driver", "none", "--audio-enabled", "off"]
    } else {
        vec!["--audio", "none"]
    }
}

/// Replaces the forwards called `names` by `forwards`; takes the network card out where there are to be none.
pub fn forwards(machine: &Path, names: &[&str], forwards: Option<&[Forward]>) -> Arguments {
    let mut args = Args(replace_forwards(machine, names, forwards.unwrap_or_default()));
    args.flags(["--nic1", if forwards.is_some() { "nat" } else { "none" }]);
    args.0
}

/// The same for the card that is there, which is all that may be changed beside a saved memory.
pub fn replace_forwards(machine: &Path, names: &[&str], forwards: &[Forward]) -> Arguments {
    let mut args = Args::about("modifyvm", machine);
    for name in names {
        args.flags(["--natpf1", "delete", name]);
    }
    for Forward { host, guest } in forwards {
        args.flags(["--natpf1".into(), format!("port{guest},tcp,127.0.0.1,{host},,{guest}")]);
    }
    args.0
}

/// Gives the machine a name; its folder and its settings file are renamed with it.
pub fn rename(machine: &Path, name: &str) -> Arguments {
    Args::about("modifyvm", machine).and(["--name", name])
}

/// Adds the storage controller. The host's cache makes that the guest's writes need no thread of `VirtualBox`'s own, and
/// that a killed machine loses nothing that it had written.
pub fn controller(machine: &Path) -> Arguments {
    let mut args = Args::about("storagectl", machine);
    args.flags(["--name", CONTROLLER, "--add", "sata", "--controller", "IntelAhci"]);
    args.flags(["--portcount", "2", "--hostiocache", "on", "--bootable", "on"]);
    args.0
}

/// Creates an empty disk of `gib` GiB that takes only what is written to it.
pub fn create_disk(disk: &Path, gib: u64) -> Arguments {
    let mut args = Args::new(["createmedium", "disk", "--format", "VDI", "--variant", "Standard"]);
    args.flags(["--size".into(), (gib * 1024).to_string()]);
    args.option("--filename", disk);
    args.0
}

/// Attaches the disk; what the guest discards is given back to the host.
pub fn attach_disk(machine: &Path, disk: &Path) -> Arguments {
    let mut args = Args(port(machine, DISK_PORT));
    args.flags(["--type", "hdd", "--discard", "on", "--nonrotational", "on"]);
    args.option("--medium", disk);
    args.0
}

/// Puts an installation medium into a drive.
pub fn attach_medium(machine: &Path, iso: &Path) -> Arguments {
    let mut args = Args(port(machine, MEDIUM_PORT));
    args.flags(["--type", "dvddrive"]);
    args.option("--medium", iso);
    args.0
}

/// Takes the drive out.
pub fn detach_medium(machine: &Path) -> Arguments {
    Args(port(machine, MEDIUM_PORT)).and(["--medium", "none"])
}

/// Empties the drive, whatever the guest thinks of that.
pub fn eject_medium(machine: &Path) -> Arguments {
    Args(port(machine, MEDIUM_PORT)).and(["--medium", "emptydrive", "--forceunmount"])
}

fn port(machine: &Path, port: u8) -> Arguments {
    let mut args = Args::about("storageattach", machine);
    args.flags(["--storagectl", CONTROLLER, "--device", "0"]);
    args.flags(["--port".into(), port.to_string()]);
    args.0
}

/// The settings that have no option: the disk's serial number, which would be another in each clone and with it the
/// guest's `/dev/disk/by-id`; and whether what the guest flushes is flushed on the host (the manual, "Configuring the
/// hard disk vendor product data" and "Responding to guest IDE/SATA flush requests").
pub fn extra_data(machine: &Path, durability: Durability) -> [Arguments; 2] {
    let ignore_flush = match durability {
        Durability::Scratch => "1",
        Durability::Kept => "0",
    };
    [
        set_extra_data(
            machine,
            "VBoxInternal/Devices/ahci/0/Config/Port0/SerialNumber",
            "provision",
        ),
        set_extra_data(
            machine,
            "VBoxInternal/Devices/ahci/0/LUN#0/Config/IgnoreFlush",
            ignore_flush,
        ),
    ]
}

/// Remembers a value with a machine.
pub fn set_extra_data(machine: &Path, key: &str, value: &str) -> Arguments {
    Args::about("setextradata", machine).and([key, value])
}

/// The arguments of `VBoxHeadless`, which is the machine's process and ends with it.
pub fn headless(machine: &Path) -> Arguments {
    Args::about("--startvm", machine).and(["--vrde", "off"])
}

/// Gives an order to a running machine.
pub fn control(machine: &Path, order: &str) -> Arguments {
    Args::about("controlvm", machine).and([order])
}

/// Writes what the screen shows.
pub fn screenshot(machine: &Path, file: &Path) -> Arguments {
    let mut args = Args(control(machine, "screenshotpng"));
    args.0.push(file.into());
    args.0
}

/// Drops a saved state: the machine starts from its disk.
pub fn discard_state(machine: &Path) -> Arguments {
    Args::about("discardstate", machine).0
}

/// Takes a snapshot.
pub fn take_snapshot(machine: &Path, name: &str) -> Arguments {
    Args::about("snapshot", machine).and(["take", name])
}

/// Takes a snapshot with the memory of a machine that runs, and goes on running.
pub fn take_live_snapshot(machine: &Path, name: &str) -> Arguments {
    Args::about("snapshot", machine).and(["take", name, "--live"])
}

/// Gives a machine disk and settings of a snapshot, and the state that was saved with it.
pub fn restore_snapshot(machine: &Path, uuid: &str) -> Arguments {
    Args::about("snapshot", machine).and(["restore", uuid])
}

/// Deletes a snapshot; what its disk holds goes into that on it.
pub fn delete_snapshot(machine: &Path, uuid: &str) -> Arguments {
    Args::about("snapshot", machine).and(["delete", uuid])
}

/// Makes and registers a machine whose disk holds what differs from a snapshot of another.
pub fn link(of: &Path, snapshot: &str, name: &str, folder: &Path) -> Arguments {
    let mut args = Args::about("clonevm", of);
    args.flags([
        "--snapshot",
        snapshot,
        "--options",
        "link",
        "--register",
        "--name",
        name,
    ]);
    args.option("--basefolder", folder);
    args.0
}

/// Moves a machine with its disks into the folder of its name in `folder`.
pub fn move_to(machine: &Path, folder: &Path) -> Arguments {
    let mut args = Args(Args::about("movevm", machine).and(["--type", "basic"]));
    args.option("--folder", folder);
    args.0
}

/// Makes a machine known.
pub fn register(machine: &Path) -> Arguments {
    Args::about("registervm", machine).0
}

/// Makes a machine unknown and leaves its files.
pub fn unregister(uuid: &str) -> Arguments {
    Args::new(["unregistervm", uuid]).0
}

/// Makes a machine unknown and deletes its files.
pub fn delete(uuid: &str) -> Arguments {
    Args::new(["unregistervm", uuid, "--delete"]).0
}

/// Tells everything of a machine, for programs.
pub fn show(machine: &Path) -> Arguments {
    Args::about("showvminfo", machine).and(["--machinereadable"])
}

/// Tells of a disk; one that is not known becomes known, until `VirtualBox`'s service ends.
pub fn open_disk(disk: &Path) -> Arguments {
    let mut args = Args::new(["showmediuminfo", "disk"]);
    args.0.push(disk.into());
    args.0
}

/// Copies all of a disk, what lies under it too, to a new file.
pub fn clone_disk(disk: &Path, to: &Path) -> Arguments {
    let mut args = Args::new(["clonemedium", "disk"]);
    args.0.push(disk.into());
    args.0.push(to.into());
    args.flags(["--format", "VDI"]);
    args.0
}

/// Makes the disk in a file unknown and leaves the file.
pub fn close_file(disk: &Path) -> Arguments {
    let mut args = Args::new(["closemedium", "disk"]);
    args.0.push(disk.into());
    args.0
}

/// Makes a disk unknown and leaves its file.
pub fn close_disk(uuid: &str) -> Arguments {
    Args::new(["closemedium", "disk", uuid]).0
}

/// Makes an installation medium unknown and leaves its file.
pub fn close_medium(iso: &Path) -> Arguments {
    let mut args = Args::new(["closemedium", "dvd"]);
    args.0.push(iso.into());
    args.0
}

/// Tells where a disk that is known lies now.
pub fn relocate(uuid: &str, disk: &Path) -> Arguments {
    let mut args = Args::new(["modifymedium", "disk", uuid]);
    args.option("--setlocation", disk);
    args.0
}

/// Lists machines at length: the settings file of one that is not accessible is told nowhere else.
pub fn list_machines() -> Arguments {
    Args::new(["list", "--long", "vms"]).0
}

/// Lists installation media.
pub fn list_media() -> Arguments {
    Args::new(["list", "dvds"]).0
}

/// Lists disks.
pub fn list_disks() -> Arguments {
    Args::new(["list", "hdds"]).0
}

struct Args(Arguments);

impl Args {
    fn new<const N: usize>(words: [&str; N]) -> Self {
        Self(words.map(OsString::from).to_vec())
    }

    /// A command about a machine.
    fn about(command: &str, machine: &Path) -> Self {
        Self(vec![command.into(), machine.into()])
    }

    fn flags(&mut self, words: impl IntoIterator<Item = impl Into<OsString>>) {
        self.0.extend(words.into_iter().map(Into::into));
    }

    fn option(&mut self, name: &str, value: &Path) {
        self.0.push(name.into());
        self.0.push(value.into());
    }

    fn and<const N: usize>(mut self, words: [&str; N]) -> Arguments {
        self.flags(words);
        self.0
    }
}

#[cfg(test)]
#[path = "tests/arguments.rs"]
mod tests;
