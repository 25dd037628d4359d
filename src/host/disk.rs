//! Room on the host's disks.

use std::path::Path;

use anyhow::{Context as _, Result};
use bytesize::ByteSize;

use crate::fault::{Cause, Fault};

/// `path`, or the nearest folder above it that is there.
pub fn existing(path: &Path) -> &Path {
    path.ancestors().find(|path| path.exists()).unwrap_or(Path::new("."))
}

/// How many bytes this user may still write where `path` is or will be: what is asked about may not exist yet, so the
/// nearest folder above it that does counts.
///
/// # Errors
/// When the file system does not say.
pub fn free_space(path: &Path) -> Result<u64> {
    let existing = existing(path);
    let stat = rustix::fs::statvfs(existing)
        .with_context(|| format!("asking for the free space in {}", existing.display()))?;
    // `f_bavail` leaves out what is reserved for root (statvfs(3)).
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// Refuses to begin what needs `bytes` in `path` where there is less.
///
/// # Errors
/// A [`Cause::Space`] fault with both figures.
pub fn require(path: &Path, bytes: u64) -> Result<()> {
    let free = free_space(path)?;
    if free >= bytes {
        return Ok(());
    }
    let message = format!(
        "{} has {} left, and {} are needed",
        path.display(),
        ByteSize(free),
        ByteSize(bytes)
    );
    Err(Fault::new(Cause::Space, message)
        .hint("`provision cache prune` deletes what no machine uses; PROVISION_CACHE_DIR and PROVISION_DATA_DIR move the folders")
        .into())
}

/// Whether a failure was for want of room on a disk, whoever told so.
pub fn is_full(error: &anyhow::Error) -> bool {
    use std::io::ErrorKind::{QuotaExceeded, StorageFull};
    let told = |cause: &(dyn std::error::Error + 'static)| {
        let kind = cause.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
        // What cp and qemu-img say. The latter also blames the file's header (bdrv_change_backing_file's ENOSPC), which
        // has room for a path that replaces a longer one.
        matches!(kind, Some(StorageFull | QuotaExceeded)) || cause.to_string().contains("No space left")
    };
    error.chain().any(told)
}

/// Says of a failure for want of room that it was one, and what to do. `path` is where something was written.
///
/// # Errors
/// That of `result`, as a [`Cause::Space`] fault if it was for want of room.
pub fn or_full<T>(result: Result<T>, path: &Path) -> Result<T> {
    result.map_err(|error| {
        if !is_full(&error) {
            return error;
        }
        let message = format!("no space is left in {}", path.display());
        error.context(Fault::new(Cause::Space, message).hint(
            "`provision cache prune` deletes what no machine uses; PROVISION_CACHE_DIR and PROVISION_DATA_DIR move the folders",
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn space_is_told_for_what_does_not_exist_yet() {
        let dir = tempfile::tempdir().unwrap();
        let here = free_space(dir.path()).unwrap();
        assert!(here > 0);
        let below = free_space(&dir.path().join("a/b/c")).unwrap();
        assert!(here.abs_diff(below) < 1 << 30);
    }

    #[test]
    fn too_little_space_is_told_with_both_figures() {
        let dir = tempfile::tempdir().unwrap();
        require(dir.path(), 1).unwrap();
        let error = require(dir.path(), 1 << 60).unwrap_err();
        let fault = Fault::of(&error).unwrap();
        assert_eq!(fault.cause, Cause::Space);
        assert!(fault.message.contains("1.0 EiB are needed"), "{}", fault.message);
    }
}
