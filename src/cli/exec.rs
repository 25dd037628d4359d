//! `provision exec`

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::{App, Machine};
use crate::machine::qemu;
use crate::ssh::{self, Exec, Session};
use crate::{operate, report};

/// How long a running guest may take to answer.
const ANSWER: Duration = Duration::from_secs(60);

/// The arguments of `exec`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Which machine.
    #[command(flatten)]
    pub machine: Machine,
    /// The command and its arguments; it gets no terminal, and its words arrive as they are
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
        let mut session = Session::connect(&operate::target(&instance, &record)?, ANSWER)?
            .watched_by(Box::new(move || qemu::look(&run_dir)));
        let command = ssh::quote(&self.command).context("quoting the command")?;
        app.reporter.end();
        let mut printed = Ok(());
        let status = session.exec_bytes(&Exec::new(command).cancel(&app.cancel), None, &mut |stream, bytes| {
            if printed.is_ok() {
                printed = report::relay(stream, bytes);
            }
        })?;
        printed?;
        Ok(ExitCode::from(u8::try_from(status).unwrap_or(1)))
    }
}
