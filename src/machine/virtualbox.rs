//! The `VirtualBox` driver.
//!
//! A machine is what lies in a folder, which takes the place of a disk's file: see [`disks`]. Its process is
//! `VBoxHeadless`, which ends with the machine, under the same guardian as QEMU: so a machine in the middle of a stage
//! ends with `provision`, and an error of the start is told in words (`startvm` only says that it "has terminated
//! unexpectedly").

pub mod arguments;
pub mod disks;
pub mod driver;
pub mod examine;
pub mod hints;
pub mod info;
mod keys;
pub mod known;
mod logs;
pub mod lost;
mod moments;
pub mod moving;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
pub mod vboxmanage;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result, bail};
use fs_err as fs;

use self::arguments::{CONTROLLER, MEDIUM_PORT};
use self::disks::END_LIMIT;
use self::info::VmState;
use self::vboxmanage::VBoxManage;
use crate::fault::{Cause, Fault};
use crate::machine::qemu::arguments::Size;
use crate::machine::{Activity, Boot, Durability, Machine, State, Watcher};
use crate::process::guardian::{self, Guarded, PID_FILE};
use crate::process::{self, CommandLine};
use crate::wait::Wait;

/// How long a machine may take until it runs: its service may have to start and its memory to be laid out.
const START_LIMIT: Duration = Duration::from_secs(120);

/// A question costs `VBoxManage` a tenth of a second of the processor's time: it is asked no more often than this.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// A machine under `VirtualBox`.
#[derive(Debug)]
pub struct VirtualBox {
    vbox: VBoxManage,
    size: Size,
    /// Where the machine lies.
    folder: PathBuf,
    run_dir: PathBuf,
    /// `None` for a machine that another `provision` started.
    guarded: Option<Guarded>,
    durability: Durability,
    told: Option<(Instant, VmState)>,
    seen: Seen,
}

impl VirtualBox {
    /// The machine in `folder`, whose PID and logs are, or will be, in `run_dir`.
    pub fn new(vbox: &VBoxManage, size: Size, folder: &Path, run_dir: &Path) -> Self {
        Self {
            vbox: vbox.clone(),
            size,
            folder: folder.to_owned(),
            run_dir: run_dir.to_owned(),
            guarded: None,
            durability: Durability::Scratch,
            told: None,
            seen: Seen::default(),
        }
    }

    /// Gives the machine, which does not run, the hardware and the media that it is to have.
    ///
    /// # Errors
    /// When `VirtualBox` refuses a value.
    fn configure(&self, boot: &Boot) -> Result<()> {
        if boot.memory.is_some() {
            return moments::configure(&self.vbox, &self.folder, self.size, boot.forwards.as_deref());
        }
        let machine = disks::settings(&self.folder)?;
        if disks::show(&self.vbox, &self.folder)?.state() == VmState::Saved {
            self.vbox.change(arguments::discard_state(&machine))?;
        }
        let version = self.vbox.version();
        self.vbox
            .change(arguments::hardware(&machine, boot, self.size, version))?;
        // Forwards show only while there is a card.
        let info = disks::show(&self.vbox, &self.folder)?;
        let forwards = arguments::forwards(&machine, &info.forwards(), boot.forwards.as_deref());
        self.vbox.change(forwards)?;
        let keys = keys::make(&boot.credentials, &self.folder)?;
        match boot.cdrom.as_ref().or(keys.as_ref()) {
            Some(iso) => drop(self.vbox.change(arguments::attach_medium(&machine, iso))?),
            None if info.attached(CONTROLLER, MEDIUM_PORT).is_some() => {
                self.vbox.change(arguments::detach_medium(&machine))?;
                keys::forget(&self.vbox, &self.folder)?;
            }
            None => {}
        }
        for args in arguments::extra_data(&machine, boot.durability) {
            self.vbox.change(args)?;
        }
        Ok(())
    }

    /// Starts the machine's process and waits until it runs.
    fn launch(&mut self, line: &CommandLine) -> Result<Guarded> {
        let cancel = self.vbox.cancel().clone();
        let former = logs::which(&self.folder);
        let mut guarded = Guarded::start(line, &self.run_dir)?;
        Wait::new("VirtualBox to start", START_LIMIT)
            .cancel(&cancel)
            .until(|| {
                if guarded.ended()?.is_some() {
                    return Err(self.died(&guarded));
                }
                Ok(is_up(&self.vbox, &self.folder, former).then_some(()))
            })?;
        self.told = None;
        Ok(guarded)
    }

    /// The state as `VirtualBox` told it not long ago.
    fn vm_state(&mut self) -> Result<VmState> {
        if let Some((at, state)) = self.told
            && at.elapsed() < ASK_AGAIN
        {
            return Ok(state);
        }
        let state = disks::show(&self.vbox, &self.folder)?.state();
        self.told = Some((Instant::now(), state));
        Ok(state)
    }

    fn died(&self, guarded: &Guarded) -> anyhow::Error {
        let said = logs::with_reason(guarded.output(), &self.folder);
        let fault = hints::fault("VBoxHeadless", &said, hints::secure_boot());
        let hint = fault.hint.clone();
        fault
            .hint(hint.unwrap_or_else(|| "`provision doctor` checks VirtualBox and its driver".into()))
            .into()
    }

