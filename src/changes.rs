//! Every operation by which the store of checkpoints changes the host's file system, one system call each (but for
//! qemu-img's): tests let any of them fail, kill the process there, or cut the power, and look at what is left.

use std::fmt::Debug;
use std::io;
use std::path::Path;

use anyhow::Result;
use fs_err as fs;

use crate::machine::qemu::image;

/// What can be changed, and how it is made to stay.
pub trait Changes: Debug + Send + Sync {
    /// Makes a folder; it is an error if it is there.
    ///
    /// # Errors
    /// Those of mkdir(2).
    fn make_dir(&self, dir: &Path) -> io::Result<()>;

    /// Writes a file that is not there yet.
    ///
    /// # Errors
    /// Those of open(2) and write(2); a part of it may be there then.
    fn write(&self, file: &Path, content: &[u8]) -> io::Result<()>;

    /// Waits until the content of a file, or the names in a folder, have reached the disk.
    ///
    /// # Errors
    /// Those of fsync(2).
    fn sync(&self, path: &Path) -> io::Result<()>;

    /// Gives a file or folder another name.
    ///
    /// # Errors
    /// Those of rename(2).
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Lets nobody write to a file any more.
    ///
    /// # Errors
    /// Those of chmod(2).
    fn protect(&self, file: &Path) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// Those of unlink(2).
    fn remove_file(&self, file: &Path) -> io::Result<()>;

    /// Removes an empty folder.
    ///
    /// # Errors
    /// Those of rmdir(2).
    fn remove_dir(&self, dir: &Path) -> io::Result<()>;

    /// Writes into a qcow2 overlay under which path its backing file is found.
    ///
    /// # Errors
    /// When qemu-img fails.
    fn relink(&self, overlay: &Path, backing: &Path) -> Result<()>;

    /// Copies a file to another file system, its holes as holes.
    ///
    /// # Errors
    /// When the copy fails.
    fn copy(&self, from: &Path, to: &Path) -> Result<()>;
}

impl dyn Changes + '_ {
    /// Removes a folder with all in it, or a file; what is not there is removed already.
    ///
    /// # Errors
    /// When something cannot be removed; a part may be gone then.
    pub fn remove_tree(&self, path: &Path) -> Result<()> {
        let data = match fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            data => data?,
        };
        if !data.is_dir() {
            return Ok(self.remove_file(path)?);
        }
        for entry in fs::read_dir(path)? {
            self.remove_tree(&entry?.path())?;
        }
        Ok(self.remove_dir(path)?)
    }

    /// Renames a file; copies it where that crosses file systems, without filling its holes.
    ///
    /// # Errors
    /// When it can be neither renamed nor copied; it is in its old place then.
    pub fn move_file(&self, from: &Path, to: &Path) -> Result<()> {
        match self.rename(from, to) {
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
                self.copy(from, to)?;
                Ok(self.remove_file(from)?)
            }
            other => Ok(other?),
        }
    }
}

/// The host's file system.
#[derive(Debug, Clone, Copy, Default)]
pub struct Real;

impl Changes for Real {
    fn make_dir(&self, dir: &Path) -> io::Result<()> {
        fs::create_dir(dir)
    }

    fn write(&self, file: &Path, content: &[u8]) -> io::Result<()> {
        let mut new = fs::OpenOptions::new().write(true).create_new(true).open(file)?;
        io::Write::write_all(&mut new, content)
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        fs::File::open(path)?.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn protect(&self, file: &Path) -> io::Result<()> {
        fs::set_permissions(file, std::os::unix::fs::PermissionsExt::from_mode(0o400))
    }

    fn remove_file(&self, file: &Path) -> io::Result<()> {
        fs::remove_file(file)
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        fs::remove_dir(dir)
    }

    fn relink(&self, overlay: &Path, backing: &Path) -> Result<()> {
        image::relink(overlay, backing)
    }

    fn copy(&self, from: &Path, to: &Path) -> Result<()> {
        image::copy(from, to)
    }
}

#[cfg(test)]
pub mod testing;
