//! Reading the members of an archive, each where it belongs. What is read is believed only once the digests, which come last,
//! are those of all of it.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::FileExt as _;

use anyhow::{Context as _, Result, bail};
use sha2::{Digest as _, Sha256};

use super::hash::Content;
use super::index::{Index, Sparse, refused};
use super::told::Told;
use super::{CHUNK, DIGESTS, INDEX, parts};

const READING: &str = "reading an archive";

/// The index is not larger, in bytes: a memory with a hole beside each page would have one of this size.
const INDEX_MAX: u64 = 64 << 20;

/// The digests are not larger, in bytes.
const DIGESTS_MAX: u64 = 1 << 20;

type Decoder<R> = zstd::Decoder<'static, BufReader<R>>;

/// Opens the archive that `from` gives.
///
/// # Errors
/// When there is no memory for it.
pub fn open<R: Read>(from: R) -> Result<tar::Archive<Decoder<R>>> {
    let decoder = zstd::Decoder::with_buffer(BufReader::with_capacity(CHUNK, from));
    Ok(tar::Archive::new(decoder.context(READING)?.single_frame()))
}

/// The members of an archive, in their order.
pub struct Members<'a, R: Read> {
    entries: tar::Entries<'a, Decoder<R>>,
    digests: BTreeMap<String, String>,
}

impl<'a, R: Read> Members<'a, R> {
    /// Begins with the first.
    ///
    /// # Errors
    /// When the archive was read from before.
    pub fn new(archive: &'a mut tar::Archive<Decoder<R>>) -> Result<Self> {
        // Raw: no member tells another's name, size or kind.
        let entries = archive.entries().map_err(damaged)?.raw(true);
        Ok(Self {
            entries,
            digests: BTreeMap::new(),
        })
    }

    /// The index.
    ///
    /// # Errors
    /// When it is damaged, or of another version.
    pub fn index(&mut self) -> Result<Index> {
        let text = self.content(INDEX, None, INDEX_MAX)?;
        Index::parse(&text)
    }

    /// The small member `name` of `size` bytes.
    ///
    /// # Errors
    /// When another one comes, or it is damaged.
    pub fn small(&mut self, name: &str, size: u64) -> Result<Vec<u8>> {
        self.content(name, Some(size), size)
    }

    /// Reads the member `name`, whose file is as `sparse` says, and writes it to `into` if it is wanted; the digest of its
    /// content.
    ///
    /// # Errors
    /// When another one comes, it is damaged, cannot be written, or the user interrupts.
    pub fn file(
        &mut self,
        name: &str,
        sparse: &Sparse,
        into: Option<&std::fs::File>,
        told: &mut Told<'_>,
    ) -> Result<String> {
        let mut entry = self.next(name, Some(parts::bytes(&sparse.data)))?;
        let mut content = Content::new(sparse.counts_holes(), told.cancel());
        let mut buffer = vec![0; CHUNK];
        if let Some(file) = into {
            file.set_len(sparse.size).with_context(|| format!("writing {name}"))?;
        }
        for part in &sparse.data {
            let (mut at, mut left) = *part;
            content.begin(*part).context(READING)?;
            while left > 0 {
                let wanted = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                let chunk = &mut buffer[..wanted];
                entry.read_exact(chunk).map_err(damaged)?;
                content.data(chunk);
                if let Some(file) = into {
                    file.write_all_at(chunk, at)
                        .with_context(|| format!("writing {name}"))?;
                }
                at += wanted as u64;
                left -= wanted as u64;
                told.pass(wanted).context(READING)?;
            }
        }
        let digest = content.finish(sparse.size).context(READING)?;
        self.digests.insert(name.to_owned(), digest.clone());
        Ok(digest)
    }

    /// Compares all that was read with the digests, which come last.
    ///
    /// # Errors
    /// A [`crate::fault::Cause::Verification`] fault with the first member that is not what it was.
    pub fn verify(mut self) -> Result<()> {
        let read = std::mem::take(&mut self.digests);
        let text = self.content(DIGESTS, None, DIGESTS_MAX)?;
        let noted: BTreeMap<String, String> =
            serde_json::from_slice(&text).map_err(|error| refused(&error.to_string()))?;
        if let Some((name, _)) = read.iter().find(|(name, digest)| noted.get(*name) != Some(digest)) {
            bail!(refused(&format!(
                "{name} is not what it was when it was written (SHA-256)"
            )));
        }
        if noted.len() != read.len() {
            bail!(refused("it lacks something"));
        }
        match self.entries.next() {
            None => Ok(()),
            Some(_) => bail!(refused("something follows its end")),
        }
    }

    fn content(&mut self, name: &str, size: Option<u64>, limit: u64) -> Result<Vec<u8>> {
        let mut entry = self.next(name, size)?;
        if entry.size() > limit {
            bail!(refused(&format!("{name} is too large")));
        }
        let mut content = Vec::new();
        entry.read_to_end(&mut content).map_err(damaged)?;
        if content.len() as u64 != entry.size() {
            bail!(refused("it ends too early"));
        }
        self.digests
            .insert(name.to_owned(), hex::encode(Sha256::digest(&content)));
        Ok(content)
    }

    /// The next member, which must be this one: a plain file of that name and size.
    fn next(&mut self, name: &str, size: Option<u64>) -> Result<tar::Entry<'a, Decoder<R>>> {
        let entry = self.entries.next().ok_or_else(|| refused("it ends too early"))?;
        let entry = entry.map_err(damaged)?;
        let is_it = *entry.path_bytes() == *name.as_bytes() && entry.header().entry_type().is_file();
        if !is_it {
            let found = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            bail!(refused(&format!("{found:?} comes where {name} belongs")));
        }
        if size.is_some_and(|size| entry.size() != size) {
            bail!(refused(&format!("{name} has another size than it should")));
        }
        Ok(entry)
    }
}

/// Reads an archive to its end, at which nothing else may follow.
///
/// # Errors
/// When it is damaged, or more follows.
pub fn end<R: Read>(archive: tar::Archive<Decoder<R>>) -> Result<()> {
    let mut decoder = archive.into_inner();
    let mut rest = [0; 4096];
    loop {
        match decoder.read(&mut rest).map_err(damaged)? {
            0 => break,
            count if rest[..count].iter().all(|byte| *byte == 0) => {}
            _ => bail!(refused("something follows its end")),
        }
    }
    let mut from = decoder.finish();
    if !from.fill_buf().map_err(damaged)?.is_empty() {
        bail!(refused("something follows its end"));
    }
    Ok(())
}

/// What went wrong while an archive was read: the archive, unless the system could not read it.
fn damaged(error: io::Error) -> anyhow::Error {
    if error.raw_os_error().is_some() {
        return anyhow::Error::new(error).context(READING);
    }
    refused(&error.to_string()).into()
}