    /// Ends the user's machine so that nothing is lost that the guest has written: `VirtualBox` closes the disk itself.
    /// One that does not end is killed when its guard is dropped.
    fn quit(&mut self) {
        let Some(guarded) = &mut self.guarded else { return };
        let Some(machine) = disks::settings_in(&self.folder) else {
            return;
        };
        if self
            .vbox
            .unstoppable()
            .change(arguments::control(&machine, "poweroff"))
            .is_ok()
        {
            let _ = Wait::new("VirtualBox to end", END_LIMIT).until(|| Ok(guarded.ended()?.map(drop)));
        }
    }
}

impl Drop for VirtualBox {
    fn drop(&mut self) {
        let owned = self.guarded.as_ref().is_some_and(|guarded| !guarded.is_released());
        if owned && self.durability == Durability::Kept {
            self.quit();
            let _ = keys::remove(&self.folder);
        }
    }
}

/// An error once the guest of the machine in `folder` cannot go on, whoever started it.
///
/// # Errors
/// A [`Cause::Machine`] fault with the log's last words when it has ended or is stuck; a [`Cause::Space`] fault when it
/// stands still because the host's disk is full.
pub fn look(vbox: &VBoxManage, folder: &Path) -> Result<()> {
    let state = match disks::show(vbox, folder) {
        Ok(info) => info.state(),
        // A service that is too busy to answer tells nothing of the machine.
        Err(error) if Fault::of(&error).is_some_and(|fault| fault.cause == Cause::Timeout) => return Ok(()),
        Err(error) => return Err(error),
    };
    match state {
        VmState::Starting | VmState::Running | VmState::Busy | VmState::Unknown => Ok(()),
        VmState::Paused if !logs::is_full(folder) => Ok(()),
        VmState::Paused => Err(Fault::new(
            Cause::Space,
            format!(
                "no space is left for the machine's disk in {}: VirtualBox has paused the guest",
                folder.display()
            ),
        )
        .hint("free some space (`provision cache prune` removes old checkpoints), then run the same command again; `provision start` lets a machine of yours go on")
        .into()),
        VmState::Stuck => Err(ended(folder, "the machine cannot go on (guru meditation)")),
        VmState::Aborted => Err(ended(folder, "the machine's process was ended")),
        VmState::PoweredOff | VmState::Saved => Err(ended(folder, "the machine has ended")),
    }
}

fn ended(folder: &Path, what: &str) -> anyhow::Error {
    let said = logs::with_reason(String::new(), folder);
    let said = if said.is_empty() {
        String::new()
    } else {
        format!(": {said}")
    };
    Fault::new(Cause::Machine, format!("{what}{said}"))
        .hint("`provision logs` shows the guest's console")
        .into()
}

/// Whether the process that was just started has brought the machine up. To ask for its state takes a lock: before the
/// process has taken its own, which it does before it begins another log than the `former`, it would be kept from it.
fn is_up(vbox: &VBoxManage, folder: &Path, former: Option<(u64, SystemTime)>) -> bool {
    // Its guest may have filled the host's disk already: whoever looks is told.
    let is_past_start = |state| matches!(state, VmState::Running | VmState::Paused | VmState::Stuck);
    // On a busy host a machine that is being set up may not answer ("The object is not ready") for long.
    logs::which(folder) != former && disks::show(vbox, folder).is_ok_and(|info| is_past_start(info.state()))
}

/// Lets the guest of the machine in `folder` go on if it stands still because the host's disk was full.
///
/// # Errors
/// When `VirtualBox` does not answer.
pub fn resume(vbox: &VBoxManage, folder: &Path) -> Result<()> {
    if disks::show(vbox, folder)?.state() == VmState::Paused && logs::is_full(folder) {
        vbox.change(arguments::control(&disks::settings(folder)?, "resume"))?;
    }
    Ok(())
}

/// Whether the machine in `folder` runs, whoever started it.
pub fn runs(vbox: &VBoxManage, folder: &Path) -> bool {
    disks::show(vbox, folder).is_ok_and(|info| info.state().is_alive())
}

/// Ends the machine in `folder`, whose PID is in `run_dir`, if it runs, whoever started it.
///
/// # Errors
/// When it cannot be ended.
pub fn end_leftover(vbox: &VBoxManage, folder: &Path, run_dir: &Path) -> Result<()> {
    let file = run_dir.join(PID_FILE);
    let written = guardian::written_pid(run_dir);
    let running = || written.filter(|&pid| process::is_ours(pid, folder));
    if let Some(machine) = disks::settings_in(folder) {
        let asked = disks::power_off(&vbox.unstoppable(), &machine);
        // One that hangs is killed below.
        if running().is_none() {
            asked?;
        }
    }
    if let Some(pid) = running() {
        process::kill(pid)?;
        Wait::new(format!("process {pid} to end"), END_LIMIT).until(|| Ok(running().is_none().then_some(())))?;
    }
    keys::remove(folder)?;
    // Its guardian removes the file too, unless it was killed.
    match fs::remove_file(&file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).context("removing the PID of an ended machine")
        }
        _ => Ok(()),
    }
}

