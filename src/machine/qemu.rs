//! The QEMU driver.

pub mod arguments;
pub mod choose;
pub mod convert;
mod disks;
pub mod driver;
pub mod examine;
mod graph;
pub mod image;
mod memory;
mod migration;
mod moments;
mod probe;
mod qmp;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod touched;
mod vet;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use fs_err as fs;

use self::arguments::Size;
use self::memory::{Hardware, Kept};
use crate::cancel::Cancel;
use crate::fault::{Cause, Fault};
use crate::machine::accelerator::Accelerator;
use crate::machine::{Activity, Boot, Durability, Machine, OwnFault, PortTaken, StaleMemory, State, Watcher};
use crate::process::guardian::{self, Guarded, LOG_FILE, PID_FILE};
use crate::process::{self, CommandLine, table};
use crate::wait::Wait;

/// How long QEMU may take to open its control socket; it opens it before the guest starts.
const START_LIMIT: Duration = Duration::from_secs(30);

/// How long QEMU may take to end after it was told to; a disk's cache may have to be written.
const END_LIMIT: Duration = Duration::from_secs(60);

/// A machine under QEMU.
#[derive(Debug)]
pub struct Qemu {
    program: PathBuf,
    accelerator: Accelerator,
    size: Size,
    run_dir: PathBuf,
    cancel: Cancel,
    /// `None` for a machine that another `provision` started.
    guarded: Option<Guarded>,
    durability: Durability,
}

impl Qemu {
    /// A machine whose socket, PID and logs are, or will be, in `run_dir`.
    pub fn new(program: &Path, accelerator: Accelerator, size: Size, run_dir: &Path, cancel: &Cancel) -> Self {
        Self {
            program: program.to_owned(),
            accelerator,
            size,
            run_dir: run_dir.to_owned(),
            cancel: cancel.clone(),
            guarded: None,
            durability: Durability::Scratch,
        }
    }

    fn died(guarded: &Guarded) -> anyhow::Error {
        let output = guarded.output();
        let said = if output.is_empty() { "it said nothing" } else { &output };
        // QEMU's words in net/slirp.c.
        if said.contains("Could not set up host forwarding rule") {
            let fault = Fault::new(Cause::Busy, format!("QEMU could not have its ports: {said}"));
            return anyhow::Error::new(PortTaken).context(fault.hint("the same command chooses others"));
        }
        let fault = Fault::new(Cause::Machine, format!("QEMU ended with an error: {said}"));
        because_of(said, fault.hint("`provision doctor` checks QEMU and its accelerator"))
    }

    /// Starts QEMU; its guest runs unless it waits for a memory.
    fn launch(&mut self, boot: &Boot, hardware: &Hardware) -> Result<()> {
        let line = CommandLine::new(&self.program, arguments::arguments(boot, self.accelerator, self.size));
        // A socket of an earlier run would answer nobody, but it would be there.
        let _ = fs::remove_file(self.run_dir.join(arguments::QMP_SOCKET));
        fs::write(self.run_dir.join("command"), line.to_string())?;
        hardware.note(&self.run_dir)?;
        let _ = fs::remove_file(self.run_dir.join("screen.png"));
        self.durability = boot.durability;
        let mut guarded = Guarded::start(&line, &self.run_dir)?;
        Wait::new("QEMU to start", START_LIMIT).cancel(&self.cancel).until(|| {
            if guarded.ended()?.is_some() {
                return Err(Self::died(&guarded));
            }
            Ok(qmp::answers(&self.run_dir).then_some(()))
        })?;
        self.guarded = Some(guarded);
        Ok(())
    }

    /// Starts QEMU with the memory in `folder` and lets its guest go on.
    fn go_on_from(&mut self, folder: &Path, boot: &Boot, hardware: &Hardware) -> Result<()> {
        let kept = Kept::find(folder, hardware)?;
        self.launch(boot, hardware)?;
        let run_dir = self.run_dir.clone();
        let loaded = kept.load(&run_dir, || match self.state()? {
            State::Running => Ok(()),
            State::Off => bail!("QEMU has ended"),
        });
        let Err(error) = loaded else {
            return qmp::go_on(&run_dir);
        };
        // Its guest has not run, so there is nothing to be closed with care.
        if let Some(mut guarded) = self.guarded.take() {
            guarded.end()?;
        }
        Err(match error.downcast::<StaleMemory>() {
            Ok(stale) => stale.into(),
            Err(error) => StaleMemory(format!("QEMU does not take it: {error:#}")).into(),
        })
    }

    /// Ends the user's machine so that nothing is lost that the guest has written: QEMU closes the disk itself. One
    /// that does not is killed when its guard is dropped.
    fn quit(&mut self) {
        let Some(guarded) = &mut self.guarded else { return };
        if qmp::quit(&self.run_dir).is_ok() {
            let _ = Wait::new("QEMU to end", END_LIMIT).until(|| Ok(guarded.ended()?.map(drop)));
        }
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        let owned = self.guarded.as_ref().is_some_and(|guarded| !guarded.is_released());
        if owned && self.durability == Durability::Kept {
            self.quit();
        }
    }
}

/// An error once the guest of the machine in `run_dir` cannot go on, whoever started it.
///
/// # Errors
/// A [`Cause::Machine`] fault with QEMU's last words when it has ended; a [`Cause::Space`] fault when it has paused the
/// guest because the host's disk is full.
pub fn look(run_dir: &Path) -> Result<()> {
    if !qmp::answers(run_dir) {
        return Err(ended(run_dir));
    }
    // A QEMU that is too busy to answer is one that runs.
    if !qmp::is_full(run_dir).unwrap_or(false) {
        return Ok(());
    }
    Err(Fault::new(
        Cause::Space,
        format!(
            "no space is left for the machine's disk in {}: QEMU has paused the guest",
            run_dir.display()
        ),
    )
    .hint("free some space (`provision cache prune` removes old checkpoints), then run the same command again; `provision start` lets a machine of yours go on")
    .into())
}

