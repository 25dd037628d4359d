//! What another host needs to know of an ISO beside a checkpoint that was made from it: the signed list that names it, so
//! that the same ISO is meant there.

use std::path::Path;

use anyhow::{Context as _, Result};
use fs_err as fs;

use super::resolution::{self, Kept};
use super::{Request, store};

/// The signed list by which the ISO of `digest` is the current one of the release: the name of its file, and what is in it.
/// None where another ISO is meant by now, or the user chose one.
pub fn release_of(request: &Request, digest: &str, cache: &Path) -> Option<(String, Vec<u8>)> {
    let resolved = resolution::kept(request.release, request.key, cache);
    resolved.filter(|resolved| request.choice.is_none() && resolved.chosen.digest.to_string() == digest)?;
    let file = resolution::file_of(request.release, request.key, cache);
    Some((file.file_name()?.to_str()?.to_owned(), fs::read(file).ok()?))
}

/// Whether a file of such a list may have this name.
pub fn is_name_of_release(name: &str) -> bool {
    let stem = name.strip_suffix(".json");
    stem.is_some_and(|stem| stem.len() == 32 && stem.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')))
}

/// Puts a list from another host into the folder `cache`, unless a newer one is there. Its signature is verified each time it
/// is used.
///
/// # Errors
/// When it is no such list, or cannot be written.
pub fn take_release(name: &str, content: &[u8], cache: &Path) -> Result<()> {
    anyhow::ensure!(is_name_of_release(name), "{name:?} is no name of a signed list");
    let list: Kept = serde_json::from_slice(content).context("reading the signed list of ISOs")?;
    let file = resolution::folder(cache).join(name);
    if store::read::<Kept>(&file).is_some_and(|there| there.at >= list.at) {
        return Ok(());
    }
    store::write(&file, &list)
}
