//! The tree as one tar archive.

use std::io::{Read as _, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use tar::{Builder, EntryType, Header};

use super::{Entry, Kind, Tree, check_unchanged, open};

/// The longest link target in bytes that fits into a header.
const SHORT_LINK: usize = 100;

impl Tree {
    /// Writes the archive, in the order of the paths, without owners.
    ///
    /// # Errors
    /// When `to` takes no more, or a file cannot be read or is no longer as it was when the tree was collected.
    pub fn write_tar(&self, to: impl Write) -> Result<()> {
        let mut archive = Builder::new(to);
        for (path, entry) in &self.entries {
            append(&mut archive, path, entry).with_context(|| format!("packing {}", path.display()))?;
        }
        archive
            .into_inner()
            .and_then(|mut to| to.flush())
            .context("packing the project")
    }
}

fn append(archive: &mut Builder<impl Write>, path: &Path, entry: &Entry) -> Result<()> {
    let mut header = Header::new_gnu();
    header.set_mode(entry.mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(0);
    // Files from before 1970 are sent as if from then.
    header.set_mtime(entry.modified.try_into().unwrap_or(0));
    match &entry.kind {
        Kind::Folder => {
            header.set_entry_type(EntryType::Directory);
            archive.append_data(&mut header, path, std::io::empty())?;
        }
        Kind::Link { target } => {
            header.set_entry_type(EntryType::Symlink);
            set_link(archive, &mut header, target.as_bytes())?;
            archive.append_data(&mut header, path, std::io::empty())?;
        }
        Kind::File { source, stamp } => {
            let file = open(source, *stamp)?;
            header.set_entry_type(EntryType::Regular);
            header.set_size(stamp.size);
            // What is announced is sent, neither less nor more; the check tells whether it was the whole file.
            let padded = (&file).take(stamp.size).chain(std::io::repeat(0)).take(stamp.size);
            archive.append_data(&mut header, path, padded)?;
            check_unchanged(source, &file, *stamp)?;
        }
    }
    Ok(())
}

/// Puts a link's target into its header as it is (the crate's own way tidies it up), or into an entry before it where
/// it is too long (GNU tar's manual, "GNU Extensions to the Archive Format").
fn set_link(archive: &mut Builder<impl Write>, header: &mut Header, target: &[u8]) -> Result<()> {
    if target.len() <= SHORT_LINK {
        header.set_link_name_literal(target)?;
        return Ok(());
    }
    let mut long = Header::new_gnu();
    long.set_entry_type(EntryType::GNULongLink);
    long.set_mode(0o644);
    long.set_size(target.len() as u64 + 1);
    archive.append_data(&mut long, "@LongLink", target.chain(&[0][..]))?;
    Ok(())
}
