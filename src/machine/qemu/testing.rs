//! Real machines for tests, whose guest is a boot sector of a few bytes.

use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use super::arguments::{self, Size};
use super::memory::Hardware;
use super::{Qemu, runs};
use crate::cancel::Cancel;
use crate::machine::accelerator::Accelerator;
use crate::machine::{Boot, Durability};
use crate::process::guardian::{LOG_FILE, PID_FILE};
use crate::process::{self, CommandLine};
use crate::wait::Wait;

pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// How long a condition may take that is sure to come: long, since the host may be busy.
const PATIENCE: Duration = Duration::from_secs(600);

/// Does nothing, and does not hear the power button.
pub(crate) const DEAF: &[u8] = &[
    0xfa, //       cli
    0xf4, //       hlt
    0xeb, 0xfd, // jmp to hlt
];

/// Writes the BIOS again and again, 64 sectors in each 128, until the end of the disk or of the host's.
pub(crate) const WRITES: &[u8] = &[
    0xfc, //                               cld
    0x31, 0xc0, //                         xor ax, ax
    0x8e, 0xd8, //                         mov ds, ax
    0xbe, 22, 0x7c, //                     mov si, 0x7c00 + the length of this code
    0xb8, 0x00, 0x43, //                   mov ax, 0x4300 (extended write)
    0xcd, 0x13, //                         int 0x13
    0x81, 0x06, 30, 0x7c, 0x80, 0x00, //   add word [the packet's sector], 128
    0xeb, 0xf3, //                         jmp to mov ax
    0x90, //                               nop
    // The packet: its length, 64 sectors from f000:0000 to sector 128.
    0x10, 0x00, 64, 0x00, 0x00, 0x00, 0x00, 0xf0, 128, 0, 0, 0, 0, 0, 0, 0,
];

/// Prints a dot on the first serial port and reboots.
pub(crate) const REBOOTS: &[u8] = &[
    0xba, 0xf8, 0x03, // mov dx, 0x3f8 (COM1)
    0xb0, b'.', //       mov al, '.'
    0xee, //             out dx, al
    0xba, 0xf9, 0x0c, // mov dx, 0xcf9 (reset control)
    0xb0, 0x06, //       mov al, 6
    0xee, //             out dx, al
    0xeb, 0xfe, //       jmp to itself
];

/// Prints the letters from a to z on the first serial port again and again, one with each tick of the timer, and writes
/// each to the beginning of sector 2.
pub(crate) const COUNTS: &[u8] = &[
    0xfc, //                         cld
    0x31,
    0xc0, //                   xor ax, ax
    0x8e,
    0xd8, //                   mov ds, ax
    0x8e,
    0xd0, //                   mov ss, ax
    0xbc,
    0x00,
    0x7c, //             mov sp, 0x7c00
    0xfb, //                         sti
    0xb3,
    b'a', //                   mov bl, 'a'
    0xf4, //                         hlt
    0xba,
    0xf8,
    0x03, //             mov dx, 0x3f8 (COM1)
    0x88,
    0xd8, //                   mov al, bl
    0xee, //                         out dx, al
    0x88,
    0x1e,
    0x00,
    0x7e, //       mov [0x7e00], bl
    0xbe,
    0x30,
    0x7c, //             mov si, the packet
    0xb2,
    0x80, //                   mov dl, 0x80 (the first disk)
    0xb8,
    0x00,
    0x43, //             mov ax, 0x4300 (extended write)
    0xcd,
    0x13, //                   int 0x13
    0xfe,
    0xc3, //                   inc bl
    0x80,
    0xfb,
    b'z' + 1, //         cmp bl, 'z' + 1
    0x75,
    0xe4, //                   jne to hlt
    0xb3,
    b'a', //                   mov bl, 'a'
    0xeb,
    0xe0, //                   jmp to hlt
    0x90,
    0x90,
    0x90, //             nop
    // The packet: its length, one sector from 0000:7e00 to sector 2.
    0x10,
    0x00,
    1,
    0x00,
    0x00,
    0x7e,
    0x00,
    0x00,
    2,
    0,
    0,
    0,
    0,
    0,
    0,
    0,
];

