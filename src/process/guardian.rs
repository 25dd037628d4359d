//! A process that outlives its starter only when told to.
//!
//! A virtual machine in the middle of a stage must go when `provision` goes, however it goes: SIGKILL runs no
//! clean-up. So the machine's program is started by a second `provision` (the guardian) whose standard input is a pipe
//! from the first: the kernel closes the pipe when the first dies, and the guardian kills what it guards. A machine
//! that is to stay is released by one byte through the same pipe. This needs no signal handler, no polling and no
//! unsafe code, and works on every Unix.

use std::ffi::OsString;
use std::io::{Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ExitCode, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use fs_err as fs;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};

use super::CommandLine;
use crate::wait::Wait;

/// The hidden subcommand under which `provision` is a guardian.
pub const SUBCOMMAND: &str = "guard";

/// The byte that releases the guarded process.
const RELEASE: u8 = b'r';

/// The name of the file in the run folder that holds the guarded process's PID.
pub const PID_FILE: &str = "machine.pid";

/// The PID that was written to the run folder, whether or not its process is still there.
pub fn written_pid(run_dir: &Path) -> Option<u32> {
    let text = std::fs::read_to_string(run_dir.join(PID_FILE)).ok()?;
    text.trim().parse().ok()
}

/// The name of the file in the run folder that collects what the guarded process prints.
pub const LOG_FILE: &str = "machine.log";

/// What the process list calls a guardian (at most 15 bytes, see `PR_SET_NAME(2const)`). By the name of the program that it is,
/// `pkill -9 provision` would end starter and guardian at once, and nobody would end the machine.
#[cfg(target_os = "linux")]
const NAME: &std::ffi::CStr = c"qemu-guardian";

/// How long a process that was interrupted may take to put things right.
const INTERRUPT_LIMIT: Duration = Duration::from_secs(30);

/// How an abandoned process is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// At once: nothing of it is wanted any more.
    Kill,
    /// As Ctrl-C does, since it has something going on elsewhere to call off; at once if it takes too long.
    Interrupt,
}

/// The file of the program that runs. Linux has it under this name also when it was replaced since, as by an upgrade
/// (`proc_pid_exe(5)`).
fn this_program() -> Result<PathBuf> {
    if cfg!(target_os = "linux") {
        return Ok("/proc/self/exe".into());
    }
    std::env::current_exe().context("finding this program's own file")
}

/// A guarded process, from its starter's side. Dropping it ends the process unless it was released.
#[derive(Debug)]
pub struct Guarded {
    guardian: Child,
    pipe: Option<ChildStdin>,
    run_dir: PathBuf,
    name: String,
}

impl Guarded {
    /// Starts `line` in the folder `run_dir`, where its PID and output are kept.
    ///
    /// # Errors
    /// When the guardian cannot be started; a program that cannot be started shows in [`Guarded::ended`].
    pub fn start(line: &CommandLine, run_dir: &Path) -> Result<Self> {
        Self::start_with(line, run_dir, Ending::Kill)
    }

    /// The same, with another ending.
    ///
    /// # Errors
    /// See [`Guarded::start`].
    pub fn start_with(line: &CommandLine, run_dir: &Path, ending: Ending) -> Result<Self> {
        let mut args: Vec<OsString> = vec![SUBCOMMAND.into()];
        if ending == Ending::Interrupt {
            args.push("--interrupt".into());
        }
        args.extend([run_dir.into(), "--".into()]);
        args.push(line.program.clone().into());
        args.extend(line.args.iter().cloned());
        let mut guardian = CommandLine::new(this_program()?, args)
            .command()
            .arg0("provision")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("starting the guardian of {}", line.name()))?;
        let pipe = guardian.stdin.take();
        Ok(Self {
            guardian,
            pipe,
            run_dir: run_dir.to_owned(),
            name: line.name(),
        })
    }

    /// How the process ended, if it did.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        let name = &self.name;
        self.guardian
            .try_wait()
            .with_context(|| format!("asking whether {name} still runs"))
    }

    /// What the process printed on its standard output and error.
    pub fn output(&self) -> String {
        let bytes = fs::read(self.run_dir.join(LOG_FILE)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).trim().to_owned()
    }

    /// Whether the process lives on after this program has ended.
    pub fn is_released(&self) -> bool {
        self.pipe.is_none()
    }

    /// Lets the process live on after this program has ended.
    ///
    /// # Errors
    /// When the guardian has gone.
    pub fn release(&mut self) -> Result<()> {
        if let Some(mut pipe) = self.pipe.take() {
            pipe.write_all(&[RELEASE])
                .with_context(|| format!("releasing {}", self.name))?;
        }
        Ok(())
    }

    /// Ends the process at once and waits until it has gone.
    ///
    /// # Errors
    /// When the kernel does not tell of its end.
    pub fn end(&mut self) -> Result<()> {
        drop(self.pipe.take());
        self.guardian
            .wait()
            .with_context(|| format!("waiting for {} to end", self.name))?;
        Ok(())
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        if self.pipe.is_some() {
            // Nobody is left to hear of an error here; the guardian acts on the closed pipe in any case.
            let _ = self.end();
        }
    }
}

