//! What a disk from another host may name: nothing but the disk that it was made on.

use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use fs_err as fs;

use super::disks;
use crate::fault::{Cause, Fault};

/// Refuses the qcow2 file `disk` unless it lies on just `backing`, as it is named in it, and holds its data itself. It is read
/// before any program opens it.
///
/// # Errors
/// A [`Cause::Verification`] fault that says what is wrong with it.
pub fn disk(disk: &Path, backing: Option<&Path>) -> Result<()> {
    let refused = |reason: String| {
        let fault = Fault::new(Cause::Verification, format!("a checkpoint's disk is refused: {reason}"));
        fault.hint("nobody's `provision cache export` writes such a disk: do not use this file")
    };
    let mut header = Vec::new();
    let open = fs::File::open(disk)?;
    open.take(LENGTH)
        .read_to_end(&mut header)
        .with_context(|| format!("reading {}", disk.display()))?;
    let named = disks::backing(disk).map_err(|error| refused(format!("{error:#}")))?;
    if named.as_deref() != backing {
        let shown = |path: Option<&Path>| path.map_or_else(|| "nothing".to_owned(), |path| path.display().to_string());
        bail!(refused(format!(
            "it lies on {}, and should on {}",
            shown(named.as_deref()),
            shown(backing)
        )));
    }
    alone(&header).map_err(|reason| refused(reason.to_owned()).into())
}

/// As much of a header as is looked at.
const LENGTH: u64 = 80;

/// Whether the data is in the file itself, unencrypted (QEMU's docs/interop/qcow2.rst, "Header").
fn alone(header: &[u8]) -> Result<(), &'static str> {
    const EXTERNAL_DATA: u8 = 1 << 2;
    let at = |from: usize, count: usize| header.get(from..from + count).ok_or("it ends within its header");
    if at(32, 4)? != [0; 4] {
        return Err("it is encrypted");
    }
    // Version 2 has no features; their number is big-endian, so the lowest bits are in the last byte.
    if at(4, 4)? != [0, 0, 0, 2] && at(72, 8)?[7] & EXTERNAL_DATA != 0 {
        return Err("its data is in another file");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_disk_names_nothing_but_what_it_lies_on() {
        let folder = tempfile::tempdir().unwrap();
        let made = |arguments: &str| {
            let file = folder.path().join("a.qcow2");
            let _ = std::fs::remove_file(&file);
            let status = Command::new("qemu-img")
                .args(arguments.split(' '))
                .current_dir(folder.path())
                .stdout(std::process::Stdio::null())
                .status();
            assert!(status.unwrap().success(), "{arguments}");
            file
        };
        let on = Path::new("../k/disk.qcow2");
        let overlay = "create -u -f qcow2 -F qcow2 -b ../k/disk.qcow2 a.qcow2 1M";
        disk(&made("create -f qcow2 a.qcow2 1M"), None).unwrap();
        disk(&made("create -f qcow2 -o compat=0.10 a.qcow2 1M"), None).unwrap();
        disk(&made(overlay), Some(on)).unwrap();
        for (line, backing, reason) in [
            ("create -f qcow2 a.qcow2 1M", Some(on), "lies on nothing"),
            (overlay, None, "lies on ../k/disk.qcow2"),
            (
                "create -u -f qcow2 -F raw -b /etc/shadow a.qcow2 1M",
                Some(on),
                "lies on /etc/shadow",
            ),
            (
                "create -f qcow2 -o data_file=other.raw a.qcow2 1M",
                None,
                "in another file",
            ),
            ("create -f raw a.qcow2 1M", None, "no qcow2"),
        ] {
            let error = disk(&made(line), backing).unwrap_err();
            let fault = Fault::of(&error).unwrap();
            assert_eq!(fault.cause, Cause::Verification, "{line}");
            assert!(fault.message.contains(reason), "{line}: {}", fault.message);
        }
        let mut encrypted = vec![0; 80];
        encrypted[35] = 2;
        assert_eq!(alone(&encrypted), Err("it is encrypted"));
        assert!(alone(&[0; 40]).is_err());
    }
}
