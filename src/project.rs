//! What of the project folder is sent to the guest.
//!
//! The whole folder, less `.git`, this program's own files (records of runs among them), and what `.provisionignore` lists (in the syntax of
//! gitignore(5)). What git ignores is sent: secrets and `srcs/.env` are ignored by git and needed by the project.

mod archive;
mod collect;
pub mod makefile;
pub mod own;

pub use collect::{from_elsewhere, sends};

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Read;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use fs_err as fs;
use hmac::Mac as _;

use crate::cancel::Cancel;
use crate::fault::{Cause, Fault};
use crate::identity::keyed_hash;
use crate::key::Inputs;

/// Files, folders and links by their path in the guest, below the project's folder. A folder comes before what it
/// holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    entries: BTreeMap<PathBuf, Entry>,
}

/// One file, folder or link.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    kind: Kind,
    /// Permissions, with the set-ID and sticky bits.
    mode: u32,
    /// Seconds since 1970 of the last change. `make` compares these, so they are sent as they are; they count in no
    /// key.
    modified: i64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Folder,
    Link { target: OsString },
    File { source: PathBuf, stamp: Stamp },
}

/// How a file was when the tree was collected. A file that is another when it is sent would not be what its stage's
/// key says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    size: u64,
    mode: u32,
    modified: (i64, i64),
}

impl Stamp {
    fn of(data: &std::fs::Metadata) -> Self {
        Self {
            size: data.size(),
            mode: data.mode(),
            modified: (data.mtime(), data.mtime_nsec()),
        }
    }
}

impl Tree {
    /// Every entry's path with a hash of its content, permissions and link target.
    ///
    /// All hashes are keyed by `secret`: nobody can tell from the hash of an `.env` which passwords it holds.
    ///
    /// # Errors
    /// When a file cannot be read, or the user interrupts.
    pub fn inputs(&self, secret: &[u8; 32], cancel: &Cancel) -> Result<Inputs> {
        let mut buffer = vec![0; 256 * 1024];
        self.entries
            .iter()
            .map(|(path, entry)| Ok((shown(path), entry.hash(path, secret, &mut buffer, cancel)?)))
            .collect()
    }

    /// The content of every file that is built from as a Dockerfile, as far as it is text.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn dockerfiles(&self) -> Result<Vec<String>> {
        let mut found = Vec::new();
        for (path, entry) in &self.entries {
            let name = path.file_name().map(|name| name.to_string_lossy().to_lowercase());
            let is_named = name.is_some_and(|name| name.starts_with("dockerfile") || name.ends_with("dockerfile"));
            if let (true, Kind::File { source, stamp }) = (is_named, &entry.kind) {
                let mut content = Vec::new();
                open(source, *stamp)?
                    .read_to_end(&mut content)
                    .with_context(unreadable)?;
                found.extend(String::from_utf8(content));
            }
        }
        Ok(found)
    }

    /// The size in bytes of the archive that [`Tree::write_tar`] makes, but for what very long names add.
    pub fn total_bytes(&self) -> u64 {
        const BLOCK: u64 = 512;
        // Two empty blocks end an archive.
        let content = self.entries.values().map(|entry| match &entry.kind {
            Kind::File { stamp, .. } => BLOCK + stamp.size.next_multiple_of(BLOCK),
            Kind::Folder | Kind::Link { .. } => BLOCK,
        });
        content.sum::<u64>() + 2 * BLOCK
    }
}

impl Entry {
    fn hash(&self, path: &Path, secret: &[u8; 32], buffer: &mut [u8], cancel: &Cancel) -> Result<String> {
        let mut hash = keyed_hash(secret);
        let mut add = |part: &[u8]| {
            // Lengths keep a name apart from what follows it.
            hash.update(&(part.len() as u64).to_le_bytes());
            hash.update(part);
        };
        add(path.as_os_str().as_bytes());
        add(&self.mode.to_le_bytes());
        match &self.kind {
            Kind::Folder => add(b"folder"),
            Kind::Link { target } => {
                add(b"link");
                add(target.as_bytes());
            }
            Kind::File { source, stamp } => {
                add(b"file");
                let mut file = open(source, *stamp)?;
                loop {
                    cancel.check()?;
                    let count = file.read(buffer).with_context(unreadable)?;
                    if count == 0 {
                        break;
                    }
                    hash.update(&buffer[..count]);
                }
            }
        }
        Ok(hex::encode(hash.finalize().into_bytes()))
    }
}

/// What is said of what cannot be read.
fn unreadable() -> Fault {
    Fault::new(Cause::Config, "reading the project").hint(
        "whoever runs `provision` must be able to read all that it sends; what a .provisionignore lists is not sent",
    )
}

/// Opens a file that must be as it was when the tree was collected.
fn open(source: &Path, stamp: Stamp) -> Result<fs::File> {
    let file = fs::File::open(source).with_context(unreadable)?;
    check_unchanged(source, &file, stamp)?;
    Ok(file)
}

fn check_unchanged(source: &Path, file: &fs::File, stamp: Stamp) -> Result<()> {
    if Stamp::of(&file.metadata()?) == stamp {
        return Ok(());
    }
    bail!(
        Fault::new(
            Cause::Config,
            format!("{} was changed while this command worked", source.display())
        )
        .hint(
            "type the same command again: it goes on from here with the new content. What changes all the time, a log for \
             instance, belongs elsewhere or in .provisionignore"
        )
    )
}

/// A path as text that no other path has: what is not UTF-8 is escaped behind two slashes, which no path has.
fn shown(path: &Path) -> String {
    let bytes = path.as_os_str().as_bytes();
    path.to_str()
        .map_or_else(|| format!("//{}", bytes.escape_ascii()), ToOwned::to_owned)
}

#[cfg(test)]
mod tests;
