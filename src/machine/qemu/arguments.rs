//! QEMU's command line, as a pure function of what is to be started.
//!
//! Everything a guest can see is named here and nothing is left to QEMU's defaults (`-nodefaults`), so that a machine
//! looks the same to its guest in every stage. See qemu(1).

use std::ffi::OsString;
use std::path::Path;

use crate::machine::accelerator::Accelerator;
use crate::machine::{Boot, Credential, Durability, Forward};

/// The name of QEMU's control socket in the run folder. It is given relative to that folder, QEMU's working folder,
/// since a socket's path may have no more than 107 bytes (unix(7)) and a machine's folder may be deep.
pub const QMP_SOCKET: &str = "qmp.sock";

/// The block node of the guest's disk when the machine starts; it gets others on top as moments are kept.
pub const DISK_NODE: &str = "disk";

/// The device that is the guest's disk.
pub const DISK_DEVICE: &str = "vda";

/// The virtual hardware that the user may choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Virtual CPUs.
    pub cpus: u32,
    /// Memory in MiB.
    pub memory_mib: u64,
}

/// Everything after `qemu-system-x86_64`.
pub fn arguments(boot: &Boot, accelerator: Accelerator, size: Size) -> Vec<OsString> {
    let mut args = Args::default();
    args.flags(["-nodefaults", "-no-user-config"]);
    args.option("-name", format!("provision-{}", boot.name));
    // obsolete, privileges, processes and scheduling: nothing that this QEMU needs (qemu(1), -sandbox).
    if cfg!(target_os = "linux") {
        args.option("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny");
    }
    hardware(&mut args, boot, accelerator, size);
    if let Some(forwards) = &boot.forwards {
        network(&mut args, forwards);
    }
    for Credential { name, file } in &boot.credentials {
        // systemd finds them under this name (systemd.system-credentials(7)); a file, since arguments are no secret.
        let option = format!("name=opt/io.systemd.credentials/{name},file=");
        args.option("-fw_cfg", joined(&option, file));
    }
    for text in &boot.oem_strings {
        args.option("-smbios", format!("type=11,value={}", text.replace(',', ",,")));
    }
    disk(&mut args, &boot.disk, boot.durability);
    if let Some(iso) = &boot.cdrom {
        cdrom(&mut args, iso);
    }
    serial(&mut args, "console", &boot.console());
    serial(&mut args, "installer", &boot.installer_log());
    // What SeaBIOS says until the boot loader runs, on the port of its CONFIG_DEBUG_IO.
    args.option("-chardev", joined("file,id=firmware,path=", &boot.firmware_log()));
    args.option("-device", "isa-debugcon,iobase=0x402,chardev=firmware");
    args.option("-display", "none");
    args.option("-qmp", format!("unix:{QMP_SOCKET},server=on,wait=off"));
    if boot.memory.is_some() {
        // Where from is told by its control socket, once it is known to fit.
        args.option("-incoming", "defer");
    }
    if let Some(direct) = &boot.kernel {
        // A reboot would begin the installation anew. From its disk a guest may reboot as it likes.
        args.flags(["-no-reboot"]);
        args.option("-kernel", &direct.kernel);
        args.option("-initrd", &direct.initrd);
        args.option("-append", &direct.arguments);
    }
    args.0
}

fn hardware(args: &mut Args, boot: &Boot, accelerator: Accelerator, size: Size) {
    args.option("-machine", "q35,smm=off,usb=off,vmport=off");
    args.option("-accel", accelerator.qemu_option());
    args.option("-cpu", accelerator.cpu_model());
    args.option("-smp", size.cpus.to_string());
    args.option("-m", format!("{}M", size.memory_mib));
    // The installer shows its text on a screen that is no PCI card: it neither moves the others' addresses nor brings a
    // graphics driver into the guest's initramfs. A machine that boots from its disk has none: its system's text goes to
    // the serial port, and emulated firmware takes six seconds to draw GRUB's empty one.
    if installs(boot) {
        args.option("-device", "isa-vga");
    } else {
        // Tells the guest's kernel that it goes on from a copy, so that it renews its entropy.
        args.option("-device", "vmgenid,guid=auto");
    }
    args.option("-device", "virtio-rng-pci,addr=0x5");
}

/// Whether it starts from a medium and not from its disk.
const fn installs(boot: &Boot) -> bool {
    boot.kernel.is_some() || boot.cdrom.is_some()
}

fn network(args: &mut Args, forwards: &[Forward]) {
    let forwards = forwards
        .iter()
        .map(|Forward { host, guest }| format!("hostfwd=tcp:127.0.0.1:{host}-:{guest}"));
    let user: Vec<String> = ["user".to_owned(), "id=net".to_owned()]
        .into_iter()
        .chain(forwards)
        .collect();
    args.option("-netdev", user.join(","));
    args.option("-device", "virtio-net-pci,netdev=net,addr=0x3,romfile=");
}

fn disk(args: &mut Args, disk: &Path, durability: Durability) {
    let cache = match durability {
        Durability::Scratch => "cache.direct=off,cache.no-flush=on",
        Durability::Kept => "cache.direct=off,cache.no-flush=off",
    };
    args.option(
        "-blockdev",
        joined(
            &format!(
                "driver=qcow2,node-name={DISK_NODE},discard=unmap,detect-zeroes=unmap,{cache},\
                 file.driver=file,file.discard=unmap,file.{},file.filename=",
                cache.replace(",cache", ",file.cache")
            ),
            disk,
        ),
    );
    args.option(
        "-device",
        format!("virtio-blk-pci,id={DISK_DEVICE},drive={DISK_NODE},addr=0x4,bootindex=1"),
    );
}

