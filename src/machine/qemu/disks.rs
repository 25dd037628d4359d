//! The disk files of one machine and which of them it writes to.
//!
//! ```text
//! disk.qcow2         the first, until others lie on it
//! disk-HEX.qcow2     one that lies on another of them, since that is kept as it is
//! disk -> FILE       which of them the machine writes to; without it, disk.qcow2
//! ```
//!
//! QEMU opens a file again by its name when it has to write to it once more. So a file keeps its name as long as it is
//! there, and a name is never given twice; what changes is where the link leads, by one rename.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use fs_err as fs;

use super::image;
use crate::changes::Changes;
use crate::process::kill_point;

/// The name of a machine's first disk.
pub const FIRST: &str = "disk.qcow2";

/// The link to the disk that the machine writes to.
const LINK: &str = "disk";

/// The link before it is put in place.
const NEW_LINK: &str = ".disk.new";

/// The disk in `folder` that its machine writes to, there or not.
pub fn active(folder: &Path) -> PathBuf {
    let name = std::fs::read_link(folder.join(LINK)).ok();
    let name = name.as_deref().and_then(Path::file_name);
    folder.join(name.unwrap_or(OsStr::new(FIRST)))
}

/// Makes `disk`, which lies in `folder` and is whole, the one that the machine writes to.
///
/// # Errors
/// When the link cannot be made; it leads where it did then.
pub fn activate(folder: &Path, disk: &Path) -> Result<()> {
    let name = disk.file_name().context("a disk has a name")?;
    let new = folder.join(NEW_LINK);
    remove(&new)?;
    fs::File::open(disk)?.sync_all()?;
    fs::os::unix::fs::symlink(name, &new)?;
    kill_point::pass();
    fs::rename(&new, folder.join(LINK))?;
    kill_point::pass();
    Ok(fs::File::open(folder)?.sync_all()?)
}

/// A path in `folder` that no disk has had.
pub fn new_name(folder: &Path) -> PathBuf {
    folder.join(format!("disk-{}.qcow2", hex::encode(rand::random::<[u8; 8]>())))
}

/// Makes an empty disk on top of `below`, which lies in the same folder and may be in use.
///
/// # Errors
/// When `qemu-img` fails.
pub fn new_on(below: &Path) -> Result<PathBuf> {
    let folder = below.parent().context("a disk lies in a folder")?;
    let overlay = new_name(folder);
    // Relative, so that the machine's folder may be moved.
    let name = below.file_name().context("a disk has a name")?;
    image::create_overlay_of(&overlay, Path::new(name), size(below)?)?;
    kill_point::pass();
    Ok(overlay)
}

/// Removes every disk in `folder` that neither the machine nor one of `kept` needs.
///
/// # Errors
/// When a disk cannot be read: nothing is removed then.
pub fn sweep(folder: &Path, kept: &[PathBuf]) -> Result<()> {
    let mut needed = BTreeSet::new();
    for disk in std::iter::once(&active(folder)).chain(kept) {
        let mut next = Some(disk.clone());
        while let Some(disk) = next.take_if(|disk| disk.parent() == Some(folder) && disk.exists()) {
            next = backing(&disk)?.map(|below| folder.join(below));
            // Seen before: so was what it lies on.
            if !needed.insert(disk) {
                break;
            }
        }
    }
    for disk in all(folder)? {
        if !needed.contains(&disk) {
            remove(&disk)?;
        }
    }
    remove(&folder.join(NEW_LINK))
}

/// Removes every disk in `folder` and the link. The first goes last: until then the folder is seen to be QEMU's.
///
/// # Errors
/// When one cannot be removed.
pub fn remove_all(changes: &dyn Changes, folder: &Path) -> Result<()> {
    for disk in all(folder)? {
        if !disk.ends_with(FIRST) {
            changes.remove_tree(&disk)?;
        }
    }
    for name in [LINK, NEW_LINK, FIRST] {
        changes.remove_tree(&folder.join(name))?;
    }
    Ok(())
}

/// Makes sure that `disk` and all that it lies on are there.
///
/// # Errors
/// When one is not, or cannot be read.
pub fn require_whole(disk: &Path) -> Result<()> {
    let mut seen = BTreeSet::new();
    let mut next = Some(disk.to_owned());
    while let Some(disk) = next {
        let folder = disk.parent().context("a disk lies in a folder")?;
        next = backing(&disk)?.map(|below| folder.join(below));
        if !seen.insert(disk) {
            bail!("a disk lies on itself");
        }
    }
    Ok(())
}

/// Whether another disk in the same folder lies on `disk`, or may do so as it cannot be read.
///
/// # Errors
/// When the folder cannot be read.
pub fn is_needed(disk: &Path) -> Result<bool> {
    let folder = disk.parent().context("a disk lies in a folder")?;
    let lies_on_it = |other: &PathBuf| match backing(other) {
        Ok(below) => below.is_some_and(|below| folder.join(below) == disk),
        Err(_) => true,
    };
    Ok(all(folder)?.iter().any(|other| other != disk && lies_on_it(other)))
}

