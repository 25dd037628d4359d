//! Commands in the guest, with both output streams and the input flowing at the same time.
//!
//! libssh2 is used without blocking: it cannot wait for two streams at once. Its contract is that a call which would
//! block is made again with the same arguments, so every buffer stays as it is until its call succeeds.

mod pump;

use std::fmt;
use std::io::Read;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use ssh2::{BlockDirections, Channel};

use self::pump::Pump;
use super::Session;
use super::connect::{ready, would_block};
use super::lines::Lines;
use crate::cancel::Cancel;
use crate::event::Stream;
use crate::fault::{Cause, Fault};

/// How long nothing may happen before limits and the user's wish to stop are looked at.
const TICK: Duration = Duration::from_millis(50);

/// How long it may take to send the guest the end of a command.
const CLOSING: Duration = Duration::from_secs(5);

/// A command for the guest, and when to give it up.
#[derive(Debug, Clone)]
pub struct Exec<'a> {
    command: String,
    limit: Option<Duration>,
    cancel: Option<&'a Cancel>,
}

impl<'a> Exec<'a> {
    /// A command line for the user's shell in the guest. It may show in messages: no secret belongs in it.
    pub fn new(command: impl Into<String>) -> Self {
        Self {
            command: command.into(),
            limit: None,
            cancel: None,
        }
    }

    /// Gives the command up after this time.
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Gives the command up when the user asks to stop.
    #[must_use]
    pub fn cancel(mut self, cancel: &'a Cancel) -> Self {
        self.cancel = Some(cancel);
        self
    }
}

/// The command as a message quotes it: its first line, not too much of it.
impl fmt::Display for Exec<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 80;
        let line = self.command.lines().next().unwrap_or_default();
        let shown: String = line.chars().take(SHOWN).collect();
        let more = if shown.len() < self.command.len() { "…" } else { "" };
        write!(f, "`{shown}{more}`")
    }
}

impl Session {
    /// Runs a command without a terminal and tells each line that it prints. `input` becomes its standard input,
    /// which is at its end at once if there is none; it is read on this thread, so it should not keep one waiting
    /// (one that would block may say so by [`std::io::ErrorKind::WouldBlock`]).
    ///
    /// Gives the exit code; 128 plus the signal's number for a command that a signal ended, as shells do. A command
    /// that is given up loses its standard streams, and thereby ends when it next prints.
    ///
    /// # Errors
    /// A fault of [`Cause::Timeout`] at a limit, [`Cause::Interrupted`] when the user asks to stop, [`Cause::Guest`]
    /// when the connection breaks; those of the machine's watcher; and those of reading `input`.
    pub fn exec(
        &mut self,
        job: &Exec<'_>,
        input: Option<&mut dyn Read>,
        on_line: &mut dyn FnMut(Stream, &str),
    ) -> Result<i32> {
        let mut lines = Lines::default();
        let result = self.exec_bytes(job, input, &mut |stream, bytes| {
            lines.take(stream, bytes, on_line);
            Ok(())
        });
        lines.end(on_line);
        result
    }

    /// Like [`Session::exec`], with the output as it comes. An error of `on_bytes` gives the command up.
    ///
    /// # Errors
    /// Those of [`Session::exec`] and of `on_bytes`.
    pub fn exec_bytes(
        &mut self,
        job: &Exec<'_>,
        input: Option<&mut dyn Read>,
        on_bytes: &mut dyn FnMut(Stream, &[u8]) -> Result<()>,
    ) -> Result<i32> {
        if self.broken {
            bail!(Fault::new(Cause::Guest, "the SSH connection was given up before"));
        }
        let limits = Limits::new(job);
        let mut channel = match self.open(job, &limits) {
            Ok(channel) => channel,
            Err(error) => {
                self.abandon();
                return Err(self.why(error));
            }
        };
        let mut pump = Pump::new(&channel, input, on_bytes);
        let ran = self.run(job, &mut pump, &limits);
        self.close(&mut channel);
        ran.map_err(|error| self.why(error))?;
        exit_code(&channel).with_context(|| format!("asking how {job} ended"))
    }

    /// A connection that broke says less than the machine that it led to.
    fn why(&mut self, error: anyhow::Error) -> anyhow::Error {
        let broke = Fault::of(&error).is_some_and(|fault| fault.cause == Cause::Guest);
        if broke { self.explain(error) } else { error }
    }

