//! `provision exec`

use std::io::{self, IsTerminal as _, Read};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::event::{PollFd, PollFlags, Timespec};

use super::{App, Machine};
use crate::machine::qemu;
use crate::ssh::{self, Exec, Session};
use crate::{operate, report};

/// How long a running guest may take to answer.
const ANSWER: Duration = Duration::from_secs(60);

/// The exit code when nobody reads the output any more, as shells tell of a program that SIGPIPE ended.
const PIPE: u8 = 128 + 13;

/// How long more input may be waited for before the other direction is looked at.
const TURN: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 5_000_000,
};

/// The arguments of `exec`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Which machine.
    #[command(flatten)]
    pub machine: Machine,
    /// The command and its arguments; it gets no terminal, and its words arrive as they are
    ///
    /// Standard input is passed on to it when that is a file or a pipe.
    #[arg(last = true, required = true, value_name = "CMD")]
    pub command: Vec<String>,
}

impl Args {
    /// Runs the command in the guest and returns its exit code.
    ///
    /// # Errors
    /// When the machine does not run or the connection breaks.
    pub fn run(&self, app: &App) -> Result<ExitCode> {
        let instance = app.instance(&self.machine)?;
        let record = operate::running(&instance)?;
        let run_dir = instance.live_dir(&record);
        let mut session = Session::connect(&operate::target(&instance, &record)?, ANSWER, &app.cancel)?
            .watched_by(Box::new(move || qemu::look(&run_dir)));
        let command = ssh::quote(&self.command).context("quoting the command")?;
        app.reporter.end();
        let mut input = Input;
        let input = (!io::stdin().is_terminal()).then_some(&mut input as &mut dyn Read);
        let ran = session.exec_bytes(&Exec::new(command).cancel(&app.cancel), input, &mut report::relay);
        match ran {
            Ok(status) => Ok(ExitCode::from(u8::try_from(status).unwrap_or(1))),
            Err(error) if report::reader_has_gone(&error) => Ok(ExitCode::from(PIPE)),
            Err(error) => Err(error),
        }
    }
}

/// Standard input, which keeps nobody waiting: a pipe may be silent for as long as the command runs.
struct Input;

impl Read for Input {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let stdin = io::stdin();
        let mut fds = [PollFd::new(&stdin, PollFlags::IN)];
        match rustix::event::poll(&mut fds, Some(&TURN))? {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            // Without the buffer of the standard library, whose content no poll would tell of.
            _ => Ok(rustix::io::read(&stdin, into)?),
        }
    }
}
