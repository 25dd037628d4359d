//! What the stages that work in a booted guest share: start it from its disk, log in, run scripts, power it off.

use std::io::Read;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use fs_err as fs;

use super::{Host, Work, lost_timer, standstill, warm};
use crate::cancel::Cancel;
use crate::event::{Event, Stage, Stream};
use crate::fault::{Cause, Fault};
use crate::machine::driver::Home;
use crate::machine::{self, Boot, Durability, Forward, Machine, OwnFault, PortTaken, StaleMemory, State, Stopped};
use crate::moments;
use crate::ssh::{Exec, Session, Target};
use crate::wait::Wait;

/// How long, on a real machine, a script of ours may run: downloads of a few hundred MB on a slow line.
const SCRIPT: u64 = 1800;

/// How a machine came to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// It ran already.
    Before,
    /// It booted.
    Booted,
    /// It went on from a kept memory.
    FromMemory,
}

/// Boots the disk of `work`, or goes on from the memory beside it, gives `job` a session, and powers the guest off, or
/// keeps its memory where the work wants that.
///
/// When `job` fails the screen is kept in the work folder; the machine ends, unless `keep` says of the error that the
/// user should find it running.
///
/// # Errors
/// When the guest does not come up, or the job's own.
pub fn with_guest<T>(
    host: &Host,
    work: &Work,
    stage: Stage,
    forwards: &[Forward],
    target: &Target,
    keep: fn(&anyhow::Error) -> bool,
    job: impl FnOnce(&mut Session) -> Result<T>,
) -> Result<T> {
    let mut boot = Boot {
        name: work.name.clone(),
        disk: work.disk.clone(),
        cdrom: None,
        kernel: None,
        forwards: Some(forwards.to_vec()),
        credentials: Vec::new(),
        oem_strings: work.oem_strings.clone(),
        durability: Durability::Scratch,
        memory: work.from.clone(),
        run_dir: work.dir.clone(),
    };
    let mut machine = host.machine(&Home::of_stage(&work.dir));
    let log_in = |machine: &mut dyn Machine, boot: &Boot| log_in(host, machine, boot, target);
    let came_up = come_up(host, stage, machine.as_mut(), &mut boot, log_in);
    let result = came_up.and_then(|(went_on, mut session)| {
        if went_on {
            moments::renew(host, &mut session)?;
        }
        let value = job(&mut session)?;
        Ok((
            value,
            warm::hibernate(host, work, stage, machine.as_mut(), &mut session)?,
        ))
    });
    match result {
        Err(error) if keep(&error) => {
            machine.release()?;
            Err(error)
        }
        result => {
            let (value, has_ended) = on_failure_show(result, machine.as_mut(), work)?;
            if !has_ended {
                host.events.step(stage, "powering off");
                power_off(machine.as_mut(), host.patience(machine::POWER_OFF), &host.cancel)?;
            }
            Ok(value)
        }
    }
}

/// Starts a machine: from the memory of `boot` if there is one and it fits, else its guest boots. Gives whether it went on
/// from the memory.
///
/// # Errors
/// When it does not come up.
pub fn begin(host: &Host, stage: Stage, machine: &mut dyn Machine, boot: &mut Boot) -> Result<bool> {
    if boot.memory.is_some() {
        host.events.step(stage, "going on from the kept memory");
        let Err(error) = machine.start(boot) else {
            return Ok(true);
        };
        let why = error.downcast::<StaleMemory>()?;
        host.events
            .warn(format!("the kept memory cannot be used ({why}): the machine boots"));
        boot.memory = None;
    }
    host.events.step(stage, "booting");
    machine.start(boot).map(|()| false)
}

