//! The beginning of an image, read before any program opens it: an image may have other files of this host read, and
//! one that somebody else made must not.

use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use fs_err as fs;

use crate::fault::{Cause, Fault};

/// How much of an image is read: a VMDK's descriptor ends before that (`DESC_SIZE` in QEMU's block/vmdk.c is half).
const BEGINNING: u64 = 20 * 1024;

/// A format that is imported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// QEMU's.
    Qcow2,
    /// VirtualBox's.
    Vdi,
    /// An OVA's disk.
    Vmdk,
}

impl Kind {
    /// The name of QEMU's driver.
    pub const fn driver(self) -> &'static str {
        match self {
            Self::Qcow2 => "qcow2",
            Self::Vdi => "vdi",
            Self::Vmdk => "vmdk",
        }
    }
}

/// Refuses the image `image` unless it is one of `kind` that stands alone.
///
/// # Errors
/// A [`Cause::Verification`] fault that says what is wrong with it.
pub fn require_alone(image: &Path, kind: Kind) -> Result<()> {
    let mut file = fs::File::open(image)?;
    let mut beginning = Vec::new();
    let read = file.by_ref().take(BEGINNING).read_to_end(&mut beginning);
    read.with_context(|| format!("reading {}", image.display()))?;
    let mut wrong = match kind {
        Kind::Qcow2 => qcow2(&beginning),
        Kind::Vdi => vdi(&beginning),
        Kind::Vmdk => vmdk(&beginning),
    };
    if let (Kind::Vmdk, Ok(())) = (kind, wrong) {
        // QEMU reads the parent's name in the second sector and what follows, whatever the header says (`vmdk_parent_open` in its
        // block/vmdk.c); others look for the descriptor where that says.
        let descriptor = number(&beginning, 28).saturating_mul(SECTOR);
        file.seek(SeekFrom::Start(descriptor))?;
        let mut text = Vec::new();
        file.take(BEGINNING).read_to_end(&mut text)?;
        wrong = vmdk_descriptor(&beginning).and_then(|()| vmdk_descriptor(&text));
    }
    match wrong {
        Ok(()) => Ok(()),
        Err(reason) => bail!(
            Fault::new(
                Cause::Verification,
                format!("{} is not imported: {reason}", image.display())
            )
            .hint("`qemu-img convert` on the host where it was made writes an image that stands alone")
        ),
    }
}

/// A VMDK counts in these.
const SECTOR: u64 = 512;

const TRUNCATED: &str = "it ends within its header";

/// QEMU's docs/interop/qcow2.rst, "Header".
fn qcow2(bytes: &[u8]) -> Result<(), &'static str> {
    const EXTERNAL_DATA: u64 = 1 << 2;
    if !bytes.starts_with(b"QFI\xfb") {
        return Err("it is no qcow2 image");
    }
    let field = |at| big(bytes, at).ok_or(TRUNCATED);
    if field(8)? != 0 {
        return Err("it lies on another image (its backing file)");
    }
    if field(32)? >> 32 != 0 {
        return Err("it is encrypted");
    }
    // Version 2 has no features.
    let is_2 = bytes.get(4..8) == Some(&[0, 0, 0, 2]);
    if !is_2 && field(72)? & EXTERNAL_DATA != 0 {
        return Err("its data is in another file");
    }
    Ok(())
}

/// VirtualBox's VDICore.h: the signature, and the image's type, where 1 grows and 2 does not; others lie on another.
fn vdi(bytes: &[u8]) -> Result<(), &'static str> {
    if bytes.get(0x40..0x44) != Some(&[0x7f, 0x10, 0xda, 0xbe]) {
        return Err("it is no VDI image");
    }
    match bytes.get(0x4c..0x50) {
        Some([1 | 2, 0, 0, 0]) => Ok(()),
        Some(_) => Err("it lies on another image (it is a differencing one)"),
        None => Err(TRUNCATED),
    }
}

/// VMware's "Virtual Disk Format 5.0", "Hosted Sparse Extent Header". Without a capacity QEMU takes the descriptor for one
/// that names other files.
fn vmdk(bytes: &[u8]) -> Result<(), &'static str> {
    if !bytes.starts_with(b"KDMV") {
        return Err("it is no VMDK image in one file");
    }
    if bytes.len() < 512 {
        return Err(TRUNCATED);
    }
    if number(bytes, 12) == 0 {
        return Err("its data is in other files");
    }
    Ok(())
}

/// The descriptor within a VMDK.
fn vmdk_descriptor(text: &[u8]) -> Result<(), &'static str> {
    let names_parent = text.windows(18).any(|part| part == b"parentFileNameHint");
    if names_parent {
        return Err("it lies on another image (its parent)");
    }
    Ok(())
}

fn number(bytes: &[u8], at: usize) -> u64 {
    eight(bytes, at).map_or(0, u64::from_le_bytes)
}

fn big(bytes: &[u8], at: usize) -> Option<u64> {
    eight(bytes, at).map(u64::from_be_bytes)
}

