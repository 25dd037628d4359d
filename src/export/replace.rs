//! What an image may take the place of.

use std::path::Path;

use anyhow::{Result, bail};
use fs_err as fs;

use super::Format;
use super::place::{OCI_MARK, manifest};
use crate::fault::{Cause, Fault};

/// Refuses a place among the program's own files: a machine's disk would be one.
///
/// # Errors
/// A [`Cause::Usage`] fault when `folder` lies in one of `own`.
pub fn refuse_own(folder: &Path, own: &[&Path]) -> Result<()> {
    let folder = fs::canonicalize(folder)?;
    // One that is not there holds nothing.
    let own = own.iter().filter_map(|own| fs::canonicalize(own).ok());
    let Some(own) = own.into_iter().find(|own| folder.starts_with(own)) else {
        return Ok(());
    };
    let message = format!("{} is this program's own: no image is written there", own.display());
    bail!(Fault::new(Cause::Usage, message).hint("name another place"))
}

/// Refuses what `--force` was not given for, and what nobody means by it: devices, links, folders of other things.
///
/// # Errors
/// A [`Cause::Usage`] fault that says what is there.
pub fn refuse_what_is_there(target: &Path, format: Format, force: bool) -> Result<()> {
    let manifest = (format == Format::Containerdisk).then(|| manifest(target));
    for path in [Some(target.to_owned()), manifest.clone()].into_iter().flatten() {
        let Ok(data) = path.symlink_metadata() else { continue };
        let what = if data.is_dir() && (Some(&path) == manifest.as_ref() || !is_image_layout(&path)) {
            Some("a folder that no export has made")
        } else if !data.is_dir() && !data.is_file() {
            Some("no plain file")
        } else {
            None
        };
        if let Some(what) = what {
            let message = format!("{} is {what}: it is not replaced", path.display());
            bail!(Fault::new(Cause::Usage, message).hint("name another place"));
        }
        if !force {
            let message = format!("{} is there already", path.display());
            bail!(Fault::new(Cause::Usage, message).hint("`--force` replaces it; or name another place"));
        }
    }
    Ok(())
}

/// Whether a folder is an OCI image layout and holds nothing else.
fn is_image_layout(folder: &Path) -> bool {
    let is_of_it = |entry: std::io::Result<std::fs::DirEntry>| {
        entry.is_ok_and(|entry| {
            [OCI_MARK, "index.json", "blobs"]
                .iter()
                .any(|name| entry.file_name() == *name)
        })
    };
    folder.join(OCI_MARK).is_file() && std::fs::read_dir(folder).is_ok_and(|mut entries| entries.all(is_of_it))
}

#[cfg(test)]
mod tests {
    use super::super::place::Place;
    use super::*;

    #[test]
    fn neither_devices_nor_links_nor_own_files_are_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        // A socket stands for all that is neither file nor folder.
        let _socket = std::os::unix::net::UnixListener::bind(path("socket")).unwrap();
        std::fs::write(path("file"), "mine").unwrap();
        std::os::unix::fs::symlink("file", path("link")).unwrap();
        std::os::unix::fs::symlink("nothing", path("dangling")).unwrap();
        std::fs::create_dir_all(path("disk.yaml")).unwrap();
        std::fs::create_dir_all(path("data/machines/m")).unwrap();
        std::os::unix::fs::symlink("data/machines/m", path("other-way")).unwrap();
        let before = std::fs::read_dir(folder.path()).unwrap().count();
        let (data, cache) = (path("data"), path("no-cache"));
        for (name, format) in [
            ("socket", Format::Raw),
            ("link", Format::Raw),
            ("dangling", Format::Raw),
            ("disk", Format::Containerdisk),
            ("data/machines/m/disk.qcow2", Format::Qcow2),
            ("other-way/new.qcow2", Format::Qcow2),
        ] {
            let refused = Place::take(&path(name), format, true, &[&cache, &data]).unwrap_err();
            assert_eq!(Fault::of(&refused).unwrap().cause, Cause::Usage, "{name}: {refused}");
        }
        assert!(path("link").is_symlink() && path("dangling").is_symlink());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), before);
        assert_eq!(std::fs::read_dir(path("data/machines/m")).unwrap().count(), 0);
    }
}
