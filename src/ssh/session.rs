//! A session with the guest.

use std::fmt;
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::connect::{Attempt, ConnectError};
use super::knocking::Knocking;
use super::{Exec, Target};
use crate::cancel::Cancel;
use crate::event::Stream;
use crate::fault::{Cause, Fault};
use crate::machine::Watcher;
use crate::wait::Wait;

/// How long a look at a connection attempt may take before other things are looked at.
const SLICE: Duration = Duration::from_millis(200);

/// How often the machine is looked at while a command runs.
const LOOK: Duration = Duration::from_secs(1);

/// How long after a broken connection its machine may be seen to end.
const AFTERMATH: Duration = Duration::from_secs(2);

/// What a short command may answer, in bytes: the guest decides how much it says.
const ANSWER: usize = 64 << 20;

/// A user's session with the guest. One command runs at a time.
pub struct Session {
    pub(super) ssh: ssh2::Session,
    pub(super) socket: Arc<TcpStream>,
    /// Set when a call was left half-way, after which libssh2 can only be closed.
    pub(super) broken: bool,
    /// A look at the guest's machine, and when it was taken.
    watcher: Option<(Watcher, Instant)>,
    user: String,
    port: u16,
}

impl Session {
    pub(super) fn new(ssh: ssh2::Session, socket: Arc<TcpStream>, target: &Target) -> Self {
        Self {
            ssh,
            socket,
            broken: false,
            watcher: None,
            user: target.user.clone(),
            port: target.port,
        }
    }

    /// The same session, whose commands end with the error of `watcher` once it finds that the guest cannot go on.
    #[must_use]
    pub fn watched_by(mut self, watcher: Watcher) -> Self {
        self.watcher = Some((watcher, Instant::now()));
        self
    }

    /// Takes a look at the machine, now and then.
    pub(super) fn look(&mut self) -> Result<()> {
        match &mut self.watcher {
            Some((watcher, last)) if last.elapsed() >= LOOK => {
                *last = Instant::now();
                watcher()
            }
            _ => Ok(()),
        }
    }

    /// Why the connection broke, if the machine tells within a moment: its connections may be gone before it is.
    pub(super) fn explain(&mut self, error: anyhow::Error) -> anyhow::Error {
        let Some((watcher, _)) = &mut self.watcher else {
            return error;
        };
        let told = Wait::new("what became of the machine", AFTERMATH).until(|| Ok(watcher().err()));
        told.unwrap_or(error)
    }

    /// Logs in to a guest that runs, within `limit`.
    ///
    /// # Errors
    /// The [`Fault`] of a [`ConnectError`], or an interruption.
    pub fn connect(target: &Target, limit: Duration, cancel: &Cancel) -> Result<Self> {
        let fault = |error: ConnectError| error.fault();
        let mut attempt = Attempt::begin(target, limit).map_err(fault)?;
        loop {
            cancel.check()?;
            if let Some(session) = attempt.advance(SLICE).map_err(fault)? {
                return Ok(session);
            }
        }
    }

    /// Logs in, with a typed error.
    ///
    /// # Errors
    /// Why the user could not be logged in.
    #[cfg(test)]
    pub fn try_connect(target: &Target, limit: Duration) -> Result<Self, ConnectError> {
        let mut attempt = Attempt::begin(target, limit)?;
        loop {
            if let Some(session) = attempt.advance(limit)? {
                return Ok(session);
            }
        }
    }

    /// Logs in to a guest that boots: tries until it answers, for as long as `wait` allows and `alive` finds the
    /// machine running.
    ///
    /// # Errors
    /// The errors of `wait` and `alive`; another host key at once; a refused user after a while.
    pub fn wait_for(target: &Target, wait: Wait<'_>, mut alive: impl FnMut() -> Result<()>) -> Result<Self> {
        let mut knocking = Knocking::new(target);
        let waited = wait.until(|| {
            alive()?;
            knocking.knock().map_err(|error| error.fault().into())
        });
        waited.map_err(|error| match (Fault::of(&error), knocking.last) {
            (Some(fault), Some(last)) if fault.cause == Cause::Timeout => {
                let message = format!("{}; at last, {last}", fault.message);
                let (cause, hint) = (fault.cause, fault.hint.clone());
                Fault { cause, message, hint }.into()
            }
            _ => error,
        })
    }

    /// The standard output of a short command, which gets no input and may take `limit`.
    ///
    /// # Errors
    /// When it ends with another exit code than 0 (with its standard error), takes too long, or says more than any does.
    pub fn read(&mut self, job: &Exec<'_>) -> Result<String> {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let mut left = ANSWER;
        let status = self.exec_bytes(job, None, &mut |stream, bytes| {
            left = left.checked_sub(bytes.len()).with_context(|| {
                Fault::new(
                    Cause::Guest,
                    format!("{job} in the guest said more than {ANSWER} bytes"),
                )
            })?;
            match stream {
                Stream::Stdout => stdout.extend_from_slice(bytes),
                Stream::Stderr => stderr.extend_from_slice(bytes),
            }
            Ok(())
        })?;
        if status != 0 {
            let stderr = String::from_utf8_lossy(&stderr);
            bail!(Fault::new(
                Cause::Guest,
                format!("{job} failed in the guest with exit code {status}: {}", stderr.trim())
            ));
        }
        Ok(String::from_utf8_lossy(&stdout).into_owned())
    }

    /// Ends the connection without a word: for a session that was left half-way, and for a guest that is gone.
    pub(super) fn abandon(&mut self) {
        self.broken = true;
        // It may have been closed by the other side already.
        let _ = self.socket.shutdown(Shutdown::Both);
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Session({}@127.0.0.1:{})", self.user, self.port)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if !self.broken {
            // A farewell; the server closes a lost connection too.
            let _ = self.ssh.disconnect(None, "done", None);
        }
    }
}
