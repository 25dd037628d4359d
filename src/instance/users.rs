//! Which folders of machines use a cache: `PROVISION_DATA_DIR` may differ from one command to the next, and a checkpoint
//! under somebody's disk must not go because the command at hand does not know of it.

use std::collections::BTreeSet;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use fs_err as fs;
use sha2::{Digest as _, Sha256};

use crate::fault::{Cause, Fault};
use crate::host::disk;

/// The folder in the cache with a file for each folder of machines, which holds its path.
const USERS: &str = "users";

/// What such a file's name ends with where the folder is on another file system than the cache: if that is not mounted, the
/// folder is away, not gone.
const ELSEWHERE: &str = ".elsewhere";

/// Notes down that the machines in the folder `machines` use `cache`.
///
/// # Errors
/// When it cannot be written.
pub fn register(cache: &Path, machines: &Path) -> Result<()> {
    let path = machines.as_os_str().as_encoded_bytes();
    fs::create_dir_all(cache.join(USERS))?;
    let name = hex::encode(Sha256::digest(path));
    let end = if device(machines)? == device(cache)? {
        ""
    } else {
        ELSEWHERE
    };
    let file = cache.join(USERS).join(name + end);
    if file.exists() {
        return Ok(());
    }
    let mut new = tempfile::NamedTempFile::new_in(cache.join(USERS)).context("noting down who uses the cache")?;
    std::io::Write::write_all(&mut new, path)?;
    new.persist(file).context("noting down who uses the cache")?;
    Ok(())
}

/// The file system on which `path` is or will be.
fn device(path: &Path) -> Result<u64> {
    Ok(fs::metadata(disk::existing(path))?.dev())
}

/// The folders of machines that use a cache.
#[derive(Debug, Default)]
pub(super) struct Users {
    /// Those that are there.
    pub there: BTreeSet<PathBuf>,
    /// Those that may be there again, by the file that tells of them.
    pub away: Vec<(PathBuf, PathBuf)>,
}

impl Users {
    /// Those of `cache`. What is gone from the cache's own file system is forgotten.
    pub(super) fn of(cache: &Path) -> Result<Self> {
        let mut users = Self::default();
        let folder = cache.join(USERS);
        if !folder.exists() {
            return Ok(users);
        }
        for entry in fs::read_dir(folder)? {
            let file = entry?.path();
            let folder = PathBuf::from(std::ffi::OsString::from_vec(fs::read(&file)?));
            // One that may not be looked into is there.
            if folder.try_exists().unwrap_or(true) {
                users.there.insert(folder);
            } else if file.to_string_lossy().ends_with(ELSEWHERE) {
                users.away.push((folder, file));
            } else {
                // Another process may have forgotten it just now.
                let _ = fs::remove_file(&file);
            }
        }
        Ok(users)
    }

    /// That machines may need the cache of which nothing can be known now, a fault for each of their folders.
    pub(super) fn faults(&self) -> impl Iterator<Item = Fault> {
        self.away.iter().map(|(folder, file)| {
            let message = format!(
                "the machines in {} use this cache, and the folder is not there",
                folder.display()
            );
            Fault::new(Cause::Usage, message).hint(format!(
                "mount the disk on which it lies; if that is gone for good: `rm {}`",
                file.display()
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_known_until_they_are_gone() {
        let place = tempfile::tempdir().unwrap();
        let cache = place.path().join("cache");
        let folders = || Users::of(&cache).unwrap().there;
        assert!(folders().is_empty());
        let (one, two) = (place.path().join("a b/machines"), place.path().join("c/machines"));
        for machines in [&one, &two, &one] {
            std::fs::create_dir_all(machines).unwrap();
            register(&cache, machines).unwrap();
        }
        assert_eq!(folders(), BTreeSet::from([one, two.clone()]));
        std::fs::remove_dir_all(&two).unwrap();
        assert_eq!(folders().len(), 1);
        std::fs::create_dir_all(&two).unwrap();
        assert_eq!(folders().len(), 1, "it was forgotten");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_folder_on_another_file_system_is_away_until_it_is_there_again() {
        let place = tempfile::tempdir().unwrap();
        let other = tempfile::tempdir_in("/dev/shm").unwrap();
        let cache = place.path().join("cache");
        let machines = other.path().join("machines");
        register(&cache, &machines).unwrap();
        for _ in 0..2 {
            let users = Users::of(&cache).unwrap();
            assert!(users.there.is_empty());
            let fault = users.faults().next().unwrap();
            assert!(fault.message.contains(machines.to_str().unwrap()), "{}", fault.message);
        }
        std::fs::create_dir_all(&machines).unwrap();
        let users = Users::of(&cache).unwrap();
        assert_eq!(users.there, BTreeSet::from([machines]));
        assert_eq!(users.faults().count(), 0);
    }
}
