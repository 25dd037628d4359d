//! Writing the members of an archive, one after the other.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt as _;

use sha2::{Digest as _, Sha256};
use tar::{EntryType, Header};

use super::hash::Content;
use super::index::Sparse;
use super::parts::{self, Part};
use super::told::Told;
use super::{CHUNK, DIGESTS};

/// zstd's own default: a disk is half as large by it, and it packs more in a second than most networks move.
const LEVEL: i32 = 3;

/// An archive that is being written.
pub struct Packer<'a, W: Write> {
    tar: tar::Builder<zstd::Encoder<'static, W>>,
    digests: BTreeMap<String, String>,
    told: Told<'a>,
}

impl<'a, W: Write> Packer<'a, W> {
    /// Begins an archive in `to`.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub fn new(to: W, told: Told<'a>) -> io::Result<Self> {
        let mut encoder = zstd::Encoder::new(to, LEVEL)?;
        // A byte that has changed is found even where it is nobody's.
        encoder.include_checksum(true)?;
        Ok(Self {
            tar: tar::Builder::new(encoder),
            digests: BTreeMap::new(),
            told,
        })
    }

    /// The small member `name`.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn small(&mut self, name: &str, content: &[u8]) -> io::Result<()> {
        self.tar.append(&header(name, content.len() as u64)?, content)?;
        self.digests
            .insert(name.to_owned(), hex::encode(Sha256::digest(content)));
        Ok(())
    }

    /// The member `name` with the data of `file`, which is as `sparse` says; the digest of its content.
    ///
    /// # Errors
    /// When it cannot be read or written, or the user interrupts.
    pub fn file(&mut self, name: &str, file: &std::fs::File, sparse: &Sparse) -> io::Result<String> {
        let mut data = Data {
            file,
            parts: sparse.data.iter(),
            at: 0,
            left: 0,
            content: Content::new(sparse.counts_holes(), self.told.cancel()),
            told: &mut self.told,
        };
        let header = header(name, parts::bytes(&sparse.data))?;
        // The tar crate copies in pieces of 8 KiB: fewer, larger ones are faster.
        let mut buffered = io::BufReader::with_capacity(CHUNK, &mut data);
        self.tar.append(&header, &mut buffered)?;
        let digest = data.content.finish(sparse.size)?;
        self.digests.insert(name.to_owned(), digest.clone());
        Ok(digest)
    }

    /// Ends the archive with the digests of all that is in it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn finish(mut self) -> io::Result<W> {
        let digests = serde_json::to_vec_pretty(&self.digests)?;
        self.tar.append(&header(DIGESTS, digests.len() as u64)?, &*digests)?;
        self.tar.into_inner()?.finish()
    }
}

/// Nobody's file that nobody else may read, of no time: the same checkpoint gives the same archive.
fn header(name: &str, size: u64) -> io::Result<Header> {
    let mut header = Header::new_gnu();
    header.set_path(name)?;
    header.set_entry_type(EntryType::Regular);
    header.set_mode(0o600);
    header.set_size(size);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_cksum();
    Ok(header)
}

/// The data of a file, without its holes.
struct Data<'a, 'b> {
    file: &'a std::fs::File,
    parts: std::slice::Iter<'a, Part>,
    at: u64,
    left: u64,
    content: Content<'b>,
    told: &'a mut Told<'b>,
}

impl Read for Data<'_, '_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            let Some(part) = self.parts.next() else { return Ok(0) };
            (self.at, self.left) = *part;
            self.content.begin(*part)?;
        }
        let wanted = into.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let count = self.file.read_at(&mut into[..wanted], self.at)?;
        if count == 0 && wanted > 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "a checkpoint's file has become shorter",
            ));
        }
        self.content.data(&into[..count]);
        self.at += count as u64;
        self.left -= count as u64;
        self.told.pass(count)?;
        Ok(count)
    }
}
