//! What a guest's service manager is told, on a medium: `VirtualBox` has no way to hand it credentials.
//!
//! A sealed guest takes them from a disk with the label `PROVISION` whenever one appears
//! (`provision/debian/first-boot/provision-first-boot.sh`). It is there from the start of the machine until somebody has
//! logged in, or it ends.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use fs_err as fs;

use super::arguments::{self, CONTROLLER, MEDIUM_PORT};
use super::vboxmanage::VBoxManage;
use super::{disks, info};
use crate::machine::Credential;
use crate::media::iso::write;

/// The label by which guests know it.
const LABEL: &str = "PROVISION";

/// Where the medium of the machine in `folder` lies.
fn medium(folder: &Path) -> PathBuf {
    folder.join("keys.iso")
}

/// The name on the medium of a credential: `host_key` of `provision.host-key`.
fn file_name(credential: &str) -> String {
    credential.trim_start_matches("provision.").replace('-', "_")
}

/// Makes the medium of the machine in `folder`, for the user's eyes only; `None` where nothing is to be told.
///
/// # Errors
/// When a credential cannot be read or the medium not be written.
pub(super) fn make(credentials: &[Credential], folder: &Path) -> Result<Option<PathBuf>> {
    remove(folder)?;
    if credentials.is_empty() {
        return Ok(None);
    }
    let mut files = Vec::new();
    for Credential { name, file } in credentials {
        files.push((file_name(name), fs::read(file)?));
    }
    let files: Vec<_> = files
        .iter()
        .map(|(name, text)| (name.as_str(), text.as_slice()))
        .collect();
    let (image, medium) = (write::image(LABEL, &files)?, medium(folder));
    let mut options = std::fs::OpenOptions::new();
    let file = options.write(true).create_new(true).mode(0o600).open(&medium);
    file.and_then(|mut file| file.write_all(&image))
        .with_context(|| format!("writing {}", medium.display()))?;
    Ok(Some(medium))
}

/// Takes the medium out of the machine in `folder`, running or not, and deletes it; does nothing where there is none.
///
/// # Errors
/// When `VirtualBox` does not let go of it.
pub(super) fn take_out(vbox: &VBoxManage, folder: &Path) -> Result<()> {
    let medium = medium(folder);
    if !medium.exists() {
        return Ok(());
    }
    let vbox = vbox.unstoppable();
    if disks::show(&vbox, folder)?.attached(CONTROLLER, MEDIUM_PORT) == medium.to_str() {
        vbox.change(arguments::eject_medium(&disks::settings(folder)?))
            .context("taking the medium with the keys out of the machine")?;
    }
    // While the machine runs VirtualBox keeps it in its list; whoever starts or removes the machine takes it off.
    let _ = vbox.change(arguments::close_medium(&medium));
    remove(folder)
}

/// Has `VirtualBox` forget the medium of the machine in `folder`, which does not run.
///
/// # Errors
/// When it does not answer.
pub(super) fn forget(vbox: &VBoxManage, folder: &Path) -> Result<()> {
    let media = info::disks(&vbox.ask(arguments::list_media())?);
    if media.iter().any(|known| known.file == medium(folder)) {
        // Another machine cannot have it in its drive.
        vbox.change(arguments::close_medium(&medium(folder)))?;
    }
    Ok(())
}

/// Deletes the medium of a machine that does not run.
///
/// # Errors
/// When it cannot be deleted.
pub(super) fn remove(folder: &Path) -> Result<()> {
    match fs::remove_file(medium(folder)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}
