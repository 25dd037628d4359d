//! What is added to the installer's initrd: files in a `newc` cpio archive behind the initrd that the ISO brings.
//! The kernel unpacks both into the same root, one after the other (its Documentation/driver-api/early-userspace/
//! buffer-format.rst).

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};

use anyhow::{Context as _, Result, bail};
use cpio::newc::{Builder, ModeFileType};
use flate2::{Compression, GzBuilder};

/// A file for the installer's root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeedFile {
    /// Its path in the installer's root, with or without a leading `/`.
    pub path: String,
    /// Its permission bits, as for `chmod`.
    pub mode: u32,
    /// Its content.
    pub contents: Vec<u8>,
}

/// Packs `files`, which belong to root, with the folders they are in (0755: an existing folder's mode becomes that
/// too). The same files give the same bytes: sorted, numbered and without times.
///
/// # Errors
/// When a path leads outside the root, is there twice, or is a folder and a file.
pub fn archive(files: &[SeedFile]) -> Result<Vec<u8>> {
    let mut sorted = BTreeMap::new();
    let mut folders = BTreeSet::new();
    for file in files {
        let path = clean(&file.path)?;
        folders.extend(path.match_indices('/').map(|(end, _)| path[..end].to_owned()));
        if sorted.insert(path.to_owned(), file).is_some() {
            bail!("the seed holds {path} twice");
        }
    }
    if let Some(both) = folders.iter().find(|folder| sorted.contains_key(*folder)) {
        bail!("the seed holds {both} as a file and as a folder");
    }
    let mut bytes = Vec::new();
    // Folders first: in sorted order, each stands before what is in it.
    for (number, folder) in (1..).zip(&folders) {
        entry(folder, 0o755, ModeFileType::Directory, number, &[], &mut bytes)?;
    }
    for (number, (path, file)) in (1 + folders.len()..).zip(&sorted) {
        entry(
            path,
            file.mode,
            ModeFileType::Regular,
            number,
            &file.contents,
            &mut bytes,
        )?;
    }
    cpio::newc::trailer(&mut bytes).context("ending the seed's archive")?;
    Ok(bytes)
}

fn entry(path: &str, mode: u32, kind: ModeFileType, number: usize, contents: &[u8], to: &mut Vec<u8>) -> Result<()> {
    let packing = || format!("packing {path} into the seed");
    let size = u32::try_from(contents.len()).with_context(packing)?;
    let builder = Builder::new(path)
        .ino(u32::try_from(number).with_context(packing)?)
        .mode(mode & 0o7777)
        .set_mode_file_type(kind);
    let mut writer = builder.write(to, size);
    writer.write_all(contents).with_context(packing)?;
    writer.finish().with_context(packing)?;
    Ok(())
}

/// A path relative to the root, as cpio wants it.
fn clean(path: &str) -> Result<&str> {
    let relative = path.trim_start_matches('/');
    let odd = |part: &str| part.is_empty() || part == "." || part == ".." || part.contains('\0');
    if relative.split('/').any(odd) {
        bail!("{path:?} is no path for a file of the seed");
    }
    Ok(relative)
}

/// Writes `initrd` and behind it `archive`, compressed. The kernel skips zeros between the two and wants each on a
/// multiple of 4 bytes.
///
/// # Errors
/// When the one cannot be read or the other not written.
pub fn append_to_initrd(mut initrd: impl Read, archive: &[u8], mut to: impl Write) -> Result<()> {
    let size = std::io::copy(&mut initrd, &mut to).context("copying the installer's initrd")?;
    let padding = size.next_multiple_of(4) - size;
    let adding = "adding the seed to the installer's initrd";
    std::io::copy(&mut std::io::repeat(0).take(padding), &mut to).context(adding)?;
    // Without a time or a name in its header, so that the same seed gives the same initrd.
    let mut packed = GzBuilder::new().write(&mut to, Compression::default());
    packed.write_all(archive).context(adding)?;
    packed.finish().context(adding)?;
    to.flush().context(adding)
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::read::GzDecoder;

    fn file(path: &str, mode: u32, contents: &[u8]) -> SeedFile {
        SeedFile {
            path: path.into(),
            mode,
            contents: contents.into(),
        }
    }

    /// Name, mode and content of every entry, read by the cpio crate's own reader.
    fn unpack(mut bytes: &[u8]) -> Vec<(String, u32, Vec<u8>)> {
        let mut found = Vec::new();
        loop {
            let mut reader = cpio::newc::Reader::new(bytes).unwrap();
            if reader.entry().is_trailer() {
                return found;
            }
            let (name, mode) = (reader.entry().name().to_owned(), reader.entry().mode());
            let mut contents = Vec::new();
            reader.read_to_end(&mut contents).unwrap();
            found.push((name, mode, contents));
            bytes = reader.finish().unwrap();
        }
    }

    #[test]
    fn folders_come_before_what_is_in_them() {
        let files = [
            file("/usr/lib/a/run", 0o755, b"#!/bin/sh\n"),
            file("preseed.cfg", 0o600, b"d-i x"),
            file("usr/lib/b", 0o644, b""),
        ];
        let folder = |name: &str| (name.to_owned(), 0o040_755, Vec::new());
        let wanted = [
            folder("usr"),
            folder("usr/lib"),
            folder("usr/lib/a"),
            ("preseed.cfg".into(), 0o100_600, b"d-i x".to_vec()),
            ("usr/lib/a/run".into(), 0o100_755, b"#!/bin/sh\n".to_vec()),
            ("usr/lib/b".into(), 0o100_644, Vec::new()),
        ];
        let packed = archive(&files).unwrap();
        assert_eq!(unpack(&packed), wanted);
        let turned: Vec<SeedFile> = files.iter().rev().cloned().collect();
        assert_eq!(archive(&turned).unwrap(), packed);
    }

    #[test]
    fn odd_paths_are_refused() {
        for path in ["", "/", "../etc/passwd", "a//b", "a/./b", "a/", "a\0b"] {
            assert!(archive(&[file(path, 0o644, b"")]).is_err(), "{path:?}");
        }
        let twice = [file("/a", 0o644, b""), file("a", 0o644, b"")];
        assert!(archive(&twice).is_err());
        let both = [file("a", 0o644, b""), file("a/b", 0o644, b"")];
        assert!(archive(&both).is_err());
    }

    #[test]
    fn the_seed_follows_on_a_multiple_of_four() {
        let packed = archive(&[file("preseed.cfg", 0o600, b"d-i x")]).unwrap();
        for length in 0..9_usize {
            let initrd = vec![7; length];
            let mut both = Vec::new();
            append_to_initrd(&initrd[..], &packed, &mut both).unwrap();
            let start = length.next_multiple_of(4);
            assert_eq!(both[..length], initrd);
            assert!(both[length..start].iter().all(|b| *b == 0));
            let mut seed = Vec::new();
            GzDecoder::new(&both[start..]).read_to_end(&mut seed).unwrap();
            assert_eq!(seed, packed);
        }
    }
}
