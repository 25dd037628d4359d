//! The stages, one file each. Each takes typed input and gives typed output; none knows another.

pub mod account;
pub mod as_root;
pub mod booted;
pub mod docker;
pub mod install;
pub mod led;
pub mod lost_timer;
pub mod media;
pub mod project;
pub mod standstill;
mod tail;
pub mod verify;
pub mod warm;

use std::path::PathBuf;

use crate::cancel::Cancel;
use crate::event::Events;
use crate::kept::Keeper;
use crate::machine::Machine;
use crate::machine::driver::Home;
use crate::machine::engine::Engine;
use crate::machine::qemu::arguments::Size;

/// How long, in seconds on a real machine, a guest may neither print, log, read nor write.
const STALLED: u64 = 120;

/// What every stage gets: how to start machines on this host, whom to tell, when to stop.
#[derive(Debug, Clone)]
pub struct Host {
    /// What starts machines.
    pub engine: Engine,
    /// The virtual hardware.
    pub size: Size,
    /// How long an installing or booting guest may stand still, where the user says so.
    pub stall_timeout: Option<std::time::Duration>,
    /// Where events go.
    pub events: Events,
    /// Whether the user asked to stop.
    pub cancel: Cancel,
    /// Through what guests fetch while a stage works, if anything.
    pub keeper: Option<std::sync::Arc<Keeper>>,
}

impl Host {
    /// The machine of `home`.
    pub fn machine(&self, home: &Home) -> Box<dyn Machine> {
        self.engine.machine(self.size, home, &self.cancel)
    }

    /// How long an installing or booting guest may stand still: as the user says, else twice what any step was seen to
    /// take.
    pub fn stall_timeout(&self) -> std::time::Duration {
        self.stall_timeout.unwrap_or_else(|| self.patience(STALLED))
    }

    /// A limit that suits a real machine, stretched for the accelerator.
    pub fn patience(&self, seconds: u64) -> std::time::Duration {
        std::time::Duration::from_secs(seconds) * self.engine.slowness()
    }
}

/// The folder and the disk with which a stage works.
#[derive(Debug, Clone)]
pub struct Work {
    /// The machine's name as the user knows it.
    pub machine: String,
    /// Its name in the host's process list.
    pub name: String,
    /// For logs, socket and PID.
    pub dir: PathBuf,
    /// The overlay, or empty disk, that becomes the checkpoint.
    pub disk: PathBuf,
    /// The folder of a memory to go on from, where there is one: that of the guest whose disk this lies on.
    pub from: Option<PathBuf>,
    /// The folder in which the memory is to be kept at the end, beside the disk.
    pub keeps: Option<PathBuf>,
    /// See [`Boot::oem_strings`].
    ///
    /// [`Boot::oem_strings`]: crate::machine::Boot::oem_strings
    pub oem_strings: Vec<String>,
}
