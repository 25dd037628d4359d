//! Whether the programs that the tool starts are there and new enough.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use serde::Serialize;

use super::version::Version;
use crate::cancel::Cancel;
use crate::fault::Fault;
use crate::process::{self, CommandLine};

/// How long `--version` may take on a loaded host.
const LIMIT: Duration = Duration::from_secs(30);

/// OpenSSH's client.
pub const SSH: &str = "ssh";

/// A program that the host must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Requirement {
    /// Its name on `PATH`.
    pub program: &'static str,
    /// The oldest version that serves, if that matters.
    pub least: Option<Version>,
    /// The flag by which it tells its version.
    pub version: &'static str,
}

/// What the tool needs on the host.
pub const fn requirements() -> [Requirement; 3] {
    [
        Requirement {
            program: "qemu-system-x86_64",
            least: Some(Version::LEAST_QEMU),
            version: "--version",
        },
        Requirement {
            program: "qemu-img",
            least: None,
            version: "--version",
        },
        // For `provision ssh`.
        Requirement {
            program: SSH,
            least: None,
            version: "-V",
        },
    ]
}

/// What was found of a requirement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The program.
    pub program: &'static str,
    /// How it is.
    #[serde(flatten)]
    pub state: State,
}

/// How a required program is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum State {
    /// It serves.
    Present {
        /// Where it is.
        path: PathBuf,
        /// Its version.
        version: Version,
    },
    /// It is not on `PATH`.
    Absent,
    /// It is there but does not serve.
    TooOld {
        /// Where it is.
        path: PathBuf,
        /// Its version.
        version: Version,
    },
    /// It is there and does not say its version.
    Broken {
        /// Where it is.
        path: PathBuf,
        /// What happened instead.
        message: String,
    },
}

/// What helps where a program wants the user's name.
pub const NAMELESS: &str =
    "give this user's number a name: a line in /etc/passwd, in a container by `--user` with a name that the image has";

impl Finding {
    /// Whether it fails since the user's number has no name, as in a container that was started with a number alone.
    pub fn is_for_a_name(&self) -> bool {
        // OpenSSH's words, which are not translated.
        matches!(&self.state, State::Broken { message, .. } if message.contains("No user exists for uid"))
    }

    /// Whether it serves.
    pub const fn is_present(&self) -> bool {
        matches!(self.state, State::Present { .. })
    }

    /// What was found, in words, without the program's name.
    pub fn words(&self) -> String {
        match &self.state {
            State::Present { path, version } => format!("{version} ({})", path.display()),
            State::Absent => "missing".to_owned(),
            State::TooOld { path, version } => {
                let least = Version::LEAST_QEMU;
                format!(
                    "{version} is too old ({}): {least} is needed, as older ones crash their guests",
                    path.display()
                )
            }
            State::Broken { path, message } => format!("does not run ({}): {message}", path.display()),
        }
    }
}

/// Looks at every required program.
///
/// # Errors
/// When the user interrupts.
pub fn findings(cancel: &Cancel) -> Result<Vec<Finding>> {
    let look = |requirement: Requirement| {
        let state =
            process::find(requirement.program).map_or(Ok(State::Absent), |path| examine(path, &requirement, cancel))?;
        let program = requirement.program;
        Ok(Finding { program, state })
    };
    requirements().into_iter().map(look).collect()
}

fn examine(path: PathBuf, requirement: &Requirement, cancel: &Cancel) -> Result<State> {
    Ok(match version(&path, requirement.version, cancel) {
        Ok(version) if requirement.least.is_some_and(|least| version < least) => State::TooOld { path, version },
        Ok(version) => State::Present { path, version },
        Err(error) if Fault::is_stop(&error) => return Err(error),
        Err(error) => {
            let message = format!("{error:#}");
            State::Broken { path, message }
        }
    })
}

fn version(path: &Path, flag: &str, cancel: &Cancel) -> Result<Version> {
    let line = CommandLine::new(path, [flag]);
    let finished = process::run(&line, LIMIT, cancel)?;
    // OpenSSH's goes to standard error.
    let bytes = [finished.stdout, finished.stderr].concat();
    let printed = String::from_utf8_lossy(&bytes);
    Version::parse(&printed).ok_or_else(|| anyhow::anyhow!("it does not say its version: {}", printed.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(script: &str) -> State {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("qemu-system-x86_64");
        process::testing::write_program(&path, &format!("#!/bin/sh\n{script}\n"));
        examine(path, &requirements()[0], &Cancel::default()).unwrap()
    }

    #[test]
    fn this_host_has_what_is_needed() {
        let findings = findings(&Cancel::default()).unwrap();
        assert!(findings.iter().any(|finding| finding.program == SSH));
        assert!(findings.iter().all(Finding::is_present), "{findings:?}");
    }

    #[test]
    fn an_old_qemu_is_told_from_a_good_one() {
        let state = found("echo QEMU emulator version 7.2.0");
        assert!(matches!(state, State::TooOld { version, .. } if version.to_string() == "7.2"));
        let state = found("echo QEMU emulator version 8.2.0");
        assert!(matches!(state, State::Present { .. }));
    }

    #[test]
    fn a_qemu_that_does_not_run_is_quoted() {
        let state = found("echo libfoo.so.1: not found >&2; exit 127");
        assert!(matches!(state, State::Broken { message, .. } if message.contains("libfoo.so.1")));
        let state = found("echo hello");
        assert!(matches!(state, State::Broken { message, .. } if message.contains("hello")));
    }
}
