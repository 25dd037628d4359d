//! The digests of a layer's files: taken when it is put in place, compared by `cache check`.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use fs_err as fs;
use sha2::{Digest as _, Sha256};

use crate::cancel::Cancel;

use super::MANIFEST;
use crate::machine::driver::MEMORY;

/// How much is read at once.
const BUFFER: usize = 1 << 20;

/// The SHA-256 of each file in `folder`, by its path in there. Two files are read at a time: a disk and a memory may be
/// large.
///
/// # Errors
/// When one cannot be read, or the user interrupts.
pub fn of(folder: &Path, cancel: &Cancel) -> Result<BTreeMap<String, String>> {
    let mut names = names(folder)?;
    // Reading its holes would take seconds; it has a sum of its own (`Driver::check_memory`).
    names.retain(|name| name != MEMORY);
    let (even, odd): (Vec<_>, Vec<_>) = names.into_iter().enumerate().partition(|(place, _)| place % 2 == 0);
    let hash = |names: Vec<(usize, String)>| -> Result<Vec<(String, String)>> {
        let digest = |(_, name): (usize, String)| Ok((name.clone(), of_file(&folder.join(name), cancel)?));
        names.into_iter().map(digest).collect()
    };
    if odd.is_empty() {
        return Ok(hash(even)?.into_iter().collect());
    }
    std::thread::scope(|scope| {
        let other = scope.spawn(|| hash(odd));
        let mut all: BTreeMap<_, _> = hash(even)?.into_iter().collect();
        let other = other
            .join()
            .map_err(|_| anyhow::anyhow!("the thread that hashes has ended"))??;
        all.extend(other);
        Ok(all)
    })
}

/// What of `noted` differs from the files in `folder`, for a person.
///
/// # Errors
/// When a file that is there cannot be read for another reason than damage, or the user interrupts.
pub fn compare(folder: &Path, noted: &BTreeMap<String, String>, cancel: &Cancel) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    for (name, digest) in noted {
        let file = folder.join(name);
        if !file.exists() {
            wrong.push(format!("{name} is gone"));
        } else if of_file(&file, cancel)? != *digest {
            wrong.push(format!("{name} has changed since it was made (SHA-256)"));
        }
    }
    Ok(wrong)
}

/// The files in `folder` and the folders in it that are part of the layer, but for its manifest. What a program writes
/// about a machine beside its disk (settings, logs) may change.
pub(super) fn names(folder: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    collect(folder, "", &mut names)?;
    names.sort();
    Ok(names)
}

fn collect(folder: &Path, before: &str, names: &mut Vec<String>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = format!("{before}{}", entry.file_name().to_string_lossy());
        let is_disk = entry.path().extension().is_some_and(|extension| extension == "vdi");
        if entry.file_type()?.is_dir() {
            collect(&entry.path(), &format!("{name}/"), names)?;
        } else if name != MANIFEST && (before.is_empty() || is_disk) {
            names.push(name);
        }
    }
    Ok(())
}

fn of_file(file: &Path, cancel: &Cancel) -> Result<String> {
    let mut open = fs::File::open(file)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; BUFFER];
    loop {
        cancel.check()?;
        match open.read(&mut buffer).context("hashing a checkpoint")? {
            0 => return Ok(hex::encode(hash.finalize())),
            count => hash.update(&buffer[..count]),
        }
    }
}
