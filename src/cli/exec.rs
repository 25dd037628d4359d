//! `provision exec`

use std::io::{self, IsTerminal as _, Read};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::event::{PollFd, PollFlags, Timespec};

use serde::Serialize;

use super::{App, Machine};
use crate::cancel::Cancel;
use crate::event::Stream;
use crate::report::{Output, Paint};
use crate::ssh::{self, Exec, Lines, Session};
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
        let home = instance.live(&record);
        let mut session = Session::connect(&operate::target(&instance, &record)?, ANSWER, &app.cancel)?
            .watched_by(Box::new(move || home.look()));
        let command = ssh::quote(&self.command).context("quoting the command")?;
        app.reporter.end();
        let mut input = Input;
        let input = (!io::stdin().is_terminal()).then_some(&mut input as &mut dyn Read);
        let job = Exec::new(command).cancel(&app.cancel);
        let ran = if app.reporter.is_json() {
            for_programs(app, &mut session, &job, input)
        } else {
            session.exec_bytes(&job, input, &mut report::relay)
        };
        match ran {
            Ok(status) => Ok(ExitCode::from(u8::try_from(status).unwrap_or(1))),
            Err(error) if report::reader_has_gone(&error) => Ok(ExitCode::from(PIPE)),
            Err(error) => Err(Cancel::in_vain(error, "the command may still run in the guest")),
        }
    }
}

/// What the command prints, line by line, and its exit code.
#[derive(Serialize)]
#[serde(untagged)]
enum Said {
    Line { stream: Stream, line: String },
    End { exit_code: i32 },
}

impl Output for Said {
    fn text(&self, _: Paint) -> String {
        match self {
            Self::Line { line, .. } => line.clone(),
            Self::End { exit_code } => exit_code.to_string(),
        }
    }
}

fn for_programs(app: &App, session: &mut Session, job: &Exec<'_>, input: Option<&mut dyn Read>) -> Result<i32> {
    let tell = |said: &mut Vec<(Stream, String)>| {
        let mut said = said.drain(..);
        said.try_for_each(|(stream, line)| app.reporter.stream(&Said::Line { stream, line }))
    };
    let (mut lines, mut said) = (Lines::default(), Vec::new());
    let exit_code = session.exec_bytes(job, input, &mut |stream, bytes| {
        lines.take(stream, bytes, &mut |stream, line| said.push((stream, line.to_owned())));
        tell(&mut said)
    })?;
    lines.end(&mut |stream, line| said.push((stream, line.to_owned())));
    tell(&mut said)?;
    app.reporter.stream(&Said::End { exit_code })?;
    Ok(exit_code)
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
