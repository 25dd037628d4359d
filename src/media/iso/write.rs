//! Makes small ISO 9660 images (ECMA-119): some files in the root, by their plain names.
//!
//! Names have up to 30 of A to Z, 0 to 9 and `_` (interchange level 2); Linux shows them in small letters and without
//! what stands behind them (`Documentation/filesystems/isofs.rst`, `map=normal`).

use anyhow::{Result, ensure};

/// A sector's size, which is a block's too, in bytes ([`super::SECTOR`]).
const SECTOR: u16 = 2048;
const BLOCK: usize = 2048;

/// Where the parts lie, in sectors: the primary descriptor, the last one, the two path tables, the root, the files.
const PRIMARY: u32 = 16;
const LITTLE_PATHS: u32 = PRIMARY + 2;
const BIG_PATHS: u32 = LITTLE_PATHS + 1;
const ROOT: u32 = BIG_PATHS + 1;
const FILES: u32 = ROOT + 1;

/// The length of the table of directories, in bytes.
const PATHS: u32 = 10;

/// A directory record's flag (ECMA-119, 9.1.6).
const DIRECTORY: u8 = 1 << 1;

/// The image with the volume identifier `label`. Of each file the name, as Linux will show it, and its content.
///
/// # Errors
/// When a name is not of the letters above, or the files are too many for one sector.
pub fn image(label: &str, files: &[(&str, &[u8])]) -> Result<Vec<u8>> {
    let is_fitting = |name: &str, limit: usize| {
        let fits = |letter: u8| letter.is_ascii_uppercase() || letter.is_ascii_digit() || letter == b'_';
        !name.is_empty() && name.len() <= limit && name.bytes().all(fits)
    };
    ensure!(is_fitting(label, 32), "{label:?} cannot be the label of a medium");
    let mut named = Vec::new();
    for (name, content) in files {
        let plain = name.to_ascii_uppercase();
        ensure!(is_fitting(&plain, 30), "{name:?} cannot be a file's name on a medium");
        named.push((format!("{plain}.;1"), *content));
    }
    // By their names (ECMA-119, 9.3).
    named.sort();

    let mut root = record(&[0], ROOT, SECTOR.into(), DIRECTORY)?;
    root.extend(record(&[1], ROOT, SECTOR.into(), DIRECTORY)?);
    let mut contents = Vec::new();
    for (name, content) in &named {
        let place = FILES + u32::try_from(contents.len() / BLOCK)?;
        root.extend(record(name.as_bytes(), place, u32::try_from(content.len())?, 0)?);
        contents.extend_from_slice(content);
        contents.resize(contents.len().next_multiple_of(BLOCK), 0);
    }
    ensure!(root.len() <= BLOCK, "these are too many files for a small medium");
    let sectors = FILES + u32::try_from(contents.len() / BLOCK)?;

    let mut image = vec![0; PRIMARY as usize * BLOCK];
    for part in [
        primary(label, sectors)?,
        last(),
        paths(u32::to_le_bytes, u16::to_le_bytes),
        paths(u32::to_be_bytes, u16::to_be_bytes),
        root,
    ] {
        image.extend(part);
        image.resize(image.len().next_multiple_of(BLOCK), 0);
    }
    image.extend(contents);
    Ok(image)
}

/// The primary volume descriptor (ECMA-119, 8.4).
fn primary(label: &str, sectors: u32) -> Result<Vec<u8>> {
    let mut sector = b"\x01CD001\x01\0".to_vec();
    sector.extend(padded("", 32));
    sector.extend(padded(label, 32));
    sector.extend([0; 8]);
    sector.extend(both(sectors));
    sector.extend([0; 32]);
    // One volume, the first of its set, in blocks of a sector.
    for number in [1, 1, SECTOR] {
        sector.extend(both_short(number));
    }
    sector.extend(both(PATHS));
    sector.extend(LITTLE_PATHS.to_le_bytes());
    sector.extend([0; 4]);
    sector.extend(BIG_PATHS.to_be_bytes());
    sector.extend([0; 4]);
    sector.extend(record(&[0], ROOT, SECTOR.into(), DIRECTORY)?);
    // Set, publisher, preparer, application; then three files' names.
    sector.extend(padded("", 4 * 128 + 3 * 37));
    for _ in 0..4 {
        // A date that is not told (8.4.26.1).
        sector.extend(b"0000000000000000\0");
    }
    // The version of the file structure.
    sector.push(1);
    Ok(sector)
}

/// What ends the list of descriptors (ECMA-119, 8.3).
fn last() -> Vec<u8> {
    b"\xffCD001\x01".to_vec()
}