fn eight(bytes: &[u8], at: usize) -> Option<[u8; 8]> {
    bytes.get(at..at + 8)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    /// Runs the real `qemu-img` in `folder`.
    fn image(folder: &Path, arguments: &str) {
        let status = Command::new("qemu-img")
            .args(arguments.split(' '))
            .current_dir(folder)
            .stdout(std::process::Stdio::null())
            .status();
        assert!(status.unwrap().success(), "{arguments}");
    }

    #[test]
    fn images_that_stand_alone_are_taken() {
        let folder = tempfile::tempdir().unwrap();
        for (line, kind) in [
            ("create -f qcow2 a 1M", Kind::Qcow2),
            ("create -f qcow2 -o compat=0.10 a 1M", Kind::Qcow2),
            ("create -f vdi a 1M", Kind::Vdi),
            ("create -f vdi -o static=on a 1M", Kind::Vdi),
            ("create -f vmdk a 1M", Kind::Vmdk),
            ("create -f vmdk -o subformat=streamOptimized a 1M", Kind::Vmdk),
        ] {
            image(folder.path(), line);
            require_alone(&folder.path().join("a"), kind).expect(line);
        }
    }

    #[test]
    fn images_that_name_other_files_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        image(folder.path(), "create -f qcow2 base 1M");
        image(folder.path(), "create -f vmdk base.vmdk 1M");
        for (line, kind, reason) in [
            ("create -f qcow2 -b base -F qcow2 a", Kind::Qcow2, "backing file"),
            (
                "create -f qcow2 -o data_file=/tmp/none.raw a 1M",
                Kind::Qcow2,
                "another file",
            ),
            ("create -f vmdk -b base.vmdk -F vmdk a", Kind::Vmdk, "its parent"),
            (
                "create -f vmdk -o subformat=monolithicFlat a 1M",
                Kind::Vmdk,
                "no VMDK image in one file",
            ),
            ("create -f raw a 1M", Kind::Qcow2, "no qcow2"),
            ("create -f qcow2 a 1M", Kind::Vdi, "no VDI"),
        ] {
            let file = folder.path().join("a");
            let _ = std::fs::remove_file(&file);
            // qemu-img makes the file of data, too.
            let line = line.replace("/tmp", &folder.path().to_string_lossy());
            image(folder.path(), &line);
            let error = require_alone(&file, kind).unwrap_err();
            let fault = Fault::of(&error).unwrap();
            assert_eq!(fault.cause, Cause::Verification);
            assert!(fault.message.contains(reason), "{line}: {}", fault.message);
        }
    }

    /// Its header may say that its descriptor is elsewhere: where QEMU looks for the parent's name does not depend on it.
    #[test]
    fn a_parent_is_found_where_the_header_does_not_say() {
        let folder = tempfile::tempdir().unwrap();
        image(folder.path(), "create -f vmdk base.vmdk 1M");
        image(folder.path(), "create -f vmdk -b base.vmdk -F vmdk a");
        let file = folder.path().join("a");
        let mut bytes = std::fs::read(&file).unwrap();
        let harmless = u64::try_from(bytes.len()).unwrap().div_ceil(SECTOR);
        bytes[28..36].copy_from_slice(&harmless.to_le_bytes());
        bytes.resize(usize::try_from(harmless * SECTOR).unwrap(), 0);
        bytes.extend(b"# Disk DescriptorFile\n");
        std::fs::write(&file, bytes).unwrap();
        let told = Command::new("qemu-img").arg("info").arg(&file).output().unwrap();
        let told = String::from_utf8_lossy(&told.stdout).into_owned();
        assert!(told.contains("backing file: base.vmdk"), "{told}");
        let error = require_alone(&file, Kind::Vmdk).unwrap_err();
        assert!(format!("{error:#}").contains("its parent"), "{error:#}");
    }

    #[test]
    fn what_qemu_img_does_not_make_is_refused_too() {
        let mut vdi_image = vec![0; 512];
        vdi_image[0x40..0x44].copy_from_slice(&[0x7f, 0x10, 0xda, 0xbe]);
        vdi_image[0x4c] = 4;
        assert!(vdi(&vdi_image).unwrap_err().contains("differencing"));
        let mut vmdk_image = vec![0; 512];
        vmdk_image[..4].copy_from_slice(b"KDMV");
        assert_eq!(vmdk(&vmdk_image), Err("its data is in other files"));
        let mut encrypted = vec![0; 104];
        encrypted[..8].copy_from_slice(b"QFI\xfb\0\0\0\x03");
        encrypted[35] = 2;
        assert_eq!(qcow2(&encrypted), Err("it is encrypted"));
        for bytes in [&b""[..], b"QFI\xfb", b"KDMV"] {
            assert!(qcow2(bytes).is_err() && vdi(bytes).is_err() && vmdk(bytes).is_err());
        }
    }

    proptest::proptest! {
        #[test]
        fn no_beginning_makes_it_stumble(bytes: Vec<u8>) {
            for magic in [&b"QFI\xfb"[..], b"KDMV", b""] {
                let bytes = [magic, &bytes].concat();
                let _ = (qcow2(&bytes), vdi(&bytes), vmdk(&bytes), vmdk_descriptor(&bytes));
            }
        }
    }
}
