//! Makes machines known to `VirtualBox` where they are, whatever its own lists say.

use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use fs_err as fs;

use super::arguments;
use super::disks::{files_in, settings};
use super::info::{self, Known};
use super::vboxmanage::VBoxManage;
use crate::wait;

/// How often it is tried to teach a service that may end meanwhile.
const TRIES: u32 = 3;

/// How long is waited at first before that is tried again.
const AGAIN: Duration = Duration::from_millis(250);

/// What is said of a machine that is not known, or in such a way that it cannot be used.
const UNKNOWN: [&str; 3] = [
    "Could not find a registered machine",
    "functionality is limited",
    "is not ready",
];

/// What is said where the disk of a machine is not known.
const UNKNOWN_DISK: &str = "Could not find an open hard disk";

/// Makes the machines in the folders `chain` known to `VirtualBox` where they are. Each lies on the next; the last is
/// the root.
///
/// Nothing is done while it knows them. It does not where the folders were moved, where its own home (`VBOX_USER_HOME`)
/// is another than it was, or somebody removed one from its list.
///
/// # Errors
/// When one is not whole, or a copy of it is known elsewhere.
pub fn know(vbox: &VBoxManage, chain: &[&Path]) -> Result<()> {
    knowing(vbox, chain, || Ok(()))
}

/// Makes the machines in the folders `chain` known, as [`know`] does, and does `job`, which needs that.
///
/// The service may end between any two calls: where a call stalls on a busy host, it ends five seconds after the one
/// before. What it had only heard of, as disks that were opened by hand, is gone then: all is done again.
///
/// # Errors
/// As [`know`], and the job's.
pub fn knowing<T>(vbox: &VBoxManage, chain: &[&Path], mut job: impl FnMut() -> Result<T>) -> Result<T> {
    wait::retry(TRIES, AGAIN, vbox.cancel(), is_forgotten, |_| {
        teach(vbox, chain)?;
        job()
    })
}

/// Whether `VirtualBox` does not know what it was told of.
fn is_forgotten(error: &anyhow::Error) -> bool {
    let text = format!("{error:#}");
    UNKNOWN.iter().chain([&UNKNOWN_DISK]).any(|mark| text.contains(mark))
}

fn teach(vbox: &VBoxManage, chain: &[&Path]) -> Result<()> {
    let machines: Vec<PathBuf> = chain.iter().map(|folder| settings(folder)).collect::<Result<_>>()?;
    let mut unknown = false;
    for machine in &machines {
        unknown |= !is_known(vbox, machine)?;
    }
    if !unknown {
        return Ok(());
    }
    let known = info::machines(&vbox.ask(arguments::list_machines())?);
    // What lies on a machine goes first, and is made known last.
    for machine in &machines {
        forget_former_place(vbox, machine, &known)?;
    }
    let mut was_opened = false;
    for machine in machines.iter().rev() {
        if !is_known(vbox, machine)? {
            was_opened |= register(vbox, machine)?;
        }
    }
    for folder in chain.iter().rev() {
        relocate(vbox, folder)?;
    }
    if was_opened {
        write_down(vbox, chain)?;
        // What is written down is what the service knew by then.
        for machine in &machines {
            vbox.ask(arguments::show(machine))?;
        }
    }
    Ok(())
}

/// Has the machine at the root of `chain` write down its list of disks. That is done when its settings are changed, but
/// not always when the list is: not of disks that were opened by hand, nor of clones after it was made known anew.
///
/// # Errors
/// When `VirtualBox` fails.
pub fn write_down(vbox: &VBoxManage, chain: &[&Path]) -> Result<()> {
    let Some(root) = chain.last() else { return Ok(()) };
    let now = jiff::Timestamp::now().as_nanosecond().to_string();
    vbox.change(arguments::set_extra_data(&settings(root)?, "provision/known", &now))
        .map(drop)
}

