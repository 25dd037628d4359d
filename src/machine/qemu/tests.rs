//! Tests of the driver against real machines.

mod moments;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::testing::{DEAF, Guest, LIMIT, REBOOTS, WRITES, eventually};
use super::{end_leftover, look, resume, runs};
use crate::cancel::Cancel;
use crate::fault::{Cause, Fault};
use crate::machine::{Machine as _, State, Stopped, shut_down};
use crate::process::{self, CommandLine};

/// A file system of 1 MiB; goes when it is dropped.
struct Small(PathBuf);

impl Small {
    /// `None` where the tests may not mount.
    fn new(at: &Path) -> Option<Self> {
        std::fs::create_dir_all(at).unwrap();
        let mount = CommandLine::new("mount", ["-t", "tmpfs", "-o", "size=1M", "none"]).arg(at);
        process::run(&mount, LIMIT, &Cancel::default()).ok()?;
        Some(Self(at.to_owned()))
    }

    fn grow(&self) {
        let mount = CommandLine::new("mount", ["-o", "remount,size=32M"]).arg(&self.0);
        process::run(&mount, LIMIT, &Cancel::default()).unwrap();
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        // Lazily: the machine may still be about to end.
        let umount = CommandLine::new("umount", ["-l"]).arg(&self.0);
        let _ = process::run(&umount, LIMIT, &Cancel::default());
    }
}

#[test]
fn a_full_disk_of_the_host_is_told() {
    let outside = tempfile::tempdir().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let Some(small) = Small::new(&outside.path().join("small")) else {
        eprintln!("SKIPPED: a full disk needs mount(8), and the tests may not use it here");
        return;
    };
    let guest = Guest::start_on(WRITES, folder, &small.0.join("disk.qcow2"));
    assert!(runs(guest.dir()));
    eventually("the disk to be full", || look(guest.dir()).is_err());
    let error = look(guest.dir()).unwrap_err();
    let fault = Fault::of(&error).unwrap();
    assert_eq!(fault.cause, Cause::Space);
    assert!(fault.message.contains(&guest.dir().display().to_string()) && fault.hint.is_some());
    // A guest that stands still cannot power off; that is told at once, and not after the limit.
    let begun = Instant::now();
    let error = shut_down(&mut guest.machine(), LIMIT, &Cancel::default()).unwrap_err();
    assert_eq!(Fault::of(&error).unwrap().cause, Cause::Space);
    assert!(begun.elapsed() < LIMIT / 2);
    small.grow();
    resume(guest.dir()).unwrap();
    std::thread::sleep(Duration::from_millis(500));
    look(guest.dir()).unwrap();
}

#[test]
fn a_guest_has_touched_what_it_wrote_to_and_no_more() {
    let guest = Guest::start(DEAF);
    let touched = || guest.machine().touched();
    // QEMU answers before it has the guest's memory. The firmware puts its code and its tables there, with the boot sector;
    // that is a few of its 64 MiB.
    eventually("the firmware to have run", || {
        touched().is_some_and(|bytes| bytes >= 64 << 10)
    });
    assert!(touched().unwrap() < 32 << 20, "{:?}", touched());
}

#[test]
fn a_machine_that_ends_is_told_with_its_last_words() {
    let mut guest = Guest::start(DEAF);
    look(guest.dir()).unwrap();
    std::fs::write(guest.dir().join("machine.log"), "qemu: out of memory\n").unwrap();
    guest.signal(Signal::KILL);
    eventually("the machine to end", || guest.has_ended());
    let error = look(guest.dir()).unwrap_err();
    assert_eq!(Fault::of(&error).unwrap().cause, Cause::Machine);
    assert!(error.to_string().contains("qemu: out of memory"), "{error}");
}

#[test]
fn a_guest_that_does_not_power_off_is_told_from_one_that_does() {
    let mut guest = Guest::start(DEAF);
    let stopped =
        guest.reaped_meanwhile(|mut guest| shut_down(&mut guest, Duration::from_millis(500), &Cancel::default()));
    assert_eq!(stopped.unwrap(), Stopped::PowerCut);
    assert!(!runs(guest.dir()) && !guest.dir().join("machine.pid").exists());
}

#[test]
fn a_stopped_qemu_blocks_nobody_and_can_be_ended() {
    let mut guest = Guest::start(DEAF);
    guest.signal(Signal::STOP);
    let begun = Instant::now();
    // The socket's queue is full after two; then connect(2) would wait for ever.
    for _ in 0..10 {
        assert!(runs(guest.dir()));
    }
    assert!(begun.elapsed() < Duration::from_secs(5));
    let dir = guest.dir().to_owned();
    guest.reaped_meanwhile(|_| end_leftover(&dir)).unwrap();
    assert!(!guest.dir().join("machine.pid").exists());
}

#[test]
fn a_machine_without_a_guardian_is_killed_and_its_pid_forgotten() {
    let mut guest = Guest::start(DEAF);
    guest.reaped_meanwhile(|mut machine| machine.kill()).unwrap();
    assert!(!guest.dir().join("machine.pid").exists());
}

#[test]
fn a_reader_of_the_console_that_got_the_pid_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let console = folder.path().join("console.log");
    std::fs::write(&console, "").unwrap();
    let reader = CommandLine::new("tail", ["-q", "-F"]).arg(&console);
    let mut child = reader.command().current_dir(folder.path()).spawn().unwrap();
    std::fs::write(folder.path().join("machine.pid"), child.id().to_string()).unwrap();
    let ended = end_leftover(folder.path());
    let status = child.try_wait().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    ended.unwrap();
    assert_eq!(status, None);
    assert!(!folder.path().join("machine.pid").exists());
}

#[test]
fn a_hung_qemu_in_a_linked_folder_is_ended() {
    let mut guest = Guest::start(DEAF);
    guest.signal(Signal::STOP);
    let links = tempfile::tempdir().unwrap();
    let link = links.path().join("run");
    std::os::unix::fs::symlink(guest.dir(), &link).unwrap();
    guest.reaped_meanwhile(|_| end_leftover(&link)).unwrap();
    assert!(!guest.dir().join("machine.pid").exists());
}

#[test]
fn a_guest_may_reboot() {
    let mut guest = Guest::start(REBOOTS);
    eventually("the guest to boot three times", || guest.console().contains("..."));
    assert!(!guest.has_ended());
    assert_eq!(guest.machine().state().unwrap(), State::Running);
}
