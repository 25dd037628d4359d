//! A virtual machine, whatever runs it. Machines know nothing of guests: a stage joins the two.

pub mod accelerator;
pub mod driver;
pub mod engine;
pub mod qemu;
pub mod virtualbox;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::cancel::Cancel;
use crate::fault::{Cause, Fault};
use crate::wait::Wait;

/// What a machine starts from.
#[derive(Debug, Clone)]
pub struct Boot {
    /// The machine's name, for the host's process list.
    pub name: String,
    /// The disk that the guest may write to.
    pub disk: PathBuf,
    /// An installation medium.
    pub cdrom: Option<PathBuf>,
    /// A kernel to boot instead of what the disk's boot loader says.
    pub kernel: Option<DirectKernel>,
    /// Ports on the host's 127.0.0.1 that lead into the guest; `None` for a machine without a network card.
    pub forwards: Option<Vec<Forward>>,
    /// What the guest's service manager is told.
    pub credentials: Vec<Credential>,
    /// Strings in its SMBIOS tables (type 11). The guest's systemd takes credentials from there, too, that are no secret and
    /// whose names are too long for QEMU's other way (systemd.system-credentials(7)).
    pub oem_strings: Vec<String>,
    /// Whether the disk must survive a crash of the host.
    pub durability: Durability,
    /// The folder of a kept memory to go on from instead of booting; the disk is as it was then.
    pub memory: Option<PathBuf>,
    /// Folder for the machine's socket, logs and PID; must exist.
    pub run_dir: PathBuf,
}

impl Boot {
    /// The first serial port's log: the guest's console.
    pub fn console(&self) -> PathBuf {
        self.run_dir.join("console.log")
    }

    /// The second serial port's log: the installer's syslog.
    pub fn installer_log(&self) -> PathBuf {
        self.run_dir.join("installer.log")
    }

    /// What the firmware says, where it is told.
    pub fn firmware_log(&self) -> PathBuf {
        self.run_dir.join("firmware.log")
    }
}

/// A system credential for the guest's systemd (systemd.system-credentials(7)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// Its name.
    pub name: &'static str,
    /// The file that holds it: it may be secret.
    pub file: PathBuf,
}

/// A kernel booted without a boot loader.
#[derive(Debug, Clone)]
pub struct DirectKernel {
    /// The kernel's file on the host.
    pub kernel: PathBuf,
    /// The initial RAM disk's file on the host.
    pub initrd: PathBuf,
    /// The kernel's command line.
    pub arguments: String,
}

/// One forwarded TCP port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forward {
    /// On the host's 127.0.0.1.
    pub host: u16,
    /// In the guest.
    pub guest: u16,
}

/// Whether what the guest flushes must reach the host's disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// The disk is thrown away unless the stage succeeds, and synced then: flushes cost time for nothing.
    Scratch,
    /// The disk is the user's.
    Kept,
}

/// Whether a machine runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It runs.
    Running,
    /// The guest powered off, or the machine was never started.
    Off,
}

/// Numbers that grow while a guest does something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Activity {
    /// Bytes written to the disk.
    pub disk_written: u64,
    /// Bytes read from disk and medium.
    pub disk_read: u64,
}

/// Why a machine cannot go on from a kept memory, in words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct StaleMemory(pub String);

/// Another program has taken a port of 127.0.0.1 since it was chosen: nothing has run, and with another port it can be started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a port was taken meanwhile")]
pub struct PortTaken;

/// The program has ended the machine because it found its own state to be what it cannot be. Under emulation on a busy host
/// that happens to sound guests, once in hundreds of boots (QEMU 10.0.2, two processors: ``hw/pci/msix.c:228:
/// msix_table_mmio_write: Assertion `addr + size <= …' failed``): nothing is wrong with guest or host, and another start goes well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the program found a fault of its own")]
pub struct OwnFault;

/// How often other ports are tried then: each time somebody must have been quicker.
pub const PORT_TRIES: usize = 5;

/// A look at a machine that may be taken while something else is done with it: an error once the guest cannot go on,
/// because the machine has ended or the host's disk is full.
pub type Watcher = Box<dyn FnMut() -> Result<()>>;

