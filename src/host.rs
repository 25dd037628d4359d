//! The host: the programs it must have, its processor, the room on its disks, its ports.

pub mod acceleration;
mod backports;
mod check;
pub mod disk;
pub mod doctor;
mod install;
mod manager;
mod os;
pub mod ports;
mod version;

use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::cancel::Cancel;
use crate::fault::{Cause, Fault};

use check::{State, findings};
pub use install::{install_missing, require};

/// The emulator of the guests' processor.
const QEMU: &str = "qemu-system-x86_64";

/// QEMU's program and its version.
///
/// # Errors
/// A [`Cause::HostMissing`] fault when it is missing or too old.
pub fn qemu(cancel: &Cancel) -> Result<(PathBuf, String)> {
    require(cancel)?;
    let found = findings(cancel)?.into_iter().find_map(|finding| match finding.state {
        State::Present { path, version } if finding.program == QEMU => Some((path, version.to_string())),
        _ => None,
    });
    found.with_context(|| Fault::new(Cause::HostMissing, format!("{QEMU} is missing")).hint("`provision doctor`"))
}
