//! `provision ssh`

use std::io::{self, IsTerminal as _};

use anyhow::{Context as _, Result};

use super::{App, Machine};
use crate::{operate, process, ssh};

/// The arguments of `ssh`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Which machine.
    #[command(flatten)]
    pub machine: Machine,
    /// A command to run instead of the login shell
    #[arg(last = true, value_name = "CMD")]
    pub command: Vec<String>,
}

impl Args {
    /// Becomes the OpenSSH client; returns only when that is not possible.
    ///
    /// # Errors
    /// When there is no such machine, it does not run, or there is no OpenSSH client.
    pub fn run(&self, app: &App) -> Result<()> {
        let instance = app.instance(&self.machine)?;
        let record = operate::running(&instance)?;
        let target = operate::target(&instance, &record)?;
        // As for a shell; where either end is a pipe or a file, a terminal would change what goes through it.
        let terminal = io::stdin().is_terminal() && io::stdout().is_terminal();
        let line = ssh::command_line(&target, &instance.identity(), &self.command, terminal);
        let line = line.context("quoting the command")?;
        app.reporter.end();
        Err(process::replace(&line))
    }
}