/// The table of directories, of which there is the root (ECMA-119, 9.4).
fn paths(long: fn(u32) -> [u8; 4], short: fn(u16) -> [u8; 2]) -> Vec<u8> {
    let mut table = vec![1, 0];
    table.extend(long(ROOT));
    table.extend(short(1));
    table.extend([0, 0]);
    table
}

/// A directory record (ECMA-119, 9.1) with a name of 1 to 33 bytes.
fn record(name: &[u8], place: u32, size: u32, flags: u8) -> Result<Vec<u8>> {
    let mut record = vec![0, 0];
    record.extend(both(place));
    record.extend(both(size));
    // The first of January 1970, at midnight.
    record.extend([70, 1, 1, 0, 0, 0, 0]);
    record.extend([flags, 0, 0]);
    record.extend(both_short(1));
    record.push(u8::try_from(name.len())?);
    record.extend(name);
    record.resize(record.len().next_multiple_of(2), 0);
    record[0] = u8::try_from(record.len())?;
    Ok(record)
}

/// A number both ways (ECMA-119, 7.3.3).
fn both(number: u32) -> [u8; 8] {
    let (little, big) = (number.to_le_bytes(), number.to_be_bytes());
    [
        little[0], little[1], little[2], little[3], big[0], big[1], big[2], big[3],
    ]
}

/// The same for a short one (ECMA-119, 7.2.3).
fn both_short(number: u16) -> [u8; 4] {
    let (little, big) = (number.to_le_bytes(), number.to_be_bytes());
    [little[0], little[1], big[0], big[1]]
}

fn padded(text: &str, length: usize) -> Vec<u8> {
    let mut field = text.as_bytes().to_vec();
    field.resize(length, b' ');
    field
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::cancel::Cancel;
    use crate::process::{self, CommandLine};

    const FILES: [(&str, &[u8]); 3] = [
        ("password_hash", b"$6$x$y\n"),
        ("authorized_keys", b"ssh-ed25519 AAAA of the tests\n"),
        ("host_key", &[b'k'; 5000]),
    ];

    fn written(folder: &std::path::Path) -> std::path::PathBuf {
        let iso = folder.join("keys.iso");
        std::fs::write(&iso, image("PROVISION", &FILES).unwrap()).unwrap();
        iso
    }

    #[test]
    fn our_own_reader_finds_every_file() {
        assert_eq!(super::super::SECTOR, u64::from(SECTOR));
        assert_eq!(super::super::FIRST_DESCRIPTOR, u64::from(PRIMARY));
        let folder = tempfile::tempdir().unwrap();
        let iso = written(folder.path());
        for (name, content) in FILES {
            let mut read = Vec::new();
            super::super::read_file(&iso, name, &mut read).unwrap();
            assert_eq!(read, content, "{name}");
        }
    }

    #[test]
    fn others_read_it_without_a_complaint() {
        let folder = tempfile::tempdir().unwrap();
        let iso = written(folder.path());
        let line = CommandLine::new(
            "xorriso",
            ["-abort_on", "WARNING", "-return_with", "WARNING", "32", "-indev"],
        )
        .arg(&iso)
        .arg("-pvd_info");
        let told = process::run(&line, Duration::from_secs(60), &Cancel::default()).unwrap();
        let told = String::from_utf8_lossy(&told.stdout).into_owned();
        assert!(told.contains("Volume Id    : PROVISION"), "{told}");
        for (name, content) in FILES {
            let to = folder.path().join(name);
            let plain = format!("/{}", name.to_ascii_uppercase());
            let line = CommandLine::new("xorriso", ["-osirrox", "on", "-indev"])
                .arg(&iso)
                .arg("-extract")
                .arg(plain)
                .arg(&to);
            process::run(&line, Duration::from_secs(60), &Cancel::default()).unwrap();
            assert_eq!(std::fs::read(to).unwrap(), content, "{name}");
        }
        let line = CommandLine::new("blkid", ["-p", "-o", "value", "-s", "LABEL"]).arg(&iso);
        let label = process::run(&line, Duration::from_secs(60), &Cancel::default()).unwrap();
        assert_eq!(label.stdout, b"PROVISION\n");
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert!(image("PROVISION", &[]).is_ok());
        for label in ["", "Provision", "A B", &"A".repeat(33)] {
            assert!(image(label, &[]).is_err(), "{label}");
        }
        for name in ["", "a.b", "a-b", "../x", &"a".repeat(31)] {
            assert!(image("X", &[(name, b"")]).is_err(), "{name}");
        }
        let names: Vec<String> = (0..40)
            .map(|number| format!("a_long_name_of_a_file_{number}"))
            .collect();
        let files: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), &b""[..])).collect();
        assert!(image("X", &files).is_err());
    }
}
