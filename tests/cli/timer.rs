//! A guest that hangs because a processor has lost its timer, as emulated ones do once in a while on a busy host. The guest is a
//! boot sector that says what Linux says then; QEMU is real.

use std::cell::RefCell;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

use serde_json::json;

use super::place::Place;
use super::support::eventually;

/// What Linux says every 21 seconds.
const SAID: &[u8] = b"rcu: rcu_preempt kthread timer wakeup didn't happen for 5251 jiffies!\n\0";

/// A boot sector (loaded at 0x7c00 in real mode, the disk's number in dl) that says so and hangs, as often as the first byte of
/// the disk's second sector tells; after that it powers off, by the register at 0x604 of q35 (QEMU, hw/acpi/ich9.c).
fn boot_sector() -> Vec<u8> {
    const LENGTH: u8 = 73;
    #[rustfmt::skip]
    const CODE: [u8; LENGTH as usize] = [
        0x31, 0xc0, //                   xor ax, ax
        0x8e, 0xd8, //                   mov ds, ax
        0x8e, 0xd0, //                   mov ss, ax
        0xbc, 0x00, 0x7c, //             mov sp, 0x7c00
        0xfb, //                         sti
        0xbe, LENGTH - 16, 0x7c, //      mov si, the packet
        0xb4, 0x42, //                   mov ah, 0x42 (extended read)
        0xcd, 0x13, //                   int 0x13
        0x80, 0x3e, 0x00, 0x7e, 0x00, // cmp byte [0x7e00], 0
        0x74, 0x17, //                   je to the power-off
        0xfe, 0x0e, 0x00, 0x7e, //       dec byte [0x7e00]
        0xb8, 0x00, 0x43, //             mov ax, 0x4300 (extended write)
        0xcd, 0x13, //                   int 0x13
        0xbe, LENGTH, 0x7c, //           mov si, what it says
        0xba, 0xf8, 0x03, //             mov dx, 0x3f8 (COM1)
        0xac, //                         lodsb
        0x84, 0xc0, //                   test al, al
        0x74, 0x0a, //                   jz to hlt
        0xee, //                         out dx, al
        0xeb, 0xf8, //                   jmp to lodsb
        0xba, 0x04, 0x06, //             mov dx, 0x604
        0xb8, 0x00, 0x20, //             mov ax, 0x2000
        0xef, //                         out dx, ax
        0xf4, //                         hlt
        0xeb, 0xfd, //                   jmp to hlt
        // The packet: its length, one sector from 0000:7e00 to sector 1.
        0x10, 0x00, 1, 0x00, 0x00, 0x7e, 0x00, 0x00, 1, 0, 0, 0, 0, 0, 0, 0,
    ];
    let mut sector = [&CODE, SAID].concat();
    sector.resize(510, 0);
    sector.extend_from_slice(&[0x55, 0xaa]);
    sector
}

/// An imported machine with such a guest, which hangs at its first `hangs` boots.
pub fn machine(place: &Place, hangs: u8) {
    let mut image = boot_sector();
    image.push(hangs);
    machine_of(place, image);
}

/// An imported machine with a disk that begins with `image`.
fn machine_of(place: &Place, mut image: Vec<u8>) {
    image.resize(1 << 20, 0);
    let dir = place.path("data/machines/m");
    fs::create_dir_all(&dir).unwrap();
    let raw = place.path("disk.raw");
    fs::write(&raw, image).unwrap();
    let convert = Command::new("qemu-img")
        .args(["convert", "-f", "raw", "-O", "qcow2"])
        .arg(&raw)
        .arg(dir.join("disk.qcow2"))
        .status();
    assert!(convert.unwrap().success());
    let identity = dir.join("identity");
    fs::create_dir_all(&identity).unwrap();
    for name in ["id_ed25519", "ssh_host_ed25519_key"] {
        let mut keygen = Command::new("ssh-keygen");
        keygen
            .args(["-q", "-t", "ed25519", "-N", "", "-f"])
            .arg(identity.join(name));
        assert!(keygen.status().unwrap().success());
    }
    for entry in fs::read_dir(&identity).unwrap() {
        fs::set_permissions(entry.unwrap().path(), fs::Permissions::from_mode(0o600)).unwrap();
    }
    let record = json!({
        "login": "jdoe", "guest": "image", "made": "2026-01-01T00:00:00Z", "phase": "made", "layer": null, "imported": true,
        "https_port": 0, "ssh_port": 0, "cpus": 1, "memory_mib": 64, "accelerator": "tcg", "wish": "tcg", "project": "/i.ova",
    });
    fs::write(dir.join("machine.json"), record.to_string()).unwrap();
}

/// A guest that does nothing: cli, hlt and a jump back to that.
fn idle() -> Vec<u8> {
    let mut sector = vec![0xfa, 0xf4, 0xeb, 0xfd];
    sector.resize(510, 0);
    sector.extend_from_slice(&[0x55, 0xaa]);
    sector
}

#[test]
fn a_guest_whose_qemu_has_ended_itself_boots_once_more_and_no_third_time() {
    const WORDS: &str = "qemu-system-x86_64: hw/pci/msix.c:228: msix_table_mmio_write: Assertion `false' failed.\n";
    let place = Place::new();
    machine_of(&place, idle());
    let run = place.path("data/machines/m/run");
    let start = place.command(&["start", "--name", "m"]).stderr(Stdio::piped()).spawn();
    let start = RefCell::new(start.unwrap());
    let has_ended = || start.borrow_mut().try_wait().unwrap().is_some();
    let mut before = None;
    for _ in 0..2 {
        let pid = || {
            // It is empty for a moment.
            let text = fs::read_to_string(run.join("machine.pid")).ok()?;
            text.trim().parse::<u32>().ok().filter(|pid| Some(*pid) != before)
        };
        let runs = || pid().is_some() && run.join("qmp.sock").exists();
        eventually("QEMU runs", || runs() || has_ended());
        let Some(pid) = pid() else { break };
        let mut log = fs::OpenOptions::new()
            .append(true)
            .open(run.join("machine.log"))
            .unwrap();
        log.write_all(WORDS.as_bytes()).unwrap();
        // A new one tells that the next QEMU runs, and has its log.
        let _ = fs::remove_file(run.join("qmp.sock"));
        let killed = Command::new("kill").args(["-ABRT", &pid.to_string()]).status();
        assert!(killed.unwrap().success());
        before = Some(pid);
    }
    let start = start.into_inner();
    let output = start.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(13), "{text}");
    assert_eq!(text.matches("it boots once more").count(), 1, "{text}");
    assert!(
        text.contains("error: ") && text.contains("Assertion `false' failed."),
        "{text}"
    );
}

#[test]
fn a_guest_that_has_lost_its_timer_boots_once_more_and_no_third_time() {
    for (hangs, said) in [(1, "powered off while booting"), (2, "has lost its timer")] {
        let place = Place::new();
        machine(&place, hangs);
        let output = place.run(&["start", "--name", "m"]);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(7), "{text}");
        assert_eq!(text.matches("it boots once more").count(), 1, "{text}");
        let error = text.lines().find(|line| line.contains("error: ")).unwrap();
        assert!(error.contains(said), "{text}");
    }
}
