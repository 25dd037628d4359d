//! Calls of `VBoxManage`: where it is, which version, with a limit on each call.

use std::borrow::Cow;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::hints;
use crate::cancel::Cancel;
use crate::fault::{Cause, Fault};
use crate::process::guardian::{Ending, Guarded, LOG_FILE};
use crate::process::{self, CommandLine};
use crate::wait::{self, Wait};

/// Most calls take a tenth of a second, or some seconds while `VirtualBox`'s service starts; now and then one that reads
/// stalls for ten.
const LIMIT: Duration = Duration::from_secs(60);

/// Some GiB on a slow disk.
const SLOW_LIMIT: Duration = Duration::from_secs(1800);

/// How long a copy may take for a tenth of the disk, which is what is told of its progress: some GiB on a slow disk.
const COPY_STALLED: Duration = Duration::from_secs(900);

/// How often something is begun: the service ends five seconds after its last client, whoever comes then; and on a busy
/// host it takes some until it lets go of what a call has held that ended.
const BEGIN: u32 = 6;

/// How long that takes at first.
const BEGIN_AGAIN: Duration = Duration::from_millis(250);

/// Where macOS has it.
const MACOS: &str = "/Applications/VirtualBox.app/Contents/MacOS/VBoxManage";

/// The first two numbers of `VirtualBox`'s version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    major: u32,
    minor: u32,
}

impl Version {
    /// The oldest that serves; the tests run 7.2. A newer one than this program knows is taken for the newest it knows.
    pub const LEAST: Self = Self::new(6, 1);

    /// A version.
    pub const fn new(major: u32, minor: u32) -> Self {
        Self { major, minor }
    }

    /// Reads what `VBoxManage --version` prints: `7.2.22_Debianr175245`, `6.1.50r161033`. Distributions' wrappers print
    /// warnings before it.
    pub fn parse(printed: &str) -> Option<Self> {
        printed.lines().rev().find_map(|line| {
            let mut numbers = line.trim().split('.');
            let major = numbers.next()?.parse().ok()?;
            let minor = numbers.next()?.parse().ok()?;
            numbers.next().map(|_| Self { major, minor })
        })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// `VirtualBox` on this host.
#[derive(Debug, Clone)]
pub struct VBoxManage {
    program: PathBuf,
    headless: PathBuf,
    /// `NAME=VALUE`.
    environment: Vec<OsString>,
    version: Version,
    limit: Duration,
    cancel: Cancel,
}

impl VBoxManage {
    /// The one on `PATH`, or where macOS has it.
    ///
    /// # Errors
    /// A [`Cause::HostMissing`] fault when it is not there, not whole or too old.
    pub fn find(cancel: &Cancel) -> Result<Self> {
        let program = program().context(
            Fault::new(
                Cause::HostMissing,
                "VBoxManage is not on PATH: VirtualBox is not installed",
            )
            .hint("install VirtualBox 7 from https://www.virtualbox.org/wiki/Downloads, or use `--machine qemu`"),
        )?;
        Self::at(&program, Vec::new(), cancel)
    }

    /// Whether it is on this host.
    pub fn is_installed() -> bool {
        program().is_some()
    }

    /// Whether it could run a machine here as far as that can be seen without asking it: on Linux its kernel driver must be
    /// loaded.
    pub fn may_run_machines() -> bool {
        !cfg!(target_os = "linux") || Path::new("/dev/vboxdrv").exists()
    }

    /// The one at `program`, called with `environment` (`NAME=VALUE`) besides this program's own.
    ///
    /// # Errors
    /// See [`VBoxManage::find`].
    pub fn at(program: &Path, mut environment: Vec<OsString>, cancel: &Cancel) -> Result<Self> {
        // Messages are told apart by their English text.
        environment.push("LC_ALL=C".into());
        let mut found = Self {
            program: program.to_owned(),
            headless: headless(program)?,
            environment,
            version: Version::LEAST,
            limit: LIMIT,
            cancel: cancel.clone(),
        };
        let printed = found.ask(vec!["--version".into()])?;
        found.version = Version::parse(&printed)
            .with_context(|| format!("reading the version of {}: {:?}", program.display(), printed.trim()))?;
        if found.version < Version::LEAST {
            bail!(
                Fault::new(
                    Cause::HostMissing,
                    format!(
                        "VirtualBox {} is too old: {} is the least",
                        found.version,
                        Version::LEAST
                    )
                )
                .hint("install VirtualBox 7 from https://www.virtualbox.org/wiki/Downloads, or use `--machine qemu`")
            );
        }
        Ok(found)
    }

    /// Its version.
    pub const fn version(&self) -> Version {
        self.version
    }

    /// The same for what must be done also after the user asked to stop.
    #[must_use]
    pub fn unstoppable(&self) -> Self {
        Self {
            cancel: Cancel::default(),
            ..self.clone()
        }
    }

    /// The same for what the user may stop.
    #[must_use]
    pub fn stopped_by(&self, cancel: &Cancel) -> Self {
        Self {
            cancel: cancel.clone(),
            ..self.clone()
        }
    }

    /// What stops it.
    pub const fn cancel(&self) -> &Cancel {
        &self.cancel
    }

    /// A call that changes nothing: one that stalls, or comes while the service ends, is made once more.
    ///
    /// # Errors
    /// With `VBoxManage`'s own message and a hint.
    pub fn ask(&self, args: Vec<OsString>) -> Result<String> {
        let line = self.line(&self.program, args);
        let first = self.call(&line, self.limit, &self.cancel);
        match &first {
            Err(error) if passes(error) => self.call(&line, self.limit, &self.cancel),
            _ => first,
        }
    }

    /// A call that changes something: it is not stopped half-way, and not made again.
    ///
    /// # Errors
    /// With `VBoxManage`'s own message and a hint.
    pub fn change(&self, args: Vec<OsString>) -> Result<String> {
        self.cancel.check()?;
        self.call(&self.line(&self.program, args), self.limit, &Cancel::default())
    }

    /// The same for what may write a machine's memory, or all of a disk.
    ///
    /// # Errors
    /// With `VBoxManage`'s own message and a hint.
    pub fn change_slowly(&self, args: Vec<OsString>) -> Result<String> {
        self.cancel.check()?;
        self.call(&self.line(&self.program, args), SLOW_LIMIT, &Cancel::default())
    }

    /// A call by which `VirtualBox`'s service copies a disk. Killed, `VBoxManage` would leave the service copying to the
    /// end; interrupted, it calls the copy off. So it is, when the user asks to stop and when this process goes. Its PID
    /// and words are in `run_dir` meanwhile.
    ///
    /// # Errors
    /// With `VBoxManage`'s own message and a hint, or when the user interrupts.
    pub fn copy(&self, args: Vec<OsString>, run_dir: &Path) -> Result<()> {
        let line = self.line(&self.program, args);
        begin(&self.cancel, || {
            let mut guarded = Guarded::start_with(&line, run_dir, Ending::Interrupt)?;
            let log = run_dir.join(LOG_FILE);
            let status = Wait::new("VirtualBox to copy the disk", COPY_STALLED)
                .cancel(&self.cancel)
                .progress(|| std::fs::metadata(&log).map_or(0, |data| data.len()))
                .until(|| guarded.ended())?;
            if status.success() {
                return Ok(());
            }
            let what = self.what(&line);
            Err(hints::fault(&format!("VBoxManage {what}"), &guarded.output(), hints::secure_boot()).into())
        })
    }

    /// The command line of a machine's own process.
    pub fn headless(&self, args: Vec<OsString>) -> CommandLine {
        self.line(&self.headless, args)
    }

    /// Through env(1), which sets the environment and becomes the program.
    fn line(&self, program: &Path, args: Vec<OsString>) -> CommandLine {
        let mut line = CommandLine::new("env", self.environment.iter().cloned()).arg(program);
        line.args.extend(args);
        line
    }

    /// One call.
    fn call(&self, line: &CommandLine, limit: Duration, cancel: &Cancel) -> Result<String> {
        begin(cancel, || self.attempt(line, limit, cancel))
    }

    fn attempt(&self, line: &CommandLine, limit: Duration, cancel: &Cancel) -> Result<String> {
        let what = self.what(line);
        let finished = process::run_any(line, limit, cancel).map_err(|error| timed_out(error, &what, limit))?;
        let stdout = String::from_utf8_lossy(&finished.stdout).into_owned();
        if finished.status.success() {
            return Ok(stdout);
        }
        let stderr = String::from_utf8_lossy(&finished.stderr);
        let said = if stderr.trim().is_empty() { &stdout } else { &*stderr };
        Err(hints::fault(&format!("VBoxManage {what}"), said, hints::secure_boot()).into())
    }

    /// The name of what is asked, which comes after the environment and the program.
    fn what<'a>(&self, line: &'a CommandLine) -> Cow<'a, str> {
        let what = line.args.get(self.environment.len() + 1);
        what.map(|word| word.to_string_lossy()).unwrap_or_default()
    }

