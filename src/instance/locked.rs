//! Who may change a machine: one command at a time.

use std::path::Path;

use anyhow::{Context as _, Result};
use fs_err as fs;

use super::{Instance, LOCK, Record};
use crate::fault::{Cause, Fault};
use crate::lock::Lock;

impl Instance {
    /// Keeps other commands from changing the machine.
    ///
    /// # Errors
    /// A [`Cause::Busy`] fault when another command is at it.
    pub fn lock(&self) -> Result<Lock> {
        private_folder(&self.dir)?;
        let lock = Lock::take_unless_held(&self.dir.join(LOCK))?;
        let lock = lock.with_context(|| self.busy())?;
        // Who had it before may have removed the folder, which was then made again like any other.
        private_folder(&self.dir)?;
        Ok(lock)
    }

    /// Whether another command changes the machine now.
    pub fn is_busy(&self) -> bool {
        Lock::is_held(&self.dir.join(LOCK))
    }

    /// That another command is at it.
    pub fn busy(&self) -> Fault {
        Fault::new(
            Cause::Busy,
            format!("another provision command works on the machine {}", self.name),
        )
        .hint("wait for it to end, or make another machine with `--name NAME`")
    }

    /// A hint for a machine of which something is still missing: who will have made it.
    pub fn to_be_made(&self) -> String {
        if self.is_busy() {
            "another provision command works on it now: wait for it to end".to_owned()
        } else {
            format!("`provision create --name {}` makes it", self.name)
        }
    }

    /// The same for a machine that must be there, with what is remembered of it under the lock: another command may have
    /// changed or removed it until then.
    ///
    /// # Errors
    /// A [`Cause::Usage`] fault when it is not there, a [`Cause::Busy`] fault when another command is at it.
    pub fn lock_made(&self) -> Result<(Lock, Record)> {
        // Nothing is made where there is no machine.
        self.require()?;
        self.lock_seen()
    }

    /// The same for a machine that is to be removed: nothing need be known of it.
    ///
    /// # Errors
    /// As [`Instance::lock_made`], but not when the record cannot be read.
    pub fn lock_even_damaged(&self) -> Result<(Lock, Option<Record>)> {
        if let Ok(record) = self.record() {
            record.with_context(|| self.none())?;
        }
        let lock = self.lock()?;
        match self.record() {
            Ok(Some(record)) => Ok((lock, Some(record))),
            Err(_) => Ok((lock, None)),
            Ok(None) => {
                drop(lock);
                self.remove_empty()?;
                Err(self.none().into())
            }
        }
    }

    /// The same for a machine that was there a moment ago.
    pub(super) fn lock_seen(&self) -> Result<(Lock, Record)> {
        let lock = self.lock()?;
        if let Some(record) = self.record()? {
            return Ok((lock, record));
        }
        drop(lock);
        self.remove_empty()?;
        Err(self.none().into())
    }

    /// Removes the folder that locking made where no machine came of it, unless somebody else is at it by now.
    ///
    /// # Errors
    /// When it cannot be read or removed.
    pub fn remove_empty(&self) -> Result<()> {
        let file = self.dir.join(LOCK);
        let Some(_lock) = Lock::try_take(&file)? else {
            return Ok(());
        };
        let is_lock = |entry: std::io::Result<fs::DirEntry>| entry.is_ok_and(|it| it.file_name() == LOCK);
        if fs::read_dir(&self.dir)?.all(is_lock) {
            fs::remove_file(file)?;
            fs::remove_dir(&self.dir)?;
        }
        Ok(())
    }
}

/// Makes a folder that only the user may enter: it holds keys and disks.
fn private_folder(dir: &Path) -> Result<()> {
    use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt};
    if let Some(parent) = dir.parent() {
        fs::create_dir_all(parent)?;
    }
    match std::fs::DirBuilder::new().mode(0o700).create(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            Err(error).with_context(|| format!("making the folder {}", dir.display()))
        }
        _ => Ok(fs::set_permissions(dir, PermissionsExt::from_mode(0o700))?),
    }
}