/// Writes the screen of the machine in `folder` as a PNG, whoever started it.
///
/// # Errors
/// When it does not run.
pub fn screenshot(vbox: &VBoxManage, folder: &Path, file: &Path) -> Result<()> {
    vbox.change(arguments::screenshot(&disks::settings(folder)?, file))
        .map(drop)
}

impl Machine for VirtualBox {
    /// The disk is the machine's folder here.
    fn start(&mut self, boot: &Boot) -> Result<()> {
        if boot.kernel.is_some() {
            bail!(
                Fault::new(Cause::Usage, "VirtualBox boots no kernel but that on a disk or medium")
                    .hint("`--machine qemu` boots the installer's kernel directly")
            );
        }
        self.configure(boot)
            .with_context(|| format!("configuring the machine {}", boot.name))?;
        let line = self.vbox.headless(arguments::headless(&disks::settings(&self.folder)?));
        fs::write(self.run_dir.join("command"), line.to_string())?;
        let _ = fs::remove_file(self.run_dir.join("screen.png"));
        self.durability = boot.durability;
        let cancel = self.vbox.cancel().clone();
        let mut launched = vboxmanage::begin(&cancel, || self.launch(&line));
        if boot.memory.is_some() {
            launched = launched.map_err(moments::stale);
        }
        self.guarded = Some(launched.inspect_err(|_| {
            // The error at hand matters more.
            let _ = keys::take_out(&self.vbox, &self.folder);
        })?);
        Ok(())
    }

    fn hibernate(&mut self, _: &Path) -> Result<()> {
        bail!(Fault::new(
            Cause::Other,
            "under VirtualBox no stage ends with a kept memory"
        ))
    }

    fn state(&mut self) -> Result<State> {
        let Some(guarded) = &mut self.guarded else {
            let runs = self.vm_state()?.is_alive();
            return Ok(if runs { State::Running } else { State::Off });
        };
        match guarded.ended()? {
            None => Ok(State::Running),
            Some(status) if status.success() => Ok(State::Off),
            Some(_) => match &self.guarded {
                Some(guarded) => Err(self.died(guarded)),
                None => Ok(State::Off),
            },
        }
    }

    fn watcher(&self) -> Watcher {
        let (vbox, folder) = (self.vbox.clone(), self.folder.clone());
        let mut next = Instant::now();
        Box::new(move || {
            if Instant::now() < next {
                return Ok(());
            }
            let looked = look(&vbox, &folder);
            next = Instant::now() + ASK_AGAIN;
            looked
        })
    }

    /// `VirtualBox` tells what was written only to its debugger, and the process is set-user-ID, so that the kernel does
    /// not tell either. What can be seen are the disk's files: they grow with what is written anew, and change with the
    /// rest, where each change that was seen counts for a byte. What is read cannot be seen.
    fn activity(&mut self) -> Result<Activity> {
        Ok(Activity {
            disk_written: self.seen.written(&self.folder)?,
            disk_read: 0,
        })
    }

    fn press_power(&mut self) -> Result<()> {
        let machine = disks::settings(&self.folder)?;
        // A guest that was paused by a full disk goes on to hear it.
        let _ = resume(&self.vbox, &self.folder);
        self.vbox
            .change(arguments::control(&machine, "acpipowerbutton"))
            .map(drop)
    }

    fn kill(&mut self) -> Result<()> {
        self.told = None;
        if self.durability == Durability::Kept {
            self.quit();
        }
        if let Some(mut guarded) = self.guarded.take() {
            return guarded.end();
        }
        end_leftover(&self.vbox, &self.folder, &self.run_dir)
    }

    fn screenshot(&mut self, file: &Path) -> Result<()> {
        screenshot(&self.vbox, &self.folder, file)
    }

    /// Whoever lets it run on has logged in, or cannot: it has been told all it will be.
    fn release(&mut self) -> Result<()> {
        if let Err(error) = keys::take_out(&self.vbox, &self.folder)
            && runs(&self.vbox, &self.folder)
        {
            return Err(error);
        }
        match &mut self.guarded {
            Some(guarded) => guarded.release(),
            None if runs(&self.vbox, &self.folder) => Ok(()),
            None => bail!(Fault::new(Cause::Machine, "the machine does not run")),
        }
    }
}

/// What was seen of a machine's disk.
#[derive(Debug, Default)]
struct Seen {
    last: Option<(u64, SystemTime)>,
    changes: u64,
}

impl Seen {
    /// A number of bytes that grows while the disk changes.
    fn written(&mut self, folder: &Path) -> Result<u64> {
        let changed = disks::files_in(folder, "vdi")?
            .iter()
            .filter_map(|file| std::fs::metadata(file).ok()?.modified().ok())
            .max();
        let size = disks::size(folder);
        let now = changed.map(|changed| (size, changed));
        if now != self.last {
            self.last = now;
            self.changes += 1;
        }
        Ok(size + self.changes)
    }
}
