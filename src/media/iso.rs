//! Reads files from an ISO 9660 image (ECMA-119) by their Rock Ridge names (SUSP and RRIP, IEEE P1281 and P1282), or
//! where there are none by their plain names in any case.

use std::io::{Read, Seek as _, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use fs_err as fs;

use crate::fault::{Cause, Fault};

mod record;

use record::{Entry, Extent};

/// The unit in which the volume descriptors and directories are laid out, in bytes (ECMA-119, 6.1.2).
const SECTOR: u64 = 2048;

/// Where the volume descriptors begin, in sectors (ECMA-119, 6.2.1).
const FIRST_DESCRIPTOR: u64 = 16;

/// More volume descriptors than any image has.
const MAX_DESCRIPTORS: u64 = 64;

/// More than any directory takes, in bytes: what says more is damaged.
const MAX_DIRECTORY: u64 = 64 << 20;

/// Writes the file `path` of the image `iso` to `to` and returns its size in bytes.
///
/// # Errors
/// [`Cause::Config`] when `iso` is no ISO image or does not hold the file; when reading or writing fails.
pub fn read_file(iso: &Path, path: &str, to: &mut dyn Write) -> Result<u64> {
    let mut image = Image::open(iso)?;
    let Some(entry) = image.find(path)? else {
        return Err(not_there(iso, path).into());
    };
    ensure!(entry.is_file(), "{path} on {} is no file", iso.display());
    let mut size = 0;
    for extent in &entry.extents {
        size += image
            .copy(*extent, to)
            .with_context(|| format!("reading {path} from {}", iso.display()))?;
    }
    Ok(size)
}

/// The size of the file `path` of the image `iso` in bytes, or `None` if it is not there.
///
/// # Errors
/// [`Cause::Config`] when `iso` is no ISO image; when it cannot be read.
#[cfg(test)]
pub fn size(iso: &Path, path: &str) -> Result<Option<u64>> {
    let entry = Image::open(iso)?.find(path)?.filter(Entry::is_file);
    Ok(entry.map(|entry| entry.extents.iter().map(|extent| extent.size).sum()))
}

fn not_there(iso: &Path, path: &str) -> Fault {
    let message = format!("{} holds no {path}", iso.display());
    Fault::new(Cause::Config, message).hint(
        "is this a Debian netinst or DVD image of the guest's release and architecture (amd64)? live images have no installer to boot like this",
    )
}

fn no_image(iso: &Path) -> Fault {
    let message = format!("{} is no ISO image", iso.display());
    Fault::new(Cause::Config, message).hint("is this a Debian netinst or DVD image, downloaded in full?")
}

struct Image {
    file: fs::File,
    path: PathBuf,
    /// The size of a logical block in bytes (ECMA-119, 6.2.2).
    block: u64,
    root: Extent,
    /// How many bytes of each system use field are not SUSP's, or `None` without SUSP.
    skip: Option<usize>,
}

impl Image {
    fn open(path: &Path) -> Result<Self> {
        let mut file = fs::File::open(path)?;
        let descriptor = primary_descriptor(&mut file).with_context(|| no_image(path))?;
        let block = u64::from(record::u16_at(&descriptor, 128).unwrap_or(0));
        // The root's directory record stands in the descriptor itself (ECMA-119, 8.4.18).
        let root = record::parse(descriptor.get(156..190).unwrap_or_default(), block);
        let Some(root) = root.filter(|root| root.is_directory() && block > 0) else {
            return Err(no_image(path).into());
        };
        let mut image = Self {
            file,
            path: path.to_owned(),
            block,
            root: root.extents[0],
            skip: None,
        };
        image.skip = image.find_susp()?;
        Ok(image)
    }

    /// The entry at `path`, components separated by `/`.
    fn find(&mut self, path: &str) -> Result<Option<Entry>> {
        let mut folder = Some(vec![self.root]);
        let mut found = None;
        for component in path.split('/').filter(|component| !component.is_empty()) {
            let Some(extents) = folder else {
                return Ok(None);
            };
            found = self
                .entries(&extents)?
                .into_iter()
                .find(|entry| entry.is_named(component));
            folder = match &found {
                Some(entry) if entry.is_directory() => Some(entry.extents.clone()),
                Some(_) => None,
                None => return Ok(None),
            };
        }
        Ok(found)
    }

    /// What a directory holds, without itself and its parent.
    fn entries(&mut self, extents: &[Extent]) -> Result<Vec<Entry>> {
        let mut entries: Vec<Entry> = Vec::new();
        for extent in extents {
            let bytes = self.directory(*extent)?;
            for record in record::split(&bytes, SECTOR) {
                let Some(mut entry) = record::parse(record, self.block) else {
                    bail!("a directory of {} is damaged", self.path.display());
                };
                if entry.is_dot() {
                    continue;
                }
                self.rename(&mut entry, record)?;
                // A file above 4 GiB has one record for each of its extents (ECMA-119, 6.5.1).
                match entries.last_mut() {
                    Some(last) if last.goes_on => last.extend(entry),
                    _ => entries.push(entry),
                }
            }
        }
        Ok(entries)
    }

    fn directory(&mut self, extent: Extent) -> Result<Vec<u8>> {
        ensure!(
            extent.size <= MAX_DIRECTORY,
            "a directory of {} is damaged",
            self.path.display()
        );
        let mut bytes = Vec::new();
        self.copy(extent, &mut bytes)
            .with_context(|| format!("reading a directory of {}", self.path.display()))?;
        Ok(bytes)
    }

    /// Whether the root's own record announces SUSP, and with which offset (SUSP, 5.3).
    fn find_susp(&mut self) -> Result<Option<usize>> {
        let first = Extent {
            size: SECTOR.min(self.root.size),
            ..self.root
        };
        let bytes = self.directory(first)?;
        let dot = record::split(&bytes, SECTOR).next().unwrap_or_default();
        Ok(record::susp_skip(record::system_use(dot)))
    }

    /// Gives the entry its Rock Ridge name, if it has one.
    fn rename(&mut self, entry: &mut Entry, record: &[u8]) -> Result<()> {
        let Some(skip) = self.skip else {
            return Ok(());
        };
        let mut area = record::system_use(record).get(skip..).unwrap_or_default().to_vec();
        // No entry goes on more often than this; a damaged one might for ever.
        for _ in 0..32 {
            match entry.take_system_use(&area) {
                Some(more) => {
                    let start = u64::from(more.block) * self.block + u64::from(more.offset);
                    area = self.directory(Extent {
                        start,
                        size: u64::from(more.size),
                    })?;
                }
                None => return Ok(()),
            }
        }
        bail!("a directory of {} is damaged", self.path.display());
    }

    /// Writes the bytes of `extent` to `to`.
    fn copy(&mut self, extent: Extent, to: &mut dyn Write) -> Result<u64> {
        self.file.seek(SeekFrom::Start(extent.start))?;
        let copied = std::io::copy(&mut Read::by_ref(&mut self.file).take(extent.size), to)?;
        ensure!(copied == extent.size, "the image ends too early");
        Ok(copied)
    }
}

/// The first sector that describes the volume (ECMA-119, 8.4).
fn primary_descriptor(file: &mut fs::File) -> Result<Vec<u8>> {
    file.seek(SeekFrom::Start(FIRST_DESCRIPTOR * SECTOR))?;
    for _ in 0..MAX_DESCRIPTORS {
        let mut sector = Vec::new();
        Read::by_ref(file).take(SECTOR).read_to_end(&mut sector)?;
        match (sector.first(), sector.get(1..6)) {
            (Some(1), Some(b"CD001")) => return Ok(sector),
            (Some(kind), Some(b"CD001")) if *kind != 255 => {}
            _ => break,
        }
    }
    bail!("there is no primary volume descriptor")
}

#[cfg(test)]
mod tests;