/// Lets the guest of the machine in `run_dir` go on if it was paused because the host's disk was full, or by somebody
/// who was killed while its memory was being kept.
///
/// # Errors
/// When QEMU does not answer.
pub fn resume(run_dir: &Path) -> Result<()> {
    let is_left = migration::is_left(run_dir);
    if is_left {
        migration::settle(run_dir)?;
    }
    if is_left || qmp::is_full(run_dir).unwrap_or(false) {
        qmp::go_on(run_dir)?;
    }
    Ok(())
}

fn ended(run_dir: &Path) -> anyhow::Error {
    let log = fs::read(run_dir.join(LOG_FILE)).unwrap_or_default();
    let log = String::from_utf8_lossy(&log);
    let said = match log.trim() {
        "" => "QEMU said nothing: the guest powered off, or QEMU was killed",
        said => said,
    };
    let fault = Fault::new(Cause::Machine, format!("the machine has ended: {said}"));
    because_of(said, fault.hint("`provision logs` shows the guest's console"))
}

/// `fault`, with [`OwnFault`] as its cause where an assertion was the last that QEMU `said`.
fn because_of(said: &str, fault: Fault) -> anyhow::Error {
    // How glibc's assert(3) and GLib's `g_assert` begin.
    let is_own = [": Assertion `", "ERROR:../"].iter().any(|mark| said.contains(mark));
    if is_own {
        anyhow::Error::new(OwnFault).context(fault)
    } else {
        fault.into()
    }
}

/// Ends what runs in `run_dir`, if anything does, whoever started it.
///
/// # Errors
/// When it cannot be ended.
pub fn end_leftover(run_dir: &Path) -> Result<()> {
    let file = run_dir.join(PID_FILE);
    let written = guardian::written_pid(run_dir);
    let running = || written.filter(|&pid| table::runs_in(pid, run_dir));
    // A hung QEMU does not take the order; one that does closes its disk after its socket.
    if qmp::answers(run_dir) && qmp::quit(run_dir).is_ok() {
        let gone = || !qmp::answers(run_dir) && running().is_none();
        let _ = Wait::new("QEMU to end", END_LIMIT).until(|| Ok(gone().then_some(())));
    }
    if let Some(pid) = running() {
        process::kill(pid)?;
        Wait::new(format!("process {pid} to end"), END_LIMIT).until(|| Ok(running().is_none().then_some(())))?;
    }
    // Its guardian removes the file too, unless it was killed.
    match fs::remove_file(&file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).context("removing the PID of an ended machine")
        }
        _ => Ok(()),
    }
}

/// Whether the machine of `run_dir` runs, whoever started it.
pub fn runs(run_dir: &Path) -> bool {
    qmp::answers(run_dir)
}

/// Writes the screen of the machine in `run_dir` as a PNG, whoever started it.
///
/// # Errors
/// When it does not run or has no screen.
pub fn screenshot(run_dir: &Path, file: &Path) -> Result<()> {
    qmp::screenshot(run_dir, file)
}

impl Machine for Qemu {
    fn start(&mut self, boot: &Boot) -> Result<()> {
        let hardware = Hardware::new(boot, self.accelerator, self.size);
        match &boot.memory {
            None => self.launch(boot, &hardware),
            Some(folder) => self.go_on_from(folder, boot, &hardware),
        }
    }

    fn hibernate(&mut self, folder: &Path) -> Result<()> {
        qmp::pause(&self.run_dir)?;
        let kept = memory::write(&self.run_dir, folder).and_then(|written| written.seal(folder));
        if kept.is_err() {
            // The error at hand matters more.
            let _ = qmp::go_on(&self.run_dir);
            return kept;
        }
        // Nothing is lost by its end: whoever hands over a disk's memory has closed the disk.
        self.quit();
        self.kill()
    }

    fn touched(&self) -> Option<u64> {
        let pid = guardian::written_pid(&self.run_dir)?;
        touched::of_guest(&table::mappings(pid)?, self.size.memory_mib * 1024 * 1024)
    }

    fn state(&mut self) -> Result<State> {
        let Some(guarded) = &mut self.guarded else {
            let runs = qmp::answers(&self.run_dir);
            return Ok(if runs { State::Running } else { State::Off });
        };
        match guarded.ended()? {
            None => Ok(State::Running),
            Some(status) if status.success() => Ok(State::Off),
            Some(_) => Err(Self::died(guarded)),
        }
    }

    fn watcher(&self) -> Watcher {
        let run_dir = self.run_dir.clone();
        Box::new(move || look(&run_dir))
    }

    fn activity(&mut self) -> Result<Activity> {
        qmp::activity(&self.run_dir)
    }

    fn press_power(&mut self) -> Result<()> {
        qmp::power_down(&self.run_dir)
    }

    fn kill(&mut self) -> Result<()> {
        if self.durability == Durability::Kept {
            self.quit();
        }
        if let Some(mut guarded) = self.guarded.take() {
            return guarded.end();
        }
        end_leftover(&self.run_dir)
    }

    fn screenshot(&mut self, file: &Path) -> Result<()> {
        qmp::screenshot(&self.run_dir, file)
    }

    fn release(&mut self) -> Result<()> {
        match &mut self.guarded {
            Some(guarded) => guarded.release(),
            None if qmp::answers(&self.run_dir) => Ok(()),
            None => bail!(Fault::new(Cause::Machine, "the machine does not run")),
        }
    }
}
