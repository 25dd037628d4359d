//! The only place that starts a process.

pub mod guardian;
pub mod kill_point;
pub mod table;
#[cfg(test)]
pub(crate) mod testing;

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::cancel::Cancel;
use crate::fault::{Cause, Fault};
use crate::wait::Wait;

/// A program and its arguments: built by pure functions, started here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandLine {
    /// The program's path or its name on `PATH`.
    pub program: PathBuf,
    /// Its arguments without the program's own name.
    pub args: Vec<OsString>,
}

impl CommandLine {
    /// A command line.
    pub fn new<A: Into<OsString>>(program: impl Into<PathBuf>, args: impl IntoIterator<Item = A>) -> Self {
        Self {
            program: program.into(),
            args: args.into_iter().map(Into::into).collect(),
        }
    }

    /// The same with one more argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// The program's last path component, for messages.
    pub fn name(&self) -> String {
        let name = self.program.file_name();
        name.unwrap_or(self.program.as_os_str()).to_string_lossy().into_owned()
    }

    pub(crate) fn command(&self) -> std::process::Command {
        let mut command = std::process::Command::new(&self.program);
        command.args(&self.args);
        command
    }
}

/// The line as one would type it in a shell.
impl fmt::Display for CommandLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quote = |word: &OsStr| {
            let word = word.to_string_lossy();
            shlex::try_quote(&word).map_or_else(|_| format!("{word:?}"), Into::into)
        };
        f.write_str(&quote(self.program.as_os_str()))?;
        for arg in &self.args {
            write!(f, " {}", quote(arg))?;
        }
        Ok(())
    }
}

/// What a finished process left.
#[derive(Debug)]
pub struct Finished {
    /// How it ended.
    pub status: ExitStatus,
    /// All of its standard output.
    pub stdout: Vec<u8>,
    /// All of its standard error.
    pub stderr: Vec<u8>,
}

/// Runs a short-lived helper program to its end and returns what it printed.
///
/// # Errors
/// When it cannot be started (a [`Cause::HostMissing`] fault if it is not there), exits with another code than 0
/// (with its standard error), or takes longer than `limit`; it is killed then and when `cancel` is raised.
pub fn run(line: &CommandLine, limit: Duration, cancel: &Cancel) -> Result<Finished> {
    let finished = run_any(line, limit, cancel)?;
    if !finished.status.success() {
        let stderr = String::from_utf8_lossy(&finished.stderr);
        return Err(Fault::new(
            Cause::Other,
            format!("{} failed ({}): {}", line.name(), finished.status, stderr.trim()),
        )
        .into());
    }
    Ok(finished)
}

/// Like [`run`], but any exit code is the caller's to judge.
///
/// # Errors
/// When it cannot be started or takes longer than `limit`.
pub fn run_any(line: &CommandLine, limit: Duration, cancel: &Cancel) -> Result<Finished> {
    let mut child = line
        .command()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| cannot_start(line, error))?;
    let stdout = drain(child.stdout.take());
    let stderr = drain(child.stderr.take());
    let waited = Wait::new(format!("{} to end", line.name()), limit)
        .cancel(cancel)
        .until(|| Ok(child.try_wait()?));
    if waited.is_err() {
        // It may have ended in between; there is nothing to do about a kill that fails.
        let _ = child.kill();
        let _ = child.wait();
    }
    let status = waited.with_context(|| format!("running {line}"))?;
    if !status.success() {
        // Ctrl-C at a terminal ends the child too: then it is no failure of its own.
        cancel.check()?;
    }
    let collect = |reader: Reader| reader.join().unwrap_or_default();
    Ok(Finished {
        status,
        stdout: collect(stdout),
        stderr: collect(stderr),
    })
}

type Reader = std::thread::JoinHandle<Vec<u8>>;

/// Reads a pipe to its end beside the caller, so that a full pipe cannot stall the process.
fn drain(pipe: Option<impl std::io::Read + Send + 'static>) -> Reader {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            // What was read before an error is still worth showing.
            let _ = pipe.read_to_end(&mut bytes);
        }
        bytes
    })
}

/// Replaces this process by `line` (for `provision ssh`); returns only when that fails.
pub fn replace(line: &CommandLine) -> anyhow::Error {
    use std::os::unix::process::CommandExt as _;
    cannot_start(line, line.command().exec())
}

