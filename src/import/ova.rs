//! Unpacking an OVA that somebody else may have made: nothing in it chooses where it is written, and nothing is used before
//! its digest is that of the manifest.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use fs_err as fs;
use openssl::hash::{Hasher, MessageDigest};

use super::ovf::{self, Described};
use crate::cancel::Cancel;
use crate::event::{Event, Events, Stage, Unit};
use crate::fault::{Cause, Fault};

/// No descriptor and no manifest is larger.
const TEXT_MAX: u64 = 4 << 20;

/// No name's member is larger.
const NAME_MAX: u64 = 64 << 10;

/// How much is copied at a time.
const CHUNK: usize = 1 << 20;

/// An unpacked OVA.
#[derive(Debug)]
pub struct Unpacked {
    /// The machine.
    pub described: Described,
    /// Its disk, in the folder that was given.
    pub disk: PathBuf,
    /// Whether there was a manifest to check it by.
    pub is_checked: bool,
}

/// Unpacks the OVA `file` into the empty folder `folder`.
///
/// # Errors
/// A [`Cause::Verification`] fault when it is damaged or made to do harm; when the disk is full, or the user interrupts.
pub fn unpack(file: &Path, folder: &Path, events: &Events, cancel: &Cancel) -> Result<Unpacked> {
    refuse_large_names(file)?;
    // An interruption comes as an error of reading.
    let parts = read(file, folder, events, cancel).or_else(|error| cancel.check().and(Err(error)))?;
    parts.settle(file, cancel)
}

fn read(file: &Path, folder: &Path, events: &Events, cancel: &Cancel) -> Result<Parts> {
    let mut parts = Parts::default();
    let source = Counted {
        total: fs::metadata(file)?.len(),
        from: fs::File::open(file)?,
        done: 0,
        events,
        cancel,
    };
    let mut archive = tar::Archive::new(source);
    let entries = archive.entries().map_err(|error| damaged(&error))?;
    for entry in entries {
        let entry = entry.map_err(|error| damaged(&error))?;
        let name = name_of(&entry)?;
        parts.take(name, entry, folder)?;
    }
    Ok(parts)
}

/// Names that have members of their own (GNU's long ones, PAX) are read into memory: no real one is larger than a path.
fn refuse_large_names(file: &Path) -> Result<()> {
    let mut archive = tar::Archive::new(fs::File::open(file)?.into_file());
    let entries = archive.entries_with_seek().map_err(|error| damaged(&error))?;
    for entry in entries.raw(true) {
        let entry = entry.map_err(|error| damaged(&error))?;
        let kind = entry.header().entry_type();
        let is_name = kind.is_gnu_longname()
            || kind.is_gnu_longlink()
            || kind.is_pax_local_extensions()
            || kind.is_pax_global_extensions();
        if is_name && entry.size() > NAME_MAX {
            bail!(refused("a name in it is too large"));
        }
    }
    Ok(())
}

/// The plain file name of an entry.
fn name_of(entry: &tar::Entry<'_, impl Read>) -> Result<String> {
    let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
    let is_plain = !name.is_empty() && name.len() <= 255 && !name.contains(['/', '\\', '\0']) && !name.starts_with('.');
    if !is_plain {
        bail!(refused(&format!("it holds the path {name:?}, where file names belong")));
    }
    if !entry.header().entry_type().is_file() {
        bail!(refused(&format!("{name} in it is no file")));
    }
    Ok(name)
}

/// What has been read so far.
#[derive(Default)]
struct Parts {
    descriptor: Option<(String, Vec<u8>)>,
    manifest: Option<String>,
    disks: BTreeMap<String, PathBuf>,
}

impl Parts {
    fn take(&mut self, name: String, mut entry: impl Read, folder: &Path) -> Result<()> {
        let extension = name
            .rsplit_once('.')
            .map(|(_, extension)| extension.to_ascii_lowercase());
        match extension.as_deref() {
            Some("ovf") if self.descriptor.is_none() => self.descriptor = Some((name, text(&mut entry)?)),
            Some("mf") if self.manifest.is_none() => {
                let bytes = text(&mut entry)?;
                self.manifest = Some(String::from_utf8_lossy(&bytes).into_owned());
            }
            Some("ovf" | "mf") => bail!(refused(&format!("{name} in it is one too many"))),
            Some("vmdk") => {
                // A name of ours: theirs reaches no file system.
                let disk = folder.join(format!("disk-{}", self.disks.len()));
                copy(&mut entry, &disk)?;
                if self.disks.insert(name.clone(), disk).is_some() {
                    bail!(refused(&format!("it holds {name} twice")));
                }
            }
            // Certificates, messages, other machines' settings: not needed.
            _ => {}
        }
        Ok(())
    }

