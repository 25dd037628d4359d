//! Where an image comes: beside its target until it is whole.
//!
//! ```text
//! DIR/NAME                what is wanted; there whole or not at all
//! DIR/NAME.yaml           a containerdisk's manifest
//! DIR/.NAME.partial/      everything until then (0700); left by a crash only, and removed by the next export to NAME
//! ```

use std::ffi::OsString;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use fs_err as fs;

use super::Format;
use super::replace::{refuse_own, refuse_what_is_there};
use crate::fault::{Cause, Fault};
use crate::lock::Lock;
use crate::machine::driver::Home;

/// The file that makes a folder an OCI image layout (OCI Image Layout Specification).
pub const OCI_MARK: &str = "oci-layout";

const LOCK: &str = "lock";

/// Whether `path` is a folder in which an export works, or worked until it was killed.
pub fn is_partial(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.starts_with('.') && name.ends_with(".partial") && path.join(LOCK).is_file()
}

/// A target that nobody else writes to.
#[derive(Debug)]
pub struct Place {
    target: PathBuf,
    folder: PathBuf,
    work: PathBuf,
    format: Format,
    force: bool,
    _lock: Lock,
}

/// Refuses the folder `work` unless an export has made it: what is in it will be removed.
fn require_ours(work: &Path) -> Result<()> {
    let data = fs::symlink_metadata(work)?;
    // Nothing of it is for others: 0700.
    let is_private =
        data.is_dir() && data.uid() == rustix::process::geteuid().as_raw() && data.mode().trailing_zeros() >= 6;
    // A link to a folder is none itself. One that was killed at once had no time for its lock.
    let is_lock = |data: std::fs::Metadata| data.is_file();
    if is_private && (work.join(LOCK).symlink_metadata().is_ok_and(is_lock) || fs::read_dir(work)?.next().is_none()) {
        return Ok(());
    }
    let message = format!("{} is in the way, and no export has made it", work.display());
    bail!(Fault::new(Cause::Usage, message).hint("move it away, or name another place"))
}

impl Place {
    /// Takes the place `target` for an image of `format`, which may not lie in one of the program's `own` folders.
    ///
    /// # Errors
    /// A [`Cause::Usage`] fault when there is no such folder, or something is there already that may not be replaced;
    /// [`Cause::Busy`] when another export writes there.
    pub fn take(target: &Path, format: Format, force: bool, own: &[&Path]) -> Result<Self> {
        let target = std::path::absolute(target).context("finding the output's folder")?;
        let (Some(folder), Some(name)) = (target.parent(), target.file_name()) else {
            bail!(Fault::new(
                Cause::Usage,
                format!("{} is no file's name", target.display())
            ));
        };
        if !folder.is_dir() {
            let message = format!("there is no folder {}", folder.display());
            bail!(Fault::new(Cause::Usage, message).hint("make it, or name another place"));
        }
        refuse_own(folder, own)?;
        // Before anything is made beside it, and again once nobody else writes there.
        refuse_what_is_there(&target, format, force)?;
        let (folder, name) = (folder.to_owned(), name.to_owned());
        let work = folder.join(affixed(".", &name, ".partial"));
        match std::fs::DirBuilder::new().mode(0o700).create(&work) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => require_ours(&work)?,
            made => made.with_context(|| format!("making the folder {}", work.display()))?,
        }
        let lock = Lock::try_take(&work.join(LOCK))?;
        let lock = lock.with_context(|| {
            Fault::new(Cause::Busy, format!("another export writes {}", target.display()))
                .hint("wait for it to end, or name another place")
        })?;
        let place = Self {
            target,
            folder,
            work,
            format,
            force,
            _lock: lock,
        };
        place.sweep()?;
        refuse_what_is_there(&place.target, format, force)?;
        Ok(place)
    }

    /// Takes the place `target` for a plain file.
    ///
    /// # Errors
    /// Those of [`Place::take`].
    pub fn take_file(target: &Path, force: bool, own: &[&Path]) -> Result<Self> {
        Self::take(target, Format::Raw, force, own)
    }

    /// Removes what an export left that was killed.
    fn sweep(&self) -> Result<()> {
        for entry in fs::read_dir(&self.work)? {
            let path = entry?.path();
            if path.is_dir() {
                Home::of_stage(&path).end()?;
                fs::remove_dir_all(&path)?;
            } else if !path.ends_with(LOCK) {
                fs::remove_file(&path)?;
            }
        }
        Ok(())
    }

    /// Where it comes.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// The folder where it comes.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where a containerdisk's manifest comes.
    pub fn manifest(&self) -> PathBuf {
        manifest(&self.target)
    }

    /// Whether the target is to be one archive.
    pub fn is_tar(&self) -> bool {
        self.target.extension().is_some_and(|extension| extension == "tar")
    }

    /// An empty folder for a part of the work.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn room(&self, name: &str) -> Result<PathBuf> {
        let room = self.work.join(name);
        fs::create_dir(&room)?;
        Ok(room)
    }

    /// Where what is packed is made.
    pub fn made(&self) -> PathBuf {
        self.work.join("made")
    }

    /// Puts `made` in place, and its `manifest`. Both hold what others may not read: the project's secrets.
    ///
    /// # Errors
    /// When one of them cannot be moved; what was there before may be gone then only if it was a folder.
    pub fn publish(&self, made: &Path, manifest: Option<&Path>) -> Result<()> {
        let context = || format!("putting {} in place", self.target.display());
        let private = if made.is_dir() { 0o700 } else { 0o600 };
        fs::set_permissions(made, std::fs::Permissions::from_mode(private))?;
        fs::File::open(made)?.sync_all().with_context(context)?;
        // Somebody may have put something there meanwhile.
        refuse_what_is_there(&self.target, self.format, self.force)?;
        if let Some(manifest) = manifest {
            fs::rename(manifest, self.manifest()).with_context(context)?;
        }
        if made.is_dir() || self.target.is_dir() {
            // rename(2) puts nothing in the place of a folder that holds something.
            if self.target.symlink_metadata().is_ok() {
                fs::rename(&self.target, self.work.join("replaced")).with_context(context)?;
            }
        }
        fs::rename(made, &self.target).with_context(context)?;
        fs::File::open(&self.folder)?.sync_all().with_context(context)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // What cannot be removed now is by the next export to this place.
        let _ = fs::remove_dir_all(&self.work);
    }
}

/// Where the manifest of the containerdisk `target` comes.
pub fn manifest(target: &Path) -> PathBuf {
    target.with_file_name(affixed("", target.file_name().unwrap_or_default(), ".yaml"))
}

fn affixed(before: &str, name: &std::ffi::OsStr, after: &str) -> OsString {
    let mut affixed = OsString::from(before);
    affixed.push(name);
    affixed.push(after);
    affixed
}

#[cfg(test)]
mod tests;