/// Every disk in `folder`; none where there is no folder.
fn all(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut all = Vec::new();
    for entry in entries {
        all.push(entry?.path());
    }
    all.retain(|path| is_disk(path));
    Ok(all)
}

fn is_disk(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let is_later = || name.starts_with("disk-") && name.ends_with(".qcow2");
    name == FIRST || is_later()
}

/// Removes a file if it is there.
///
/// # Errors
/// When it cannot be removed.
pub fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

/// The size that the guest sees, in bytes.
fn size(disk: &Path) -> Result<u64> {
    Ok(Header::read(disk)?.size)
}

/// The path of the file that `disk` lies on, as its header has it.
///
/// # Errors
/// When it is no qcow2 file.
pub fn backing(disk: &Path) -> Result<Option<PathBuf>> {
    Ok(Header::read(disk)?.backing)
}

/// What is read of a qcow2 file's header (QEMU, docs/interop/qcow2.rst).
struct Header {
    backing: Option<PathBuf>,
    size: u64,
}

impl Header {
    /// The bytes of version 2's header up to the size.
    const LENGTH: usize = 32;

    fn read(disk: &Path) -> Result<Self> {
        let mut file = fs::File::open(disk)?;
        let mut header = [0; Self::LENGTH];
        let reading = || format!("reading the header of {}", disk.display());
        file.read_exact(&mut header).with_context(reading)?;
        if &header[..4] != b"QFI\xfb" {
            bail!("{} is no qcow2 file", disk.display());
        }
        let number = |from: usize, bytes: usize| {
            header[from..from + bytes]
                .iter()
                .fold(0_u64, |value, byte| value << 8 | u64::from(*byte))
        };
        let (at, length) = (number(8, 8), number(16, 4));
        // The format allows no more.
        if length > 1023 {
            bail!("{} has a damaged header", disk.display());
        }
        let mut name = vec![0; usize::try_from(length)?];
        file.seek(SeekFrom::Start(at))?;
        file.read_exact(&mut name).with_context(reading)?;
        let is_there = at != 0 && !name.is_empty();
        Ok(Self {
            backing: is_there.then(|| PathBuf::from(OsString::from_vec(name))),
            size: number(24, 8),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::changes::Real;

    fn names(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).unwrap().flatten();
        let mut names: Vec<_> = entries
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_disk_lies_on_another_and_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let first = active(folder.path());
        image::create(&first, 1).unwrap();
        assert_eq!(backing(&first).unwrap(), None);
        let second = new_on(&first).unwrap();
        assert_eq!(active(folder.path()), first, "it is not the machine's yet");
        activate(folder.path(), &second).unwrap();
        assert_eq!(active(folder.path()), second);
        assert_eq!(backing(&second).unwrap(), Some(FIRST.into()));
        assert_eq!(size(&second).unwrap(), 1 << 30);
    }

    #[test]
    fn what_something_lies_on_is_not_swept() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let first = active(folder);
        image::create(&first, 1).unwrap();
        let [kept, dropped, mine] = [(); 3].map(|()| new_on(&first).unwrap());
        let leaf = new_on(&kept).unwrap();
        activate(folder, &mine).unwrap();
        std::fs::write(folder.join("machine.json"), "{}").unwrap();
        std::os::unix::fs::symlink("disk.qcow2", folder.join(NEW_LINK)).unwrap();
        sweep(folder, std::slice::from_ref(&leaf)).unwrap();
        for disk in [&first, &kept, &leaf, &mine] {
            assert!(disk.exists(), "{}", disk.display());
        }
        assert!(!dropped.exists());
        assert_eq!(names(folder).len(), 6);
        remove_all(&Real, folder).unwrap();
        assert_eq!(names(folder), ["machine.json"]);
    }

    #[test]
    fn a_disk_is_whole_with_all_that_it_lies_on() {
        let folder = tempfile::tempdir().unwrap();
        let first = active(folder.path());
        image::create(&first, 1).unwrap();
        let top = new_on(&new_on(&first).unwrap()).unwrap();
        require_whole(&top).unwrap();
        std::fs::remove_file(&first).unwrap();
        require_whole(&top).unwrap_err();
    }

    #[test]
    fn a_disk_is_needed_while_another_lies_on_it_or_cannot_be_read() {
        let folder = tempfile::tempdir().unwrap();
        let first = active(folder.path());
        image::create(&first, 1).unwrap();
        assert!(!is_needed(&first).unwrap());
        let second = new_on(&first).unwrap();
        assert!(is_needed(&first).unwrap() && !is_needed(&second).unwrap());
        std::fs::write(&second, "rubbish").unwrap();
        assert!(is_needed(&first).unwrap());
    }

    #[test]
    fn nothing_is_swept_when_a_disk_cannot_be_read() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let first = active(folder);
        image::create(&first, 1).unwrap();
        let mine = new_on(&first).unwrap();
        activate(folder, &mine).unwrap();
        let other = new_on(&first).unwrap();
        std::fs::write(&mine, "rubbish").unwrap();
        sweep(folder, &[]).unwrap_err();
        assert!(first.exists() && other.exists());
    }
}