/// The guardian itself: runs `program` in `run_dir` until it ends, or until standard input ends without a release.
///
/// # Errors
/// When the program cannot be started; the reason is then in [`LOG_FILE`] too, where its starter looks.
pub fn guard(run_dir: &Path, program: &[OsString], ending: Ending) -> Result<ExitCode> {
    // A session of its own, so that the terminal's Ctrl-C and hang-up reach neither it nor the machine. This fails
    // only for a group leader, which is nobody's child here.
    let _ = rustix::process::setsid();
    #[cfg(target_os = "linux")]
    rustix::thread::set_name(NAME).context("naming the guardian")?;
    let log = fs::File::create(run_dir.join(LOG_FILE))?;
    let child = start(program, run_dir, &log).inspect_err(|error| {
        // The log is the only way to the user.
        let _ = writeln!(&log, "{error:#}");
    })?;
    let pid = Pid::from_child(&child);
    let running = Arc::new(Mutex::new(Some(child)));
    if let Err(error) = watch(run_dir, pid, &running, ending) {
        let _ = writeln!(&log, "{error:#}");
        end(&running);
        return Err(error);
    }
    // Leaves the process unreaped, so that its PID cannot be given to another before the lock is held.
    let _ = rustix::process::waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
    let child = running.lock().unwrap_or_else(PoisonError::into_inner).take();
    let status = child.map(|mut child| child.wait()).transpose()?;
    // The file goes last: while it is there, there may be a process.
    let _ = fs::remove_file(run_dir.join(PID_FILE));
    let code = status.and_then(|status| status.code()).unwrap_or(1);
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)))
}

/// Writes the PID down and begins to listen for the starter's end.
fn watch(run_dir: &Path, pid: Pid, running: &Arc<Mutex<Option<Child>>>, ending: Ending) -> Result<()> {
    fs::write(run_dir.join(PID_FILE), pid.as_raw_nonzero().to_string())?;
    let watched = Arc::clone(running);
    std::thread::Builder::new()
        .spawn(move || end_when_abandoned(&watched, ending))
        .context("starting the guardian's thread")?;
    Ok(())
}

/// Ends the process on an error of the guardian's own: nobody would watch it any more.
fn end(running: &Mutex<Option<Child>>) {
    if let Some(mut child) = running.lock().unwrap_or_else(PoisonError::into_inner).take() {
        // It may have ended by itself.
        let _ = child.kill();
        let _ = child.wait();
    }
}

fn start(program: &[OsString], run_dir: &Path, log: &fs::File) -> Result<Child> {
    let (name, args) = program.split_first().context("no program to guard")?;
    let line = CommandLine::new(name, args);
    let out = log.file().try_clone()?;
    let err = log.file().try_clone()?;
    line.command()
        .current_dir(run_dir)
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(err)
        .spawn()
        .with_context(|| format!("starting {}", line.program.display()))
}

fn end_when_abandoned(child: &Mutex<Option<Child>>, ending: Ending) {
    let mut byte = [0];
    let released = matches!(std::io::stdin().read(&mut byte), Ok(1)) && byte[0] == RELEASE;
    if released {
        return;
    }
    if ending == Ending::Interrupt {
        // One that does not listen yet would just die of it, and what it has begun elsewhere would go on.
        let _ = Wait::new("the process to listen", INTERRUPT_LIMIT).until(|| Ok(hears_interrupt(child).then_some(())));
        if signal(child, Signal::INT) {
            // The process ends, and with it this one, unless it hangs.
            let _ = Wait::new("the process to call off its work", INTERRUPT_LIMIT).until(|| Ok(None::<()>));
        }
    }
    signal(child, Signal::KILL);
}

/// Whether the process catches SIGINT (`SigCgt`, see `proc_pid_status(5)`); `true` where that cannot be seen.
fn hears_interrupt(child: &Mutex<Option<Child>>) -> bool {
    let child = child.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(child) = child.as_ref() else { return true };
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id()));
    status.map_or(true, |status| catches(&status, Signal::INT))
}

/// Whether a process with this status catches `signal`.
fn catches(status: &str, signal: Signal) -> bool {
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    let caught = caught.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    caught.is_none_or(|mask| mask >> (signal.as_raw() - 1) & 1 == 1)
}

/// Whether the process was there to be sent a signal.
fn signal(child: &Mutex<Option<Child>>, signal: Signal) -> bool {
    let child = child.lock().unwrap_or_else(PoisonError::into_inner);
    child
        .as_ref()
        .is_some_and(|child| rustix::process::kill_process(Pid::from_child(child), signal).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_listens_is_seen() {
        // Bit N - 1 stands for signal N.
        let status = |mask: &str| format!("Name:\tsh\nSigIgn:\t0000000000000002\nSigCgt:\t{mask}\n");
        assert!(catches(&status("0000000000000002"), Signal::INT));
        assert!(!catches(&status("0000000000000001"), Signal::INT));
        assert!(catches(&status("0000000000004002"), Signal::TERM));
        assert!(catches("", Signal::INT), "where it is not told");
    }
}