fn cdrom(args: &mut Args, iso: &Path) {
    args.option(
        "-blockdev",
        joined(
            "driver=raw,node-name=medium,read-only=on,file.driver=file,file.filename=",
            iso,
        ),
    );
    // A kernel given by hand takes the boot index 0.
    args.option("-device", "ide-cd,drive=medium,bus=ide.0,bootindex=2");
}

fn serial(args: &mut Args, id: &str, log: &Path) {
    args.option("-chardev", joined(&format!("file,id={id},path="), log));
    args.option("-serial", format!("chardev:{id}"));
}

/// `option` followed by a path; QEMU's option parser wants commas doubled.
fn joined(option: &str, path: &Path) -> OsString {
    let mut joined = OsString::from(option);
    let text = path.as_os_str().to_string_lossy();
    joined.push(text.replace(',', ",,"));
    joined
}

#[derive(Default)]
struct Args(Vec<OsString>);

impl Args {
    fn flags<const N: usize>(&mut self, flags: [&str; N]) {
        self.0.extend(flags.map(OsString::from));
    }

    fn option(&mut self, name: &str, value: impl Into<OsString>) {
        self.0.push(name.into());
        self.0.push(value.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::DirectKernel;

    fn boot() -> Boot {
        Boot {
            name: "jdoe".into(),
            disk: "/m/jdoe/disk.qcow2".into(),
            cdrom: None,
            kernel: None,
            forwards: None,
            credentials: Vec::new(),
            oem_strings: Vec::new(),
            durability: Durability::Kept,
            memory: None,
            run_dir: "/m/jdoe/run".into(),
        }
    }

    fn line(boot: &Boot, accelerator: Accelerator) -> String {
        let size = Size {
            cpus: 2,
            memory_mib: 4096,
        };
        let args = arguments(boot, accelerator, size);
        let words: Vec<_> = args.iter().map(|a| a.to_string_lossy()).collect();
        format!(" {} ", words.join(" "))
    }

    #[test]
    fn each_wish_becomes_its_option() {
        let forwards = Some(vec![
            Forward { host: 8443, guest: 443 },
            Forward { host: 40022, guest: 22 },
        ]);
        let kernel = Some(DirectKernel {
            kernel: "/w/vmlinuz".into(),
            initrd: "/w/initrd.gz".into(),
            arguments: "console=ttyS0 quiet".into(),
        });
        let cdrom = Some("/iso/a,b.iso".into());
        let credentials = vec![Credential {
            name: "provision.host-key",
            file: "/m/a,b/key".into(),
        }];
        let memory = Some("/m/moment".into());
        let table: [(Boot, Accelerator, &[&str], &[&str]); 8] = [
            (
                boot(),
                Accelerator::Tcg,
                &[
                    "-accel tcg",
                    "-smp 2",
                    "-m 4096M",
                    "-display none",
                    "-chardev file,id=firmware,path=/m/jdoe/run/firmware.log",
                    "vmgenid,guid=auto",
                ],
                &[
                    "-kernel",
                    "ide-cd",
                    "-netdev",
                    "-no-reboot",
                    "vga",
                    "ramfb",
                    "-incoming",
                ],
            ),
            (boot(), Accelerator::Kvm, &["-accel kvm", "-cpu host"], &["tcg"]),
            (
                Boot { forwards, ..boot() },
                Accelerator::Tcg,
                &["hostfwd=tcp:127.0.0.1:8443-:443,hostfwd=tcp:127.0.0.1:40022-:22"],
                &["hostfwd=tcp::"],
            ),
            (
                Boot { kernel, ..boot() },
                Accelerator::Tcg,
                &[
                    " -no-reboot ",
                    "-kernel /w/vmlinuz -initrd /w/initrd.gz -append console=ttyS0 quiet",
                    "isa-vga",
                ],
                &["vmgenid"],
            ),
            (
                Boot { cdrom, ..boot() },
                Accelerator::Tcg,
                &["file.filename=/iso/a,,b.iso", "read-only=on", "isa-vga"],
                &[],
            ),
            (
                Boot { memory, ..boot() },
                Accelerator::Tcg,
                &["-incoming defer"],
                &["/m/moment"],
            ),
            (
                Boot { credentials, ..boot() },
                Accelerator::Tcg,
                &["-fw_cfg name=opt/io.systemd.credentials/provision.host-key,file=/m/a,,b/key"],
                &[],
            ),
            (
                Boot {
                    durability: Durability::Scratch,
                    ..boot()
                },
                Accelerator::Tcg,
                &[
                    "cache.no-flush=on,file.driver",
                    "file.cache.no-flush=on",
                    "discard=unmap,detect-zeroes=unmap",
                ],
                &["no-flush=off"],
            ),
        ];
        for (boot, accelerator, present, absent) in table {
            let line = line(&boot, accelerator);
            for part in present {
                assert!(line.contains(part), "{part} is missing in {line}");
            }
            for part in absent {
                assert!(!line.contains(part), "{part} is in {line}");
            }
        }
    }

    #[test]
    fn a_string_for_the_firmware_s_tables_may_have_commas() {
        let oem_strings = vec!["io.systemd.credential:a=b,c".to_owned()];
        let line = line(&Boot { oem_strings, ..boot() }, Accelerator::Tcg);
        assert!(
            line.contains("-smbios type=11,value=io.systemd.credential:a=b,,c"),
            "{line}"
        );
    }

    #[test]
    fn nothing_is_left_to_defaults_or_the_network() {
        let line = line(&boot(), Accelerator::Tcg);
        assert!(line.contains(" -nodefaults "));
        assert!(line.contains("-qmp unix:qmp.sock,server=on,wait=off"));
        assert!(!line.contains("0.0.0.0") && !line.contains("-vnc"));
    }
}
