//! The flags of every command that is about a machine that exists.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};

use super::settings::{self, is_unset};
use crate::config::{self, MachineName};

const NAME: &str = "name";

/// Which machine.
#[derive(Debug, Clone, Default)]
pub struct Machine {
    /// The one asked for.
    pub name: Option<MachineName>,
    /// The configuration file asked for.
    pub config: Option<PathBuf>,
}

impl Machine {
    /// The machine that is meant, of those that exist.
    ///
    /// # Errors
    /// When it cannot be told which; see [`config::machine_name`].
    pub fn choose(&self, cwd: &Path, existing: &[MachineName]) -> Result<MachineName> {
        config::machine_name(self.name.as_ref(), self.config.as_deref(), cwd, existing)
    }
}

/// A name, or nothing: the variable may be empty.
fn checked(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Ok(String::new());
    }
    MachineName::try_from(text.to_owned()).map(|_| text.to_owned())
}

impl Args for Machine {
    fn augment_args(command: Command) -> Command {
        let name = Arg::new(NAME)
            .long(NAME)
            .env("PROVISION_NAME")
            .hide_env_values(true)
            .value_name("NAME")
            .value_parser(checked)
            .help("The machine [default: that of provision.toml or PROVISION_LOGIN, else the only one, else the one named after you]");
        command.arg(name).arg(settings::config_arg())
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Machine {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let name = matches.get_one::<String>(NAME).filter(|_| !is_unset(matches, NAME));
        let parsed = name.map(|text| MachineName::try_from(text.clone())).transpose();
        Ok(Self {
            name: parsed.map_err(|reason| settings::invalid(NAME, &reason))?,
            config: settings::config_of(matches)?,
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
