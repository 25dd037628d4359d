//! A containerdisk: an OCI image whose one layer holds the disk where KubeVirt looks for it.
//!
//! The disk lies in `/disk`, owned by 107 (KubeVirt runs QEMU as user and group 107), as its documentation of
//! container disks wants. The layer is not compressed, since the disk is. Formats: OCI Image Format Specification 1.0,
//! image-layout.md, manifest.md, config.md.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use fs_err as fs;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::place::OCI_MARK;
use super::stream::{Digesting, Told, Watched};

/// The user and the group as which KubeVirt runs QEMU.
const OWNER: u64 = 107;

/// A blob: where it is, by its content.
struct Blob {
    digest: String,
    bytes: u64,
}

impl Blob {
    fn descriptor(&self, media_type: &str) -> Value {
        json!({"mediaType": media_type, "digest": format!("sha256:{}", self.digest), "size": self.bytes})
    }
}

/// Writes the qcow2 image in the file `image` as a containerdisk called `name` to the folder `into`, or to the one
/// archive `into`, and removes the image.
///
/// # Errors
/// When something cannot be read or written, or the user interrupts.
pub fn write(name: &str, image: &Path, into: &Path, is_tar: bool, told: &Told<'_>) -> Result<PathBuf> {
    let folder = into.with_extension("layout");
    let blobs = folder.join("blobs/sha256");
    fs::create_dir_all(&blobs)?;
    let layer = layer(name, image, &blobs, told)?;
    fs::remove_file(image)?;
    let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let config = blob(&blobs, &config(&layer, &now))?;
    let manifest = blob(&blobs, &manifest(&layer, &config, name, &now))?;
    let mut listed = manifest.descriptor("application/vnd.oci.image.manifest.v1+json");
    listed["annotations"] = json!({"org.opencontainers.image.ref.name": "latest"});
    let index = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [listed],
    });
    durable(&folder.join("index.json"), &serde_json::to_vec(&index)?)?;
    durable(
        &folder.join(OCI_MARK),
        &serde_json::to_vec(&json!({"imageLayoutVersion": "1.0.0"}))?,
    )?;
    for dir in [&blobs, &folder] {
        fs::File::open(dir)?.sync_all()?;
    }
    if is_tar {
        archive(&folder, into, told)?;
        fs::remove_dir_all(&folder)?;
    } else {
        fs::rename(&folder, into)?;
    }
    Ok(into.to_owned())
}

/// The layer with the disk.
fn layer(name: &str, image: &Path, blobs: &Path, told: &Told<'_>) -> Result<Blob> {
    let bytes = fs::metadata(image)?.len();
    let new = blobs.join("new");
    let file = fs::File::create_new(&new)?.into_file();
    let to = Digesting::new(io::BufWriter::with_capacity(1 << 20, file));
    let mut archive = tar::Builder::new(to);
    let mut folder = header(tar::EntryType::Directory, 0o755, 0);
    archive.append_data(&mut folder, "disk/", io::empty())?;
    let mut disk = header(tar::EntryType::Regular, 0o440, bytes);
    let watched = Watched::new(fs::File::open(image)?, bytes, *told);
    let appended = archive.append_data(&mut disk, format!("disk/{name}.qcow2"), watched);
    told.outcome(appended, "packing the disk")?;
    let to = told.outcome(archive.into_inner(), "packing the disk")?;
    let bytes = to.bytes;
    let (mut file, digest) = to.finish();
    told.outcome(file.flush(), "packing the disk")?;
    file.get_ref().sync_all().context("packing the disk")?;
    fs::rename(&new, blobs.join(&digest))?;
    Ok(Blob { digest, bytes })
}

fn header(kind: tar::EntryType, mode: u32, bytes: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(OWNER);
    header.set_gid(OWNER);
    header.set_size(bytes);
    // The same disk gives the same layer.
    header.set_mtime(0);
    header
}

fn config(layer: &Blob, now: &str) -> Value {
    json!({
        "created": now,
        "architecture": "amd64",
        "os": "linux",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", layer.digest)]},
        "history": [{"created": now, "created_by": "provision export"}],
    })
}