/// Runs `line` on the user's terminal (for `sudo`, which may ask for a password) and returns how it ended. What it
/// prints goes to standard error: standard output is for results. Standard input that is no terminal is not for it: it may
/// be the script that goes on after this program.
///
/// # Errors
/// When it cannot be started.
pub fn run_on_terminal(line: &CommandLine) -> Result<ExitStatus> {
    let mut command = line.command();
    if !std::io::stdin().is_terminal() {
        command.stdin(Stdio::null());
    }
    command
        .stdout(std::io::stderr())
        .status()
        .map_err(|error| cannot_start(line, error))
}

fn cannot_start(line: &CommandLine, error: std::io::Error) -> anyhow::Error {
    let cause = if error.kind() == std::io::ErrorKind::NotFound {
        Cause::HostMissing
    } else {
        Cause::Other
    };
    let fault = Fault::new(cause, format!("starting {}", line.program.display()))
        .hint("`provision doctor` names what this host lacks");
    anyhow::Error::new(error).context(fault)
}

/// Where `program` is on `PATH`.
pub fn find(program: &str) -> Option<PathBuf> {
    which::which(program).ok()
}

/// Whether the process `pid` runs, and was started as `marker` says: a PID may have been given to another program
/// since it was written down, so the command line must mention `marker` (a path of ours).
pub fn is_ours(pid: u32, marker: &Path) -> bool {
    let Ok(line) = std::fs::read(format!("/proc/{pid}/cmdline")) else {
        return false;
    };
    let marker = marker.as_os_str().as_encoded_bytes();
    !marker.is_empty() && line.windows(marker.len()).any(|part| part == marker)
}

/// Kills the process `pid` at once.
///
/// # Errors
/// When the kernel refuses; a process that has gone already is no error.
pub fn kill(pid: u32) -> Result<()> {
    let Some(id) = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw) else {
        return Ok(());
    };
    match rustix::process::kill_process(id, rustix::process::Signal::KILL) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(error) => Err(error).with_context(|| format!("killing process {pid}")),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpStream};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(20);

    #[test]
    fn nobody_listens_on_a_free_port_while_others_start_programs() {
        let is_taken = |port| TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok();
        let taken =
            testing::while_others_start_programs(|| (0..2000).filter(|_| is_taken(testing::free_port())).count());
        assert_eq!(taken, 0);
    }

    #[test]
    fn output_and_status_are_returned() {
        let line = CommandLine::new("sh", ["-c", "echo out; echo err >&2; exit 3"]);
        let finished = run_any(&line, LIMIT, &Cancel::default()).unwrap();
        assert_eq!(finished.stdout, b"out\n");
        assert_eq!(finished.stderr, b"err\n");
        assert_eq!(finished.status.code(), Some(3));
    }

    #[test]
    fn a_failure_quotes_standard_error() {
        let line = CommandLine::new("sh", ["-c", "echo no such disk >&2; exit 1"]);
        let error = run(&line, LIMIT, &Cancel::default()).unwrap_err();
        assert!(format!("{error:#}").contains("no such disk"), "{error:#}");
    }

    #[test]
    fn a_missing_program_is_the_hosts_fault() {
        let line = CommandLine::new("/nowhere/qemu", ["-version"]);
        let error = run(&line, LIMIT, &Cancel::default()).unwrap_err();
        assert_eq!(Fault::of(&error).unwrap().cause, Cause::HostMissing);
    }

    #[test]
    fn a_process_over_its_limit_is_killed() {
        let line = CommandLine::new("sleep", ["600"]);
        let error = run(&line, Duration::from_millis(100), &Cancel::default()).unwrap_err();
        assert_eq!(Fault::of(&error).unwrap().cause, Cause::Timeout);
    }

    #[test]
    fn a_line_is_shown_as_typed() {
        let line = CommandLine::new("qemu", ["-append", "a b", "-S"]);
        assert_eq!(line.to_string(), "qemu -append 'a b' -S");
    }

    #[test]
    #[ignore = "the other test runs it, in a process with a standard input of its own"]
    fn script() {
        let status = run_on_terminal(&CommandLine::new("cat", [""; 0])).unwrap();
        assert!(status.success());
        assert_eq!(std::io::read_to_string(std::io::stdin()).unwrap(), "the rest");
    }

    /// `bash <<END`: what a package manager does not read is what bash reads next.
    #[test]
    fn a_script_on_standard_input_is_not_for_the_programs_in_it() {
        use std::io::Write as _;
        let mut child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "process::tests::script", "--ignored"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(b"the rest").unwrap();
        assert!(child.wait().unwrap().success());
    }
}