/// The same, until `log_in` has a session. A guest that hangs for want of a timer, or whose QEMU has ended itself, boots
/// once more. Gives whether it went on from the memory, and the session.
///
/// # Errors
/// When it does not come up.
pub fn come_up<T>(
    host: &Host,
    stage: Stage,
    machine: &mut dyn Machine,
    boot: &mut Boot,
    mut log_in: impl FnMut(&mut dyn Machine, &Boot) -> Result<T>,
) -> Result<(bool, T)> {
    let began = begin(host, stage, machine, boot);
    match began.and_then(|went_on| Ok((went_on, log_in(machine, boot)?))) {
        Err(error) if lost_timer::is_cause(&error) || error.is::<OwnFault>() => {
            host.events.warn(format!("{error}: it boots once more"));
            machine.kill()?;
            boot.memory = None;
            // The disk is no longer what a kept memory needs: whoever would try that with another port must not.
            begin(host, stage, machine, boot).map_err(final_error)?;
            Ok((false, log_in(machine, boot)?))
        }
        came_up => came_up,
    }
}

/// The same error, of which its reader knows nothing but what it says.
fn final_error(error: anyhow::Error) -> anyhow::Error {
    match Fault::of(&error) {
        Some(fault) if error.is::<PortTaken>() => fault.clone().into(),
        _ => error,
    }
}

/// Powers the guest off, for a disk that becomes a checkpoint.
///
/// # Errors
/// Also when the power had to be cut: such a disk may lack what the stage wrote last.
fn power_off(machine: &mut dyn Machine, limit: Duration, cancel: &Cancel) -> Result<()> {
    match machine::shut_down(machine, limit, cancel)? {
        Stopped::ByGuest => Ok(()),
        Stopped::PowerCut => {
            bail!(
            Fault::new(
                Cause::Guest,
                format!(
                    "the guest did not power off within {}: its disk is not kept",
                    humantime::format_duration(limit)
                )
            )
            .hint("the console in the failure's folder tells which service does not stop; the same command tries again")
        )
        }
    }
}

/// A guest that says something all the time may boot over and over, or have no SSH: it is given up after so many times what one may
/// stand still.
const PATIENCE: u32 = 10;

/// Waits until the guest of a running machine answers on SSH.
///
/// # Errors
/// When the machine dies, the guest stands still, or it shows another host key.
pub fn log_in(host: &Host, machine: &mut dyn Machine, boot: &Boot, target: &Target) -> Result<Session> {
    let console = boot.console();
    let wait = Wait::new("the guest to answer on SSH", host.stall_timeout())
        .cancel(&host.cancel)
        .progress(|| fs::metadata(&console).map_or(0, |data| data.len()));
    let mut watcher = machine.watcher();
    let (begun, most) = (Instant::now(), host.stall_timeout() * PATIENCE);
    let session = Session::wait_for(target, wait, || match machine.state()? {
        State::Running if begun.elapsed() >= most => bail!(Fault::new(
            Cause::Timeout,
            format!(
                "the guest prints, but does not answer on SSH within {}",
                humantime::format_duration(most)
            )
        )),
        State::Running => {
            lost_timer::look(&standstill::end_of(&console))?;
            machine::still_writes(&mut watcher)
        }
        State::Off => bail!(Fault::new(Cause::Guest, "the guest powered off while booting")),
    });
    let session = session.map_err(|error| {
        // For the failure's folder; the error at hand matters more.
        let _ = machine.screenshot(&boot.run_dir.join("screen.png"));
        standstill::quoted(error, "the guest", &console)
    })?;
    Ok(session.watched_by(machine.watcher()))
}

/// Keeps the screen of a failed job's machine in the work folder and ends the machine.
pub fn on_failure_show<T>(result: Result<T>, machine: &mut dyn Machine, work: &Work) -> Result<T> {
    result.inspect_err(|_| {
        // The error at hand matters more than one of these.
        let _ = machine.screenshot(&work.dir.join("screen.png"));
        let _ = machine.kill();
    })
}

/// A script of ours in the guest.
pub struct Script<'a> {
    /// Its name, for messages.
    pub name: &'a str,
    /// Its text.
    pub text: &'a str,
    /// Its arguments; never a secret.
    pub args: &'a [String],
    /// Its standard input, for secrets.
    pub input: &'a [u8],
}