    fn settle(self, file: &Path, cancel: &Cancel) -> Result<Unpacked> {
        let (name, descriptor) = self
            .descriptor
            .with_context(|| refused("it has no descriptor: it is no OVA"))?;
        let digests = self.manifest.as_deref().map(manifest).transpose()?;
        if let Some(digests) = &digests {
            check(digests, &name, &mut &descriptor[..], cancel)?;
        }
        let text = String::from_utf8(descriptor).map_err(|_| refused("its descriptor is no text"))?;
        let described = ovf::read(&text)?;
        let disk = self
            .disks
            .get(&described.disk)
            .with_context(|| refused(&format!("its disk {} is not in {}", described.disk, file.display())))?;
        if let Some(digests) = &digests {
            check(digests, &described.disk, &mut fs::File::open(disk)?, cancel)?;
        }
        Ok(Unpacked {
            disk: disk.clone(),
            described,
            is_checked: digests.is_some(),
        })
    }
}

fn text(from: &mut impl Read) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(TEXT_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| damaged(&error))?;
    if bytes.len() as u64 > TEXT_MAX {
        bail!(refused("its descriptor is too large"));
    }
    Ok(bytes)
}

fn copy(from: &mut impl Read, to: &Path) -> Result<()> {
    use std::io::Write as _;
    let mut file = fs::File::create_new(to)?;
    let mut chunk = vec![0; CHUNK];
    loop {
        let count = from.read(&mut chunk).map_err(|error| damaged(&error))?;
        if count == 0 {
            return Ok(());
        }
        file.write_all(&chunk[..count]).map_err(|error| match error.kind() {
            std::io::ErrorKind::StorageFull => {
                anyhow::Error::new(Fault::new(Cause::Space, "no space is left while unpacking the disk"))
            }
            _ => error.into(),
        })?;
    }
}

/// The digests of a manifest: `SHA256(name)= hex`, with or without blanks (DSP0243, chapter on the manifest; DSP0243 1.0
/// wants SHA1).
fn manifest(text: &str) -> Result<BTreeMap<String, (MessageDigest, String)>> {
    let mut digests = BTreeMap::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let parsed = line.split_once('(').and_then(|(kind, rest)| {
            let (name, digest) = rest.rsplit_once(')')?;
            let digest = digest.trim().strip_prefix('=')?.trim().to_ascii_lowercase();
            Some((kind.trim(), name, digest))
        });
        let (kind, name, digest) = parsed.with_context(|| refused(&format!("its manifest has the line {line:?}")))?;
        let kind = match kind {
            "SHA1" => MessageDigest::sha1(),
            "SHA256" => MessageDigest::sha256(),
            "SHA512" => MessageDigest::sha512(),
            other => bail!(refused(&format!("its manifest has digests of the kind {other:?}"))),
        };
        digests.insert(name.to_owned(), (kind, digest));
    }
    Ok(digests)
}

fn check(
    digests: &BTreeMap<String, (MessageDigest, String)>,
    name: &str,
    content: &mut impl Read,
    cancel: &Cancel,
) -> Result<()> {
    let (kind, expected) = digests
        .get(name)
        .with_context(|| refused(&format!("its manifest does not name {name}")))?;
    let mut hasher = Hasher::new(*kind).context("preparing a digest")?;
    let mut chunk = vec![0; CHUNK];
    loop {
        cancel.check()?;
        let count = content.read(&mut chunk).context("reading what was unpacked")?;
        if count == 0 {
            break;
        }
        hasher.update(&chunk[..count]).context("computing a digest")?;
    }
    let found = hex::encode(hasher.finish().context("computing a digest")?);
    if found != *expected {
        bail!(refused(&format!(
            "{name} in it is damaged: its digest is {found}, and the manifest says {expected}"
        )));
    }
    Ok(())
}

fn refused(reason: &str) -> Fault {
    Fault::new(Cause::Verification, format!("the OVA is not imported: {reason}"))
}

fn damaged(error: &std::io::Error) -> Fault {
    refused(&format!("it is damaged: {error}"))
}

/// Tells how much of the archive has been read.
struct Counted<'a, R> {
    from: R,
    done: u64,
    total: u64,
    events: &'a Events,
    cancel: &'a Cancel,
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        const STEP: u64 = 4 << 20;
        if self.cancel.is_raised() {
            return Err(std::io::Error::other("interrupted"));
        }
        let count = self.from.read(into)?;
        let before = self.done / STEP;
        self.done += count as u64;
        if self.done / STEP != before {
            self.events.emit(Event::Progress {
                stage: Stage::Import,
                done: self.done,
                total: Some(self.total),
                unit: Unit::Bytes,
            });
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests;
