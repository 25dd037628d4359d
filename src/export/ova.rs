//! An OVA: descriptor, disk and manifest in one archive, in the order that DSP0243 wants.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use fs_err as fs;
use sha2::{Digest as _, Sha256};

use super::ovf::{self, Appliance, Package};
use super::stream::{Told, Watched};

/// Writes the machine `appliance` with the disk in the file `image`, a stream-optimized VMDK, to `into`, and removes the
/// disk.
///
/// # Errors
/// When something cannot be read or written, or the user interrupts.
pub fn write(appliance: &Appliance<'_>, image: &Path, into: &Path, told: &Told<'_>) -> Result<PathBuf> {
    let bytes = fs::metadata(image)?.len();
    let disk = format!("{}-disk001.vmdk", appliance.name);
    let time = jiff::Timestamp::now();
    let descriptor = ovf::descriptor(
        appliance,
        &Package {
            disk: &disk,
            bytes,
            disk_uuid: &uuid(),
            machine_uuid: &uuid(),
            time: &time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        },
    )?;
    let file = fs::File::create_new(into)?.into_file();
    let mut archive = tar::Builder::new(std::io::BufWriter::with_capacity(1 << 20, file));
    let context = || format!("writing {}", into.display());
    let ovf = format!("{}.ovf", appliance.name);
    append(&mut archive, &ovf, descriptor.as_bytes(), time).with_context(context)?;
    let mut watched = Watched::new(fs::File::open(image)?, bytes, *told);
    let appended = archive.append_data(&mut header(bytes, time), &disk, &mut watched);
    told.outcome(appended, "packing the disk")?;
    let manifest = manifest(&[
        (&ovf, &hex::encode(Sha256::digest(&descriptor))),
        (&disk, &watched.digest()),
    ]);
    let name = format!("{}.mf", appliance.name);
    append(&mut archive, &name, manifest.as_bytes(), time).with_context(context)?;
    let mut file = archive.into_inner().with_context(context)?;
    told.outcome(file.flush(), "packing the disk")?;
    file.get_ref().sync_all().with_context(context)?;
    fs::remove_file(image)?;
    Ok(into.to_owned())
}

/// The digests of the other files (DSP0243, chapter on the manifest).
fn manifest(files: &[(&str, &str)]) -> String {
    let lines = files
        .iter()
        .map(|(name, digest)| format!("SHA256 ({name}) = {digest}\n"));
    lines.collect::<Vec<_>>().concat()
}

/// The header of a plain file in the format that DSP0243 names (POSIX ustar).
fn header(bytes: u64, time: jiff::Timestamp) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.set_size(bytes);
    header.set_mode(0o644);
    header.set_mtime(u64::try_from(time.as_second()).unwrap_or(0));
    header
}

fn append(
    archive: &mut tar::Builder<impl std::io::Write>,
    name: &str,
    content: &[u8],
    time: jiff::Timestamp,
) -> std::io::Result<()> {
    archive.append_data(&mut header(content.len() as u64, time), name, content)
}

/// A random UUID (RFC 9562, version 4).
fn uuid() -> String {
    let mut bytes: [u8; 16] = rand::random();
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = hex::encode(bytes);
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cancel::Cancel;
    use crate::event::{Events, Stage};
    use std::io::Read as _;

    #[test]
    fn the_archive_holds_what_its_manifest_says() {
        let folder = tempfile::tempdir().unwrap();
        let (image, into) = (folder.path().join("disk"), folder.path().join("a.ova"));
        std::fs::write(&image, vec![7; 100_000]).unwrap();
        let appliance = Appliance {
            name: "a",
            login: None,
            cpus: 1,
            memory_mib: 512,
            disk_bytes: 1 << 30,
            https_port: 8443,
            ssh_port: 2222,
        };
        let told = Told {
            events: &Events::ignore(),
            cancel: &Cancel::default(),
            stage: Stage::Export,
            step: "packing",
        };
        write(&appliance, &image, &into, &told).unwrap();
        assert!(!image.exists());
        let mut archive = tar::Archive::new(std::fs::File::open(&into).unwrap());
        let mut files = Vec::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            files.push((entry.path().unwrap().display().to_string(), content));
        }
        let names: Vec<_> = files.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["a.ovf", "a-disk001.vmdk", "a.mf"]);
        let expected: String = files[..2]
            .iter()
            .map(|(name, content)| format!("SHA256 ({name}) = {}\n", hex::encode(Sha256::digest(content))))
            .collect::<Vec<_>>()
            .concat();
        assert_eq!(String::from_utf8(files[2].1.clone()).unwrap(), expected);
    }

    #[test]
    fn uuids_are_random_and_say_so() {
        let uuid = uuid();
        assert_eq!(uuid.len(), 36);
        assert_eq!(&uuid[14..15], "4");
        assert!("89ab".contains(&uuid[19..20]), "{uuid}");
        assert_ne!(uuid, super::uuid());
    }
}
