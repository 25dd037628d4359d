//! Gives files of an image other contents without laying the image out anew: what is new goes behind the image's end,
//! and the files' directory records lead there. Boot sectors, boot catalogue, volume identifier and every other file
//! stay as they are, so the image boots by BIOS and by UEFI as it did before.

use std::io::{Read, Seek as _, SeekFrom, Write as _};
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use fs_err as fs;

use super::{Entry, Image, SECTOR, not_there};

/// How many empty sectors end an image: Linux reads ahead of what it was asked for, and a drive answers that with an
/// error (mkisofs(8), `-pad`).
const PADDING: u64 = 150;

/// The place of the volume space size in a volume descriptor (ECMA-119, 8.4.8), and of an extent's location and size in
/// a directory record (9.1.3, 9.1.4).
const SPACE: u64 = 80;
const LOCATION: u64 = 2;
const SIZE: u64 = 10;

/// Gives the file `path` of the image `iso`, in all of its trees, what `content` reads, and returns its size in bytes.
/// An image in which this was interrupted is worth nothing.
///
/// # Errors
/// [`crate::fault::Cause::Config`] when `iso` is no image or does not hold the file; when reading or writing fails.
pub fn replace(iso: &Path, path: &str, content: &mut dyn Read) -> Result<u64> {
    let trees = Image::trees(iso)?;
    let mut records = Vec::new();
    let mut spaces = Vec::new();
    for (number, mut tree) in trees.into_iter().enumerate() {
        // Places are written in logical blocks, and nobody makes images with others.
        ensure!(
            tree.block == SECTOR,
            "{} has blocks of {} bytes",
            iso.display(),
            tree.block
        );
        spaces.push(tree.descriptor + SPACE);
        match tree.find(path)? {
            Some(entry) => records.push(record(iso, path, &entry)?),
            // The trees may differ, but the primary one is the one that boot loaders read.
            None if number == 0 => return Err(not_there(iso, path).into()),
            None => {}
        }
    }
    let mut image = fs::OpenOptions::new().read(true).write(true).open(iso)?;
    let (start, size) = append(&mut image, content).with_context(|| format!("adding {path} to {}", iso.display()))?;
    let end = pad(&mut image)?;
    for record in records {
        write_number(&mut image, record + LOCATION, start / SECTOR)?;
        write_number(&mut image, record + SIZE, size)?;
    }
    for space in spaces {
        write_number(&mut image, space, end / SECTOR)?;
    }
    Ok(size)
}

/// The place of the one record that leads to a file.
fn record(iso: &Path, path: &str, entry: &Entry) -> Result<u64> {
    ensure!(entry.is_file(), "{path} on {} is no file", iso.display());
    ensure!(
        entry.extents.len() == 1,
        "{path} on {} is in more than one piece",
        iso.display()
    );
    Ok(entry.record)
}

/// Writes `content` behind the image's last sector and returns its place and size in bytes.
fn append(image: &mut fs::File, content: &mut dyn Read) -> Result<(u64, u64)> {
    let start = image.seek(SeekFrom::End(0))?.next_multiple_of(SECTOR);
    image.set_len(start)?;
    image.seek(SeekFrom::Start(start))?;
    let size = std::io::copy(content, image)?;
    Ok((start, size))
}

/// Ends the image with empty sectors and returns its size.
fn pad(image: &mut fs::File) -> Result<u64> {
    let end = image.seek(SeekFrom::End(0))?.next_multiple_of(SECTOR) + PADDING * SECTOR;
    image.set_len(end)?;
    Ok(end)
}

/// Writes a number in both byte orders (ECMA-119, 7.3.3).
fn write_number(image: &mut fs::File, place: u64, number: u64) -> Result<()> {
    let number = u32::try_from(number).context("an ISO image holds no file of 4 GiB or more")?;
    image.seek(SeekFrom::Start(place))?;
    image.write_all(&number.to_le_bytes())?;
    image.write_all(&number.to_be_bytes())?;
    Ok(())
}