fn manifest(layer: &Blob, config: &Blob, name: &str, now: &str) -> Value {
    json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config.descriptor("application/vnd.oci.image.config.v1+json"),
        "layers": [layer.descriptor("application/vnd.oci.image.layer.v1.tar")],
        "annotations": {
            "org.opencontainers.image.title": name,
            "org.opencontainers.image.description": "a virtual machine's disk for KubeVirt",
            "org.opencontainers.image.created": now,
        },
    })
}

fn blob(blobs: &Path, content: &Value) -> Result<Blob> {
    let content = serde_json::to_vec(content)?;
    let digest = hex::encode(Sha256::digest(&content));
    durable(&blobs.join(&digest), &content)?;
    Ok(Blob {
        digest,
        bytes: content.len() as u64,
    })
}

fn durable(file: &Path, content: &[u8]) -> Result<()> {
    let mut file = fs::File::create_new(file)?;
    file.write_all(content)?;
    Ok(file.sync_all()?)
}

/// The layout `folder` as one archive.
fn archive(folder: &Path, into: &Path, told: &Told<'_>) -> Result<()> {
    let file = fs::File::create_new(into)?.into_file();
    let mut archive = tar::Builder::new(io::BufWriter::with_capacity(1 << 20, file));
    let told = Told {
        step: "writing the archive",
        ..*told
    };
    let mut files = vec![PathBuf::from(OCI_MARK), PathBuf::from("index.json")];
    for entry in fs::read_dir(folder.join("blobs/sha256"))? {
        files.push(Path::new("blobs/sha256").join(entry?.file_name()));
    }
    for name in files {
        let from = fs::File::open(folder.join(&name))?;
        let bytes = from.metadata()?.len();
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes);
        header.set_mode(0o644);
        header.set_mtime(0);
        let appended = archive.append_data(&mut header, &name, Watched::new(from, bytes, told));
        told.outcome(appended, "packing the image")?;
    }
    let mut file = told.outcome(archive.into_inner(), "packing the image")?;
    told.outcome(file.flush(), "packing the image")?;
    file.get_ref().sync_all().context("packing the image")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cancel::Cancel;
    use crate::event::{Events, Stage};

    fn told(job: impl Fn(&Told<'_>)) {
        job(&Told {
            events: &Events::ignore(),
            cancel: &Cancel::default(),
            stage: Stage::Export,
            step: "packing",
        });
    }

    fn read(folder: &Path, descriptor: &Value) -> Vec<u8> {
        let digest = descriptor["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap();
        let content = std::fs::read(folder.join("blobs/sha256").join(digest)).unwrap();
        assert_eq!(hex::encode(Sha256::digest(&content)), digest);
        assert_eq!(content.len() as u64, descriptor["size"].as_u64().unwrap());
        content
    }

    #[test]
    fn every_descriptor_leads_to_its_content() {
        let folder = tempfile::tempdir().unwrap();
        let (image, into) = (folder.path().join("disk"), folder.path().join("made"));
        std::fs::write(&image, b"QFI\xfb disk").unwrap();
        told(|told| drop(write("jdoe", &image, &into, false, told).unwrap()));
        let parse = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap();
        let index = parse(&std::fs::read(into.join("index.json")).unwrap());
        let manifest = parse(&read(&into, &index["manifests"][0]));
        let config = parse(&read(&into, &manifest["config"]));
        assert_eq!(config["rootfs"]["diff_ids"][0], manifest["layers"][0]["digest"]);
        let layer = read(&into, &manifest["layers"][0]);
        let mut archive = tar::Archive::new(&layer[..]);
        let entries = archive.entries().unwrap().map(|entry| {
            let entry = entry.unwrap();
            let header = entry.header();
            let owner = (header.uid().unwrap(), header.gid().unwrap());
            (
                entry.path().unwrap().display().to_string(),
                header.mode().unwrap(),
                owner,
            )
        });
        let expected = [("disk/", 0o755), ("disk/jdoe.qcow2", 0o440)];
        let expected = expected.map(|(path, mode)| (path.to_owned(), mode, (107, 107)));
        assert_eq!(entries.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn an_archive_holds_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let (image, into) = (folder.path().join("disk"), folder.path().join("made"));
        std::fs::write(&image, b"QFI\xfb disk").unwrap();
        told(|told| drop(write("jdoe", &image, &into, true, told).unwrap()));
        let mut archive = tar::Archive::new(std::fs::File::open(&into).unwrap());
        let count = archive.entries().unwrap().count();
        assert_eq!(count, 5);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