/// A machine and its driver.
pub trait Machine {
    /// Starts it. It ends with this process unless it is released.
    ///
    /// # Errors
    /// With the driver's own message when it does not come up. A [`StaleMemory`] when it cannot go on from
    /// [`Boot::memory`]: nothing has run then, the disk is untouched, and it can be started without. A [`PortTaken`] where
    /// that is known.
    fn start(&mut self, boot: &Boot) -> Result<()>;

    /// Keeps its memory in `folder` and ends it: its disk is as the guest last saw it.
    ///
    /// # Errors
    /// When the memory cannot be kept; it runs on then.
    fn hibernate(&mut self, folder: &Path) -> Result<()>;

    /// The bytes of its memory that its guest has ever touched, where the host can tell.
    fn touched(&self) -> Option<u64> {
        None
    }

    /// Whether it runs.
    ///
    /// # Errors
    /// With the driver's own message when it died.
    fn state(&mut self) -> Result<State>;

    /// A look at the machine for whoever waits for the guest.
    fn watcher(&self) -> Watcher;

    /// What the guest has done so far.
    ///
    /// # Errors
    /// When the driver does not answer.
    fn activity(&mut self) -> Result<Activity>;

    /// Presses the power button.
    ///
    /// # Errors
    /// When the driver does not answer.
    fn press_power(&mut self) -> Result<()>;

    /// Ends it at once.
    ///
    /// # Errors
    /// When its end cannot be seen.
    fn kill(&mut self) -> Result<()>;

    /// Writes what the guest's screen shows to `file` as a PNG.
    ///
    /// # Errors
    /// When there is no screen or the driver does not answer.
    fn screenshot(&mut self, file: &Path) -> Result<()>;

    /// Lets it run on after this process has ended.
    ///
    /// # Errors
    /// When it has died.
    fn release(&mut self) -> Result<()>;
}

/// How long, on a real machine, a guest may take to power off: systemd gives a service 90 seconds before it kills it
/// (systemd-system.conf(5), `DefaultTimeoutStopSec`), and services may wait for one another.
pub const POWER_OFF: u64 = 180;

/// A guest that boots, or restarts, hears no power button: it is pressed again after this time.
const PRESS_AGAIN: Duration = Duration::from_secs(10);

/// How a machine was stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Stopped {
    /// The guest powered off.
    ByGuest,
    /// The guest did not do so in time: the machine was ended, and what the guest had not written is lost.
    PowerCut,
}

/// Asks the guest to power off, and ends the machine when it does not within `limit`.
///
/// # Errors
/// When the user interrupts, the machine died before, or the host's disk is full.
pub fn shut_down(machine: &mut dyn Machine, limit: Duration, cancel: &Cancel) -> Result<Stopped> {
    if machine.state()? == State::Off {
        return Ok(Stopped::ByGuest);
    }
    let mut watcher = machine.watcher();
    // One that ends at this very moment answers nobody, and one that stands still may not: its state, or the limit, tells.
    let _ = machine.press_power();
    let mut pressed = Instant::now();
    let waited = Wait::new("the guest to power off", limit).cancel(cancel).until(|| {
        if machine.state()? == State::Off {
            return Ok(Some(()));
        }
        still_writes(&mut watcher)?;
        if pressed.elapsed() >= PRESS_AGAIN {
            let _ = machine.press_power();
            pressed = Instant::now();
        }
        Ok(None)
    });
    match waited {
        Ok(()) => Ok(Stopped::ByGuest),
        Err(error) if Fault::of(&error).is_some_and(|fault| fault.cause == Cause::Timeout) => {
            machine.kill()?;
            Ok(Stopped::PowerCut)
        }
        Err(error) => Err(error),
    }
}

/// An error once the host's disk is full, for whoever waits for the machine's end: that it has ended since its state
/// was asked for is the state's to tell.
///
/// # Errors
/// The watcher's.
pub fn still_writes(watcher: &mut Watcher) -> Result<()> {
    match watcher() {
        Err(error) if Fault::of(&error).is_some_and(|fault| fault.cause == Cause::Machine) => Ok(()),
        looked => looked,
    }
}