    #[cfg(test)]
    pub(super) fn limited(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }
}

fn program() -> Option<PathBuf> {
    let on_path = ["VBoxManage", "vboxmanage"].into_iter().find_map(process::find);
    on_path.or_else(|| Some(PathBuf::from(MACOS)).filter(|program| program.exists()))
}

/// `VBoxHeadless` lies beside `VBoxManage`.
fn headless(program: &Path) -> Result<PathBuf> {
    let beside = program.with_file_name("VBoxHeadless");
    let found = if beside.exists() {
        Some(beside)
    } else {
        process::find("VBoxHeadless")
    };
    found.with_context(|| {
        Fault::new(
            Cause::HostMissing,
            format!("VBoxHeadless is not beside {}, nor on PATH", program.display()),
        )
        .hint("install VirtualBox as a whole, or use `--machine qemu`")
    })
}

fn timed_out(error: anyhow::Error, what: &str, limit: Duration) -> anyhow::Error {
    if Fault::of(&error).is_none_or(|fault| fault.cause != Cause::Timeout) {
        return error;
    }
    let limit = humantime::format_duration(limit);
    let fault = Fault::new(Cause::Timeout, format!("VBoxManage {what} did not end within {limit}"));
    error
        .context(fault.hint("VirtualBox's service may hang: close its windows, end the process VBoxSVC, and try again"))
}

/// Whether the same question may be answered: it was not, or the service was busy.
fn passes(error: &anyhow::Error) -> bool {
    Fault::of(error)
        .is_some_and(|fault| fault.cause == Cause::Timeout || fault.message.contains("The object is not ready"))
}

/// Begins something again that ended before it did anything: it found the service gone that had been there, or the
/// machine held by the call before, which `VirtualBox` lets go a little after that has ended.
///
/// # Errors
/// The last attempt's, or an interruption.
pub fn begin<T>(cancel: &Cancel, mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
    let marks = [
        "Failed to create the VirtualBox object",
        "being unlocked",
        "being locked or unlocked",
    ];
    let did_not_begin = |error: &anyhow::Error| {
        Fault::of(error).is_some_and(|fault| marks.iter().any(|mark| fault.message.contains(mark)))
    };
    wait::retry(BEGIN, BEGIN_AGAIN, cancel, did_not_begin, |_| attempt())
}

#[cfg(test)]
#[path = "tests/vboxmanage.rs"]
mod tests;
