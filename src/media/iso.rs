//! Reads files from an ISO 9660 image (ECMA-119) by their Rock Ridge names (SUSP and RRIP, IEEE P1281 and P1282), or
//! where there are none by their plain names in any case.

use std::io::{Read, Seek as _, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use fs_err as fs;

use crate::fault::{Cause, Fault};

mod record;
pub mod rewrite;
pub mod write;

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

/// One of an image's trees of directories, which share the files' contents.
struct Image {
    file: fs::File,
    path: PathBuf,
    /// The place of the tree's volume descriptor in the image, in bytes.
    descriptor: u64,
    /// The size of a logical block in bytes (ECMA-119, 6.2.2).
    block: u64,
    root: Extent,
    names: Names,
}

/// How a tree names its files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Names {
    /// As ECMA-119 has them.
    Plain,
    /// Rock Ridge's, behind so many bytes of each system use field that are not SUSP's.
    RockRidge(usize),
    /// Joliet's.
    Joliet,
}

impl Image {
    /// The primary tree.
    fn open(path: &Path) -> Result<Self> {
        let mut trees = Self::trees(path)?;
        Ok(trees.swap_remove(0))
    }

    /// Every tree; the primary one first.
    fn trees(path: &Path) -> Result<Vec<Self>> {
        let descriptors = descriptors(&mut fs::File::open(path)?).with_context(|| no_image(path))?;
        let trees = descriptors.into_iter().map(|found| Self::of(path, &found));
        trees.collect()
    }

    fn of(path: &Path, descriptor: &Descriptor) -> Result<Self> {
        let sector = &descriptor.sector;
        let block = u64::from(record::u16_at(sector, 128).unwrap_or(0));
        // The root's directory record stands in the descriptor itself (ECMA-119, 8.4.18).
        let root = record::parse(sector.get(156..190).unwrap_or_default(), block);
        let Some(root) = root.filter(|root| root.is_directory() && block > 0) else {
            return Err(no_image(path).into());
        };
        let mut image = Self {
            file: fs::File::open(path)?,
            path: path.to_owned(),
            descriptor: descriptor.place,
            block,
            root: root.extents[0],
            names: if descriptor.is_joliet() {
                Names::Joliet
            } else {
                Names::Plain
            },
        };
        if image.names == Names::Plain
            && let Some(skip) = image.find_susp()?
        {
            image.names = Names::RockRidge(skip);
        }
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
            for (place, record) in record::split(&bytes, SECTOR) {
                let Some(mut entry) = record::parse(record, self.block) else {
                    bail!("a directory of {} is damaged", self.path.display());
                };
                entry.record = extent.start + place as u64;
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
        let (_, dot) = record::split(&bytes, SECTOR).next().unwrap_or_default();
        Ok(record::susp_skip(record::system_use(dot)))
    }

    /// Gives the entry the name that it has beside its plain one.
    fn rename(&mut self, entry: &mut Entry, record: &[u8]) -> Result<()> {
        let skip = match self.names {
            Names::Plain => return Ok(()),
            Names::RockRidge(skip) => skip,
            Names::Joliet => {
                entry.take_joliet_name();
                return Ok(());
            }
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

/// A sector that describes a tree: the primary or a supplementary volume descriptor (ECMA-119, 8.4 and 8.5).
struct Descriptor {
    /// Its place in the image, in bytes.
    place: u64,
    sector: Vec<u8>,
}

impl Descriptor {
    const PRIMARY: u8 = 1;
    const SUPPLEMENTARY: u8 = 2;
    const LAST: u8 = 255;

    /// By the escape sequences of UCS-2, levels 1 to 3 (Joliet Specification, "SVD Escape Sequences").
    fn is_joliet(&self) -> bool {
        let is_ucs2 = matches!(self.sector.get(88..91), Some(b"%/@" | b"%/C" | b"%/E"));
        self.sector.first() == Some(&Self::SUPPLEMENTARY) && is_ucs2
    }
}

/// The primary descriptor and those of Joliet behind it.
fn descriptors(file: &mut fs::File) -> Result<Vec<Descriptor>> {
    let mut found: Vec<Descriptor> = Vec::new();
    for number in FIRST_DESCRIPTOR..FIRST_DESCRIPTOR + MAX_DESCRIPTORS {
        let place = number * SECTOR;
        let mut sector = Vec::new();
        file.seek(SeekFrom::Start(place))?;
        Read::by_ref(file).take(SECTOR).read_to_end(&mut sector)?;
        let kind = sector.first().copied().unwrap_or(Descriptor::LAST);
        if sector.get(1..6) != Some(b"CD001") || kind == Descriptor::LAST {
            break;
        }
        let descriptor = Descriptor { place, sector };
        let is_first = found.is_empty() && kind == Descriptor::PRIMARY;
        if is_first || (!found.is_empty() && descriptor.is_joliet()) {
            found.push(descriptor);
        }
    }
    ensure!(!found.is_empty(), "there is no primary volume descriptor");
    Ok(found)
}

#[cfg(test)]
mod tests;
