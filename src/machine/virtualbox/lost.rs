//! What `VirtualBox` has in its lists though the files are gone: somebody removed a folder by hand, or was killed between
//! the files and the lists.

use std::path::Path;

use anyhow::{Context as _, Result};

use super::arguments;
use super::disks;
use super::info;
use super::vboxmanage::VBoxManage;

/// The settings files of machines in the folder `root` that are known and gone.
///
/// # Errors
/// When `VirtualBox` does not answer.
pub fn machines_in(vbox: &VBoxManage, root: &Path) -> Result<Vec<String>> {
    let known = info::machines(&vbox.ask(arguments::list_machines())?).into_iter();
    let lost = known.filter(|known| known.settings.starts_with(root) && !known.settings.exists());
    Ok(lost.map(|known| known.settings.display().to_string()).collect())
}

/// Lets `VirtualBox` forget the machine with the settings file `settings`, which is gone, and its disks.
///
/// # Errors
/// When another machine lies on it, or `VirtualBox` fails.
pub fn forget(vbox: &VBoxManage, settings: &Path) -> Result<()> {
    // FOLDER/NAME/NAME.vbox, see `disks`.
    let machine = settings.parent().context("a settings file lies in a folder")?;
    disks::forget(vbox, machine)
}

#[cfg(test)]
#[path = "tests/lost.rs"]
mod tests;
