//! Whether a checkpoint is sound, as far as `VBoxManage` tells: it has no check of a disk's tables. So each disk must be
//! accessible, and the last must lie on one of the machine under it. That no byte has changed is told by the digests.

use std::path::Path;

use anyhow::Result;

use super::disks::{files_in, settings_in};
use super::info::{self, Disk};
use super::vboxmanage::VBoxManage;
use super::{arguments, known};
use crate::cancel::Cancel;

/// What is wrong with the machine in `folder`, which must lie on the first of `below`, and that on the next.
///
/// # Errors
/// When `VirtualBox` does not answer.
pub fn machine(vbox: &VBoxManage, folder: &Path, below: &[&Path], cancel: &Cancel) -> Result<Vec<String>> {
    cancel.check()?;
    if settings_in(folder).is_none() {
        return Ok(vec!["its settings are gone".to_owned()]);
    }
    let mut chain = vec![folder];
    chain.extend(below);
    // Whatever its lists say: only what is known can be asked about.
    if let Err(error) = known::know(vbox, &chain) {
        return Ok(vec![format!("VirtualBox does not take it: {error:#}")]);
    }
    let mut wrong = Vec::new();
    let files = files_in(folder, "vdi")?;
    for file in &files {
        match vbox.ask(arguments::open_disk(file)) {
            Ok(told) => wrong.extend(inaccessible(&told)),
            Err(error) => wrong.push(format!("VirtualBox cannot read {}: {error:#}", file.display())),
        }
    }
    if wrong.is_empty() {
        let disks = info::disks(&vbox.ask(arguments::list_disks())?);
        wrong.extend(wrong_parent(&disks, folder, below.first().copied()));
    }
    Ok(wrong)
}

/// `showmediuminfo` of a disk that cannot be read says `State: inaccessible` and why.
fn inaccessible(told: &str) -> Option<String> {
    let value = |label: &str| told.lines().find_map(|line| line.strip_prefix(label)).map(str::trim);
    (value("State:") == Some("inaccessible")).then(|| {
        let why = value("Access Error:").unwrap_or("it does not say why");
        format!("VirtualBox cannot read it: {why}")
    })
}

/// The disks in `folder` may lie on each other and on those in `parent`, and one of them must lie on such.
fn wrong_parent(disks: &[Disk], folder: &Path, parent: Option<&Path>) -> Option<String> {
    let ours = disks.iter().filter(|disk| disk.lies_in(folder));
    let below: Vec<&Disk> = ours
        .filter_map(|disk| info::chain(disks, disk).nth(1))
        .filter(|below| !below.lies_in(folder))
        .collect();
    let foreign = below
        .iter()
        .find(|below| !parent.is_some_and(|parent| below.lies_in(parent)));
    match (foreign, parent) {
        (Some(foreign), _) => Some(format!("it lies on {}", foreign.file.display())),
        (None, Some(parent)) if below.is_empty() => Some(format!("it does not lie on {}", parent.display())),
        _ => None,
    }
}

#[cfg(test)]
#[path = "tests/examine.rs"]
mod tests;
