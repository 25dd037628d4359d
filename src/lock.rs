//! Locks between processes. The kernel drops a lock when its holder dies, so none is ever left behind.

use std::fs::TryLockError;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use fs_err as fs;

use crate::cancel::Cancel;
use crate::fault::{Cause, Fault};
use crate::wait::Wait;

/// How long somebody else may hold a lock: the longest stage, emulated, on a slow host.
const LIMIT: Duration = Duration::from_secs(3 * 3600);

/// How long a look at a lock takes at most, with much to spare.
const LOOK: Duration = Duration::from_millis(200);

/// A lock, held until it is dropped.
#[derive(Debug)]
pub struct Lock {
    // flock(2) belongs to the open file.
    file: std::fs::File,
}

impl Drop for Lock {
    /// Closing the file is not enough: a process that another thread is just starting has it, too, until it is a program of
    /// its own.
    fn drop(&mut self) {
        let _ = self.file.unlock();
    }
}

impl Lock {
    /// Takes the lock `file` if nobody holds it.
    ///
    /// # Errors
    /// When the file cannot be made or locked.
    pub fn try_take(file: &Path) -> Result<Option<Self>> {
        Self::try_with(file, std::fs::File::try_lock)
    }

    /// Takes a share of the lock `file` if nobody holds it alone.
    ///
    /// # Errors
    /// When the file cannot be made or locked.
    pub fn try_share(file: &Path) -> Result<Option<Self>> {
        Self::try_with(file, std::fs::File::try_lock_shared)
    }

    /// Takes the lock `file` unless somebody works under it: who only looks ([`Lock::is_held`]) has it for an instant, and
    /// is waited for.
    ///
    /// # Errors
    /// When the file cannot be made or locked.
    pub fn take_unless_held(file: &Path) -> Result<Option<Self>> {
        let soon = Wait::new(format!("the lock {}", file.display()), LOOK).until(|| Self::try_take(file));
        match soon {
            Err(error) if Fault::of(&error).is_some_and(|fault| fault.cause == Cause::Timeout) => Ok(None),
            taken => taken.map(Some),
        }
    }

    /// Whether somebody holds the lock `file` alone; not, where nobody can tell.
    pub fn is_held(file: &Path) -> bool {
        // It is not made where it is not there, and needs not be this user's.
        let open = std::fs::File::open(file);
        open.is_ok_and(|open| {
            let shared = open.try_lock_shared();
            drop(Self { file: open });
            matches!(shared, Err(TryLockError::WouldBlock))
        })
    }

    fn try_with(file: &Path, lock: fn(&std::fs::File) -> Result<(), TryLockError>) -> Result<Option<Self>> {
        loop {
            if let Some(folder) = file.parent() {
                fs::create_dir_all(folder)?;
            }
            let open = fs::OpenOptions::new()
                .create(true)
                .truncate(false)
                .write(true)
                .open(file)?
                .into_file();
            match lock(&open) {
                Ok(()) if is_at(&open, file) => return Ok(Some(Self { file: open })),
                // Who had it has removed it with what it guards: the next would lock another.
                Ok(()) => drop(Self { file: open }),
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(error)) => {
                    return Err(error).with_context(|| format!("locking {}", file.display()));
                }
            }
        }
    }

    /// Takes the lock `file`, waiting for another holder; `on_wait` is called once if there is one.
    ///
    /// # Errors
    /// When the file cannot be made or locked, or the user interrupts.
    pub fn wait(file: &Path, cancel: &Cancel, on_wait: impl FnOnce()) -> Result<Self> {
        Self::wait_with(Self::try_take, file, cancel, on_wait)
    }

    /// Takes a share of the lock `file`, waiting for who holds it alone; `on_wait` is called once if somebody does.
    ///
    /// # Errors
    /// When the file cannot be made or locked, or the user interrupts.
    pub fn wait_share(file: &Path, cancel: &Cancel, on_wait: impl FnOnce()) -> Result<Self> {
        Self::wait_with(Self::try_share, file, cancel, on_wait)
    }

    fn wait_with(
        take: fn(&Path) -> Result<Option<Self>>,
        file: &Path,
        cancel: &Cancel,
        on_wait: impl FnOnce(),
    ) -> Result<Self> {
        if let Some(lock) = take(file)? {
            return Ok(lock);
        }
        on_wait();
        Wait::new(format!("the lock {}", file.display()), LIMIT)
            .cancel(cancel)
            .until(|| take(file))
    }
}