/// Copies a script into the guest and runs it as root, its output told as events and kept in the work folder.
///
/// # Errors
/// A [`Cause::Guest`] fault with the end of its output when it exits with another code than 0.
pub fn run_script(host: &Host, work: &Work, stage: Stage, session: &mut Session, script: &Script<'_>) -> Result<()> {
    // /run is a file system in memory: nothing of ours is left on the disk.
    let path = format!("/run/provision-{}", script.name);
    copy(host, session, &path, script.text.as_bytes())
        .with_context(|| format!("copying {} into the guest", script.name))?;
    let args = shlex::try_join(script.args.iter().map(String::as_str))
        .with_context(|| format!("quoting the arguments of {}", script.name))?;
    let mut log = Log::new(host, work, stage)?;
    let mut input = script.input;
    let status = session.exec(
        &Exec::new(format!("sh {path} {args}"))
            .limit(host.patience(SCRIPT))
            .cancel(&host.cancel),
        Some(&mut input as &mut dyn Read),
        &mut |stream, line| log.line(stream, line),
    )?;
    if status == 0 {
        return Ok(());
    }
    Err(Fault::new(
        Cause::Guest,
        format!(
            "{} failed in the guest with exit code {status}:\n{}",
            script.name,
            log.tail()
        ),
    )
    .into())
}

/// Writes a file in the guest that only its user may read.
///
/// # Errors
/// When it cannot be written.
pub fn copy(host: &Host, session: &mut Session, path: &str, content: &[u8]) -> Result<()> {
    let mut content = content;
    let job = Exec::new(format!("umask 077 && cat > {path}"))
        .limit(host.patience(60))
        .cancel(&host.cancel);
    match session.exec(&job, Some(&mut content as &mut dyn Read), &mut |_, _| ())? {
        0 => Ok(()),
        status => bail!("cat ended with exit code {status}"),
    }
}

/// What a command in the guest prints: told as events, kept in a file, its end at hand for an error.
pub struct Log<'a> {
    host: &'a Host,
    stage: Stage,
    file: std::fs::File,
    tail: std::collections::VecDeque<String>,
}

impl<'a> Log<'a> {
    const TAIL: usize = 25;

    /// A log in the work folder's `output.log`.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub fn new(host: &'a Host, work: &Work, stage: Stage) -> Result<Self> {
        let file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(work.dir.join("output.log"))
            .context("writing output.log")?;
        Ok(Self {
            host,
            stage,
            file,
            tail: std::collections::VecDeque::with_capacity(Self::TAIL),
        })
    }

    /// Takes one line.
    pub fn line(&mut self, stream: Stream, line: &str) {
        use std::io::Write as _;
        // A full disk shows elsewhere; the output is still told.
        let _ = writeln!(self.file, "{line}");
        if self.tail.len() == Self::TAIL {
            self.tail.pop_front();
        }
        self.tail.push_back(line.to_owned());
        self.host.events.emit(Event::Output {
            stage: self.stage,
            stream,
            line: line.to_owned(),
        });
    }

    /// The last lines.
    pub fn tail(&self) -> String {
        self.tail.iter().map(String::as_str).collect::<Vec<_>>().join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::qemu::testing::{DEAF, Guest};

    #[test]
    fn a_port_that_is_taken_after_the_guest_has_run_is_final() {
        let taken = anyhow::Error::new(PortTaken).context(Fault::new(Cause::Busy, "8443").hint("again"));
        assert!(taken.is::<PortTaken>());
        let error = final_error(taken);
        assert!(!error.is::<PortTaken>());
        assert_eq!(Fault::of(&error).unwrap().cause, Cause::Busy);
    }

    #[test]
    fn a_disk_whose_power_was_cut_is_an_error() {
        let mut guest = Guest::start(DEAF);
        let limit = Duration::from_millis(500);
        let error = guest.reaped_meanwhile(|mut machine| power_off(&mut machine, limit, &Cancel::default()));
        let error = error.unwrap_err();
        let fault = Fault::of(&error).unwrap();
        assert_eq!(fault.cause, Cause::Guest);
        assert!(fault.hint.is_some());
    }
}