fn is_known(vbox: &VBoxManage, machine: &Path) -> Result<bool> {
    match vbox.ask(arguments::show(machine)) {
        Ok(_) => Ok(true),
        Err(error) if UNKNOWN.iter().any(|mark| error.to_string().contains(mark)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Lets go of a machine that is known where it no longer is, or in such a way that it cannot be used.
fn forget_former_place(vbox: &VBoxManage, machine: &Path, known: &[Known]) -> Result<()> {
    let text = fs::read_to_string(machine)?;
    let uuid =
        machine_uuid(&text).with_context(|| format!("reading the machine's identifier in {}", machine.display()))?;
    let Some(former) = known.iter().find(|known| known.uuid == uuid) else {
        return Ok(());
    };
    let moved = !former.settings.exists();
    if moved || (former.settings == machine && !is_known(vbox, machine)?) {
        vbox.change(arguments::unregister(uuid))?;
    }
    Ok(())
}

/// The identifier in a settings file: `<Machine uuid="{…}" …`.
fn machine_uuid(settings: &str) -> Option<&str> {
    let (_, machine) = settings.split_once("<Machine ")?;
    let (attributes, _) = machine.split_once('>')?;
    let (_, uuid) = attributes.split_once("uuid=\"{")?;
    uuid.split_once('}').map(|(uuid, _)| uuid)
}

/// Registers a machine; true if its disks had to be opened first, since no list has them.
fn register(vbox: &VBoxManage, machine: &Path) -> Result<bool> {
    match vbox.change(arguments::register(machine)) {
        Err(error) if error.to_string().contains(UNKNOWN_DISK) => {}
        registered => return registered.map(|_| false),
    }
    let mut waiting = files_in(machine.parent().unwrap_or(machine), "vdi")?;
    // One that lies on another can only be opened after that.
    while !waiting.is_empty() {
        let before = waiting.len();
        waiting.retain(|disk| vbox.ask(arguments::open_disk(disk)).is_err());
        if waiting.len() == before {
            break;
        }
    }
    vbox.change(arguments::register(machine)).map(|_| true)
}

/// Tells where the disks in `folder` are, which are known elsewhere: as long as its service runs, `VirtualBox` does not
/// look again for one that it has seen.
fn relocate(vbox: &VBoxManage, folder: &Path) -> Result<()> {
    let known = info::disks(&vbox.ask(arguments::list_disks())?);
    for file in files_in(folder, "vdi")? {
        let uuid = &disk_uuid(&file)?;
        if known.iter().any(|disk| disk.uuid == *uuid && disk.file != file) {
            vbox.change(arguments::relocate(uuid, &file))?;
        }
    }
    Ok(())
}

/// The identifier in a VDI: a GUID as Windows writes it, behind the header's other fields (`VDICore.h`, `uuidCreate`).
fn disk_uuid(disk: &Path) -> Result<String> {
    const PLACE: u64 = 392;
    let mut file = fs::File::open(disk)?;
    file.seek(SeekFrom::Start(PLACE))?;
    let mut bytes = [0; 16];
    file.read_exact(&mut bytes)
        .with_context(|| format!("reading the identifier of {}", disk.display()))?;
    // The first three numbers are little-endian.
    bytes[..4].reverse();
    bytes[4..6].reverse();
    bytes[6..8].reverse();
    let digits = hex::encode(bytes);
    let parts = [
        &digits[..8],
        &digits[8..12],
        &digits[12..16],
        &digits[16..20],
        &digits[20..],
    ];
    Ok(parts.join("-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_identifier_is_read_from_the_settings() {
        let text = "<?xml version=\"1.0\"?>\n<VirtualBox xmlns=\"x\" version=\"1.19-linux\">\n  <Machine uuid=\"{759885b8-0dea-4daf-a10d-bb1be160270a}\" name=\"L1\">\n <HardDisk uuid=\"{a}\"/>";
        assert_eq!(machine_uuid(text), Some("759885b8-0dea-4daf-a10d-bb1be160270a"));
        for text in ["", "<Machine ", "<Machine name=\"x\"><HardDisk uuid=\"{a}\"/>"] {
            assert_eq!(machine_uuid(text), None, "{text}");
        }
    }
}
