//! Room on the host's disks.

use std::path::Path;

use anyhow::{Context as _, Result};

/// How many bytes this user may still write where `path` is or will be: what is asked about may not exist yet, so the
/// nearest folder above it that does counts.
///
/// # Errors
/// When the file system does not say.
pub fn free_space(path: &Path) -> Result<u64> {
    let existing = path.ancestors().find(|path| path.exists()).unwrap_or(Path::new("."));
    let stat = rustix::fs::statvfs(existing)
        .with_context(|| format!("asking for the free space in {}", existing.display()))?;
    // `f_bavail` leaves out what is reserved for root (statvfs(3)).
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
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
}