    fn open(&mut self, job: &Exec<'_>, limits: &Limits<'_>) -> Result<Channel> {
        let ssh = self.ssh.clone();
        let mut channel = self.drive(job, limits, || ssh.channel_session())?;
        self.drive(job, limits, || channel.exec(&job.command))?;
        Ok(channel)
    }

    /// Makes a call again and again until it no longer would block.
    fn drive<T>(
        &mut self,
        job: &Exec<'_>,
        limits: &Limits<'_>,
        mut call: impl FnMut() -> Result<T, ssh2::Error>,
    ) -> Result<T> {
        loop {
            match call() {
                Ok(value) => return Ok(value),
                Err(error) if would_block(&error) => {
                    limits.check(job)?;
                    self.look()?;
                    ready(&self.ssh, &self.socket, TICK);
                }
                Err(error) => return Err(broke(job, error)),
            }
        }
    }

    /// Moves bytes until the guest closes the channel.
    fn run(&mut self, job: &Exec<'_>, pump: &mut Pump<'_, '_>, limits: &Limits<'_>) -> Result<()> {
        loop {
            let moved = pump.turn(job)?;
            if !moved && pump.is_closed(job)? {
                return Ok(());
            }
            limits.check(job)?;
            self.look()?;
            if !moved {
                ready(&self.ssh, &self.socket, TICK);
            }
        }
    }

    /// Tells the guest that the channel is closed; gives the connection up if that cannot be sent. The guest confirms
    /// it only when the command has ended, so for one that was given up that is not waited for.
    fn close(&mut self, channel: &mut Channel) {
        let end = Instant::now() + CLOSING;
        loop {
            match channel.close() {
                Ok(()) => return,
                Err(error) if would_block(&error) => match self.ssh.block_directions() {
                    BlockDirections::None | BlockDirections::Inbound => return,
                    _ if Instant::now() < end => ready(&self.ssh, &self.socket, TICK),
                    _ => return self.abandon(),
                },
                Err(_) => return self.abandon(),
            }
        }
    }
}

/// When to give up.
struct Limits<'a> {
    begun: Instant,
    limit: Option<Duration>,
    cancel: Option<&'a Cancel>,
}

impl<'a> Limits<'a> {
    fn new(job: &Exec<'a>) -> Self {
        Self {
            begun: Instant::now(),
            limit: job.limit,
            cancel: job.cancel,
        }
    }

    fn check(&self, job: &Exec<'_>) -> Result<()> {
        if let Some(cancel) = self.cancel {
            cancel.check()?;
        }
        let shown = |limit: Duration| humantime::format_duration(limit).to_string();
        if let Some(limit) = self.limit.filter(|limit| self.begun.elapsed() >= *limit) {
            bail!(Fault::new(
                Cause::Timeout,
                format!("{job} did not end within {}", shown(limit))
            ));
        }
        Ok(())
    }
}

/// What a broken connection means.
fn broke(job: &Exec<'_>, error: impl Into<std::io::Error>) -> anyhow::Error {
    anyhow::Error::new(error.into()).context(
        Fault::new(Cause::Guest, format!("the SSH connection broke while {job} ran"))
            .hint("`provision logs` shows the guest's console"),
    )
}

fn exit_code(channel: &Channel) -> Result<i32> {
    match channel.exit_signal()?.exit_signal {
        Some(name) => match signal_number(&name) {
            Some(number) => Ok(128 + number),
            None => bail!(Fault::new(Cause::Guest, format!("ended by the signal {name}"))),
        },
        None => Ok(channel.exit_status()?),
    }
}

/// The signals that SSH names (RFC 4254, section 6.10), with the numbers that POSIX and Linux give them.
fn signal_number(name: &str) -> Option<i32> {
    let number = match name {
        "HUP" => 1,
        "INT" => 2,
        "QUIT" => 3,
        "ILL" => 4,
        "ABRT" => 6,
        "FPE" => 8,
        "KILL" => 9,
        "USR1" => 10,
        "SEGV" => 11,
        "USR2" => 12,
        "PIPE" => 13,
        "ALRM" => 14,
        "TERM" => 15,
        _ => return None,
    };
    Some(number)
}