/// A machine that another process than the driver started.
pub(crate) struct Guest {
    child: Child,
    folder: tempfile::TempDir,
    boot: Boot,
}

impl Guest {
    /// A machine that executes `code`, with its disk where its logs are.
    pub(crate) fn start(code: &[u8]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let disk = folder.path().join("disk.qcow2");
        Self::start_on(code, folder, &disk)
    }

    /// The same with a disk elsewhere.
    pub(crate) fn start_on(code: &[u8], folder: tempfile::TempDir, disk: &Path) -> Self {
        make_disk(code, folder.path(), disk);
        Self::start_again(folder, disk, None)
    }

    /// A machine with a disk that is there. With a memory it waits for that.
    pub(crate) fn start_again(folder: tempfile::TempDir, disk: &Path, memory: Option<&Path>) -> Self {
        let boot = Boot {
            name: "test".into(),
            disk: disk.to_owned(),
            cdrom: None,
            kernel: None,
            forwards: None,
            credentials: Vec::new(),
            oem_strings: Vec::new(),
            durability: Durability::Kept,
            memory: memory.map(Path::to_owned),
            run_dir: folder.path().to_owned(),
        };
        Hardware::new(&boot, Accelerator::Tcg, SIZE)
            .note(folder.path())
            .unwrap();
        let line = CommandLine::new(qemu(), arguments::arguments(&boot, Accelerator::Tcg, SIZE));
        let log = std::fs::File::create(folder.path().join(LOG_FILE)).unwrap();
        let mut command = line.command();
        command.current_dir(folder.path()).stdin(Stdio::null()).stderr(log);
        let child = command.spawn().unwrap();
        std::fs::write(folder.path().join(PID_FILE), child.id().to_string()).unwrap();
        let guest = Self { child, folder, boot };
        eventually("the machine to start", || runs(guest.dir()));
        guest
    }

    /// What a memory of it depends on.
    pub(crate) fn hardware(&self) -> Hardware {
        Hardware::new(&self.boot, Accelerator::Tcg, SIZE)
    }

    /// Kills it.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Its run folder.
    pub(crate) fn dir(&self) -> &Path {
        self.folder.path()
    }

    /// What its guest printed.
    pub(crate) fn console(&self) -> String {
        std::fs::read_to_string(self.boot.console()).unwrap_or_default()
    }

    /// The driver of a machine that another `provision` started.
    pub(crate) fn machine(&self) -> Qemu {
        Qemu::new(&qemu(), Accelerator::Tcg, SIZE, self.dir(), &Cancel::default())
    }

    /// Runs `job` with the machine's driver while the guest's end is taken note of, as its guardian would.
    pub(crate) fn reaped_meanwhile<T: Send>(&mut self, job: impl FnOnce(Qemu) -> T + Send) -> T {
        let machine = self.machine();
        std::thread::scope(|scope| {
            let job = scope.spawn(|| job(machine));
            eventually("the machine to end", || self.has_ended());
            job.join().unwrap()
        })
    }

    /// Sends the process a signal.
    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Whether the process has ended; also takes note of its end, as a guardian does.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.kill();
    }
}

const SIZE: Size = Size {
    cpus: 1,
    memory_mib: 64,
};

/// QEMU's program.
pub(crate) fn qemu() -> std::path::PathBuf {
    process::find("qemu-system-x86_64").expect("QEMU is installed")
}

/// A disk of 8 MiB that begins with `code`.
fn make_disk(code: &[u8], folder: &Path, disk: &Path) {
    let mut image = code.to_vec();
    image.resize(510, 0);
    image.extend_from_slice(&[0x55, 0xaa]);
    image.resize(8 << 20, 0);
    let raw = folder.join("disk.raw");
    std::fs::write(&raw, image).unwrap();
    let convert = CommandLine::new("qemu-img", ["convert", "-f", "raw", "-O", "qcow2"]);
    process::run(&convert.arg(&raw).arg(disk), LIMIT, &Cancel::default()).unwrap();
}

/// Waits until `condition` holds.
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    Wait::new(what, PATIENCE)
        .until(|| Ok(condition().then_some(())))
        .unwrap();
}
