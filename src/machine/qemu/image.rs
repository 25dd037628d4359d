//! Disk images in QEMU's qcow2 format, by `qemu-img`.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::cancel::Cancel;
use crate::process::{self, CommandLine};

const PROGRAM: &str = "qemu-img";

/// Creating or relinking an image writes its header only.
const LIMIT: Duration = Duration::from_secs(60);

/// Some GiB on a slow disk.
const COPY_LIMIT: Duration = Duration::from_secs(1800);

/// Creates an empty disk of `gib` GiB that takes only what is written to it.
///
/// # Errors
/// When `qemu-img` fails.
pub fn create(disk: &Path, gib: u64) -> Result<()> {
    let line = create_line(disk).arg(format!("{gib}G"));
    run(&line).with_context(|| format!("creating the disk {}", disk.display()))
}

/// Creates `overlay`, which holds what differs from `backing`. A relative `backing` is relative to the overlay's folder.
///
/// # Errors
/// When `qemu-img` fails.
pub fn create_overlay(overlay: &Path, backing: &Path) -> Result<()> {
    run(&overlay_line(overlay, backing)).with_context(|| format!("creating the overlay {}", overlay.display()))
}

/// Creates `overlay` of `bytes` on `backing` without a look at that: a running machine may write to it.
///
/// # Errors
/// When `qemu-img` fails.
pub fn create_overlay_of(overlay: &Path, backing: &Path, bytes: u64) -> Result<()> {
    let mut line = overlay_line(overlay, backing).arg(bytes.to_string());
    line.args.insert(1, "-u".into());
    run(&line).with_context(|| format!("creating the overlay {}", overlay.display()))
}

/// Writes another path of the same backing file into `overlay`'s header.
///
/// # Errors
/// When `qemu-img` fails.
pub fn relink(overlay: &Path, backing: &Path) -> Result<()> {
    let line = CommandLine::new(PROGRAM, ["rebase", "-u", "-f", "qcow2", "-F", "qcow2", "-b"])
        .arg(backing)
        .arg(overlay);
    run(&line).with_context(|| format!("relinking the overlay {}", overlay.display()))
}

/// Lays `overlay` on `below` instead of what it lies on now: what the two differ in goes into it.
///
/// # Errors
/// When `qemu-img` fails, or the user interrupts; the overlay is of no use then.
pub fn rebase(overlay: &Path, below: &Path, cancel: &Cancel) -> Result<()> {
    process::run(&rebase_line(overlay, below), COPY_LIMIT, cancel)
        .map(drop)
        .with_context(|| format!("laying {} on {}", overlay.display(), below.display()))
}

/// Copies an overlay to another file system as it is: holes stay holes, and the backing file is not copied along.
///
/// # Errors
/// When the copy fails.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    let line = CommandLine::new("cp", ["--sparse=always", "--"]).arg(from).arg(to);
    process::run(&line, COPY_LIMIT, &Cancel::default())
        .map(drop)
        .with_context(|| format!("copying {} to {}", from.display(), to.display()))
}

fn create_line(disk: &Path) -> CommandLine {
    CommandLine::new(PROGRAM, ["create", "-q", "-f", "qcow2"]).arg(disk)
}

fn rebase_line(overlay: &Path, below: &Path) -> CommandLine {
    // Written back at the end only: an overlay that is half laid on another is thrown away.
    CommandLine::new(PROGRAM, ["rebase", "-t", "unsafe", "-f", "qcow2", "-F", "qcow2", "-b"])
        .arg(below)
        .arg(overlay)
}

fn overlay_line(overlay: &Path, backing: &Path) -> CommandLine {
    let args: [OsString; 4] = ["-F".into(), "qcow2".into(), "-b".into(), backing.into()];
    let mut line = CommandLine::new(PROGRAM, ["create", "-q", "-f", "qcow2"]);
    line.args.extend(args);
    line.arg(overlay)
}

fn run(line: &CommandLine) -> Result<()> {
    // Not cancelled: it takes milliseconds, and a half-written header helps nobody.
    process::run(line, LIMIT, &Cancel::default()).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_overlay_names_its_backing_file_and_format() {
        let line = overlay_line(Path::new("/m/disk.qcow2"), Path::new("../k/disk.qcow2"));
        assert_eq!(
            line.to_string(),
            "qemu-img create -q -f qcow2 -F qcow2 -b ../k/disk.qcow2 /m/disk.qcow2"
        );
    }

    #[test]
    fn an_overlay_keeps_its_content_on_another_file() {
        let folder = tempfile::tempdir().unwrap();
        let [account, former, work, copy] = ["a", "f", "w", "c"].map(|name| folder.path().join(name));
        let write = |disk: &Path, command: &str| {
            let line = CommandLine::new("qemu-io", ["-f", "qcow2", "-c", command]).arg(disk);
            process::run(&line, LIMIT, &Cancel::default()).unwrap();
        };
        create(&account, 1).unwrap();
        write(&account, "write -P 1 0 4M");
        create_overlay(&former, &account).unwrap();
        write(&former, "write -P 2 1M 2M");
        create_overlay(&work, &former).unwrap();
        write(&work, "write -P 3 2M 64k");
        write(&work, "discard 1M 512k");
        let compare = |other: &Path| {
            let line = CommandLine::new("qemu-img", ["compare", "-f", "qcow2", "-F", "qcow2"]);
            process::run(&line.arg(&work).arg(other), LIMIT, &Cancel::default())
        };
        let convert = CommandLine::new("qemu-img", ["convert", "-O", "qcow2"]);
        process::run(&convert.arg(&work).arg(&copy), LIMIT, &Cancel::default()).unwrap();
        rebase(&work, &account, &Cancel::default()).unwrap();
        std::fs::remove_file(&former).unwrap();
        compare(&copy).unwrap();
        compare(&account).unwrap_err();
        // What the account has is not copied into it.
        let taken = std::os::unix::fs::MetadataExt::blocks(&std::fs::metadata(&work).unwrap()) * 512;
        assert!(taken < 3 << 20, "{taken}");
    }

    #[test]
    fn an_overlay_finds_its_backing_file_after_a_move() {
        let folder = tempfile::tempdir().unwrap();
        let [base, work] = ["base", "work"].map(|name| folder.path().join(name));
        std::fs::create_dir_all(&base).unwrap();
        std::fs::create_dir_all(&work).unwrap();
        create(&base.join("disk.qcow2"), 1).unwrap();
        create_overlay(&work.join("disk.qcow2"), &base.join("disk.qcow2")).unwrap();
        relink(&work.join("disk.qcow2"), Path::new("../base/disk.qcow2")).unwrap();
        let moved = folder.path().with_extension("moved");
        std::fs::rename(folder.path(), &moved).unwrap();
        let check = CommandLine::new(PROGRAM, ["info", "--backing-chain"]).arg(moved.join("work/disk.qcow2"));
        let checked = process::run(&check, LIMIT, &Cancel::default());
        std::fs::remove_dir_all(&moved).unwrap();
        assert!(checked.is_ok(), "{checked:?}");
    }
}
