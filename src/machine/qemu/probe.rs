//! Does a guest really run under an accelerator?
//!
//! A device that opens proves nothing: there are hosts on which `/dev/kvm` opens, QEMU starts and the guest never
//! executes an instruction. So a boot sector of a few bytes is run, which prints on the serial port and ends QEMU with
//! an exit code of its own.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::cancel::Cancel;
use crate::fault::{Cause, Fault};
use crate::host::acceleration::Verdict;
use crate::machine::accelerator::Accelerator;
use crate::process::{self, CommandLine};

/// How long a guest may take to print its line: under real acceleration the firmware needs less than a second.
const LIMIT: Duration = Duration::from_secs(10);

/// The probe's disk in bytes. `SeaBIOS` reads nothing from a disk of a single sector.
const DISK: usize = 1 << 20;

/// What the boot sector prints.
const GREETING: &[u8] = b"the guest runs\n";

/// The value that the boot sector writes to the debug-exit port, and the exit code that QEMU makes of it:
/// `(value << 1) | 1` (QEMU, hw/misc/debugexit.c).
const EXIT_VALUE: u8 = 0x10;
const EXIT_CODE: i32 = ((EXIT_VALUE as i32) << 1) | 1;

/// Boots something small under `accelerator`, with the program `qemu`.
///
/// # Errors
/// When QEMU cannot be started at all, or the user interrupts.
pub fn probe(qemu: &Path, accelerator: Accelerator, cancel: &Cancel) -> Result<Verdict> {
    let folder = tempfile::tempdir().context("making a folder for the accelerator's probe")?;
    let disk = folder.path().join("probe.img");
    let mut image = boot_sector();
    image.resize(DISK, 0);
    fs_err::write(&disk, image)?;
    let line = CommandLine::new(qemu, arguments(accelerator, &disk));
    match process::run_any(&line, LIMIT, cancel) {
        Ok(finished) if finished.status.code() == Some(EXIT_CODE) => Ok(if contains(&finished.stdout, GREETING) {
            Verdict::Runs
        } else {
            Verdict::Silent
        }),
        Ok(finished) => {
            let message = String::from_utf8_lossy(&finished.stderr).trim().to_owned();
            Ok(if finished.status.code().is_none() {
                Verdict::Crashed(message)
            } else {
                Verdict::Refused(message)
            })
        }
        Err(error) if Fault::of(&error).is_some_and(|f| f.cause == Cause::Timeout) => Ok(Verdict::Silent),
        Err(error) => Err(error),
    }
}

fn arguments(accelerator: Accelerator, disk: &Path) -> Vec<String> {
    let drive = format!(
        "if=none,id=probe,format=raw,read-only=on,file={}",
        disk.display().to_string().replace(',', ",,")
    );
    [
        "-nodefaults",
        "-no-user-config",
        "-display",
        "none",
        "-machine",
        "q35",
        "-m",
        "32M",
        "-accel",
        accelerator.qemu_option(),
        "-cpu",
        accelerator.cpu_model(),
        "-serial",
        "stdio",
        "-device",
        "isa-debug-exit,iobase=0xf4,iosize=4",
        "-drive",
        &drive,
        "-device",
        "virtio-blk-pci,drive=probe",
    ]
    .map(String::from)
    .to_vec()
}

/// A boot sector (loaded at 0x7c00 in real mode) that prints [`GREETING`] on COM1 and exits.
fn boot_sector() -> Vec<u8> {
    const CODE: [u8; 27] = [
        0xfc, //             cld
        0x31, 0xc0, //       xor ax, ax
        0x8e, 0xd8, //       mov ds, ax
        0xbe, 27, 0x7c, //   mov si, 0x7c00 + the length of this code
        0xba, 0xf8, 0x03, // mov dx, 0x3f8 (COM1)
        0xac, //             lodsb
        0x84, 0xc0, //       test al, al
        0x74, 0x03, //       jz +3
        0xee, //             out dx, al
        0xeb, 0xf8, //       jmp to lodsb
        0xba, 0xf4, 0x00, // mov dx, 0xf4 (isa-debug-exit)
        0xb0, EXIT_VALUE, // mov al, value
        0xee,       //             out dx, al
        0xeb, 0xfe, //       jmp to itself
    ];
    let mut sector = CODE.to_vec();
    sector.extend_from_slice(GREETING);
    sector.resize(510, 0);
    sector.extend_from_slice(&[0x55, 0xaa]);
    sector
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|part| part == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_boot_sector_is_one() {
        let sector = boot_sector();
        assert_eq!(sector.len(), 512);
        assert_eq!(&sector[510..], &[0x55, 0xaa]);
    }

    #[test]
    fn a_guest_runs_under_emulation() {
        let qemu = process::find("qemu-system-x86_64").expect("QEMU is installed");
        let verdict = probe(&qemu, Accelerator::Tcg, &Cancel::default()).unwrap();
        assert_eq!(verdict, Verdict::Runs);
    }

    #[test]
    fn a_crash_is_told_from_a_refusal() {
        let dir = tempfile::tempdir().unwrap();
        let qemu = dir.path().join("qemu");
        for (script, expected) in [
            ("echo gone >&2; kill -ABRT $$", Verdict::Crashed("gone".into())),
            ("echo no >&2; exit 1", Verdict::Refused("no".into())),
        ] {
            process::testing::write_program(&qemu, &format!("#!/bin/sh\n{script}\n"));
            assert_eq!(probe(&qemu, Accelerator::Kvm, &Cancel::default()).unwrap(), expected);
        }
    }

    #[test]
    fn a_refusal_quotes_qemu() {
        let qemu = process::find("qemu-system-x86_64").expect("QEMU is installed");
        // Nowhere do both exist.
        let other = if cfg!(target_os = "macos") {
            Accelerator::Kvm
        } else {
            Accelerator::Hvf
        };
        let verdict = probe(&qemu, other, &Cancel::default()).unwrap();
        assert!(matches!(verdict, Verdict::Refused(message) if message.contains("hvf") || message.contains("kvm")));
    }
}