/// Whether the open file is the one that is at `path` now.
fn is_at(open: &std::fs::File, path: &Path) -> bool {
    let place = |data: std::fs::Metadata| (data.dev(), data.ino());
    let (open, there) = (open.metadata().map(place), std::fs::metadata(path).map(place));
    matches!((open, there), (Ok(open), Ok(there)) if open == there)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holder_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("sub/lock");
        let held = Lock::try_take(&file).unwrap();
        assert!(held.is_some());
        assert!(Lock::try_take(&file).unwrap().is_none());
        drop(held);
        assert!(Lock::wait(&file, &Cancel::default(), || panic!("it is free")).is_ok());
    }

    #[test]
    fn a_lock_that_is_let_go_is_free_while_others_start_programs() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("lock");
        let free = crate::process::testing::while_others_start_programs(|| {
            (0..2000).filter(|_| Lock::try_take(&file).unwrap().is_some()).count()
        });
        assert_eq!(free, 2000);
    }

    #[test]
    fn shares_keep_out_only_who_wants_it_alone() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("lock");
        let one = Lock::try_share(&file).unwrap();
        let two = Lock::try_share(&file).unwrap();
        assert!(one.is_some() && two.is_some());
        assert!(Lock::try_take(&file).unwrap().is_none());
        drop((one, two));
        let _alone = Lock::wait(&file, &Cancel::default(), || ()).unwrap();
        assert!(Lock::try_share(&file).unwrap().is_none());
    }

    #[test]
    fn what_was_removed_with_its_guard_is_locked_anew() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("sub/lock");
        let held = Lock::try_take(&file).unwrap();
        let opened = std::fs::File::open(&file).unwrap();
        assert!(is_at(&opened, &file));
        std::fs::remove_dir_all(folder.path().join("sub")).unwrap();
        assert!(!is_at(&opened, &file));
        let next = Lock::try_take(&file).unwrap();
        assert!(next.is_some() && Lock::is_held(&file) && !is_at(&opened, &file));
        drop(held);
        assert!(Lock::is_held(&file));
    }

    #[test]
    fn a_look_makes_nothing_and_keeps_nobody_out() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("lock");
        assert!(!Lock::is_held(&file) && !file.exists());
        let held = Lock::take_unless_held(&file).unwrap();
        assert!(held.is_some() && Lock::is_held(&file));
        assert!(Lock::take_unless_held(&file).unwrap().is_none());
        drop(held);
        is_let_go("the lock to be free", || !Lock::is_held(&file));
        // Another process that looks.
        is_let_go("who looks to be waited for", || is_taken_beside_a_look(&file));
    }

    fn is_taken_beside_a_look(file: &Path) -> bool {
        let look = Lock::try_share(file).unwrap();
        std::thread::scope(|scope| {
            let taken = scope.spawn(|| Lock::take_unless_held(file).unwrap().is_some());
            std::thread::yield_now();
            drop(look);
            taken.join().unwrap()
        })
    }

    /// Waits until `condition` holds: a program that another test starts at the moment has this process's files until it
    /// is loaded, and with them the locks.
    fn is_let_go(what: &str, mut condition: impl FnMut() -> bool) {
        let limit = Duration::from_secs(60);
        Wait::new(what, limit).until(|| Ok(condition().then_some(()))).unwrap();
    }
}
