//! `provision completions`

use anyhow::Result;
use clap::{Command, CommandFactory as _, ValueEnum};
use clap_complete::Shell as Generator;
use serde::Serialize;

use super::{App, Cli};
use crate::report::{Output, Paint};

/// The arguments of `completions`.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct Args {
    /// For which shell
    #[arg(value_enum)]
    pub shell: Shell,
}

/// A shell that completes what is typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Shell {
    /// GNU bash.
    Bash,
    /// The Z shell.
    Zsh,
    /// fish.
    Fish,
}

/// A shell's script.
#[derive(Serialize)]
struct Script {
    shell: Shell,
    script: String,
}

impl Output for Script {
    fn text(&self, _: Paint) -> String {
        self.script.clone()
    }
}

impl Args {
    /// Prints the script.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn run(self, app: &App) -> Result<()> {
        let shell = self.shell;
        let script = script(shell)?;
        app.reporter.output(&Script { shell, script })
    }
}

fn script(shell: Shell) -> Result<String> {
    let generator = match shell {
        Shell::Bash => Generator::Bash,
        Shell::Zsh => Generator::Zsh,
        Shell::Fish => Generator::Fish,
    };
    let mut text = Vec::new();
    let mut command = visible();
    let name = env!("CARGO_PKG_NAME");
    clap_complete::generate(generator, &mut command, name, &mut text);
    Ok(String::from_utf8(text)?)
}

/// The command line without hidden commands, which would be offered otherwise.
fn visible() -> Command {
    let all = Cli::command();
    let shown = all.get_subcommands().filter(|command| !command.is_hide_set());
    Command::new(env!("CARGO_PKG_NAME"))
        .version(env!("CARGO_PKG_VERSION"))
        .propagate_version(true)
        .args(all.get_arguments())
        .subcommands(shown.cloned())
}
