//! Which folders of machines use a cache: `PROVISION_DATA_DIR` may differ from one command to the next, and a checkpoint
//! under somebody's disk must not go because the command at hand does not know of it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use fs_err as fs;
use sha2::{Digest as _, Sha256};

/// The folder in the cache with a file for each folder of machines, which holds its path.
const USERS: &str = "users";

/// Notes down that the machines in the folder `machines` use `cache`.
///
/// # Errors
/// When it cannot be written.
pub fn register(cache: &Path, machines: &Path) -> Result<()> {
    let path = machines.as_os_str().as_encoded_bytes();
    let file = cache.join(USERS).join(hex::encode(Sha256::digest(path)));
    if file.exists() {
        return Ok(());
    }
    fs::create_dir_all(cache.join(USERS))?;
    let mut new = tempfile::NamedTempFile::new_in(cache.join(USERS)).context("noting down who uses the cache")?;
    std::io::Write::write_all(&mut new, path)?;
    new.persist(file).context("noting down who uses the cache")?;
    Ok(())
}

/// The folders of machines that use `cache`; those that are gone are forgotten.
pub(super) fn folders(cache: &Path) -> Result<BTreeSet<PathBuf>> {
    use std::os::unix::ffi::OsStringExt as _;
    let mut folders = BTreeSet::new();
    let users = cache.join(USERS);
    if !users.exists() {
        return Ok(folders);
    }
    for entry in fs::read_dir(users)? {
        let file = entry?.path();
        let folder = PathBuf::from(std::ffi::OsString::from_vec(fs::read(&file)?));
        // One that may not be looked into is there.
        if folder.try_exists().unwrap_or(true) {
            folders.insert(folder);
        } else {
            // Another process may have forgotten it just now.
            let _ = fs::remove_file(&file);
        }
    }
    Ok(folders)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_known_until_they_are_gone() {
        let place = tempfile::tempdir().unwrap();
        let cache = place.path().join("cache");
        assert!(folders(&cache).unwrap().is_empty());
        let (one, two) = (place.path().join("a b/machines"), place.path().join("c/machines"));
        for machines in [&one, &two, &one] {
            std::fs::create_dir_all(machines).unwrap();
            register(&cache, machines).unwrap();
        }
        assert_eq!(folders(&cache).unwrap(), BTreeSet::from([one, two.clone()]));
        std::fs::remove_dir_all(&two).unwrap();
        assert_eq!(folders(&cache).unwrap().len(), 1);
        std::fs::create_dir_all(&two).unwrap();
        assert_eq!(folders(&cache).unwrap().len(), 1, "it was forgotten");
    }
}
