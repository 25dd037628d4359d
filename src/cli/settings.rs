//! The flags and variables of the configuration, made from its table of settings.

use std::path::PathBuf;

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};

use crate::config::{Given, Place, SETTINGS, Setting};

const CONFIG: &str = "config";

/// Values of settings from flags and the environment, as text: they are looked at together with those of the file,
/// so that everything that is wrong can be told at once.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// The configuration file asked for.
    pub config: Option<PathBuf>,
    /// The values given.
    pub given: Vec<Given>,
}

/// The flag that names the configuration file.
pub fn config_arg() -> Arg {
    Arg::new(CONFIG)
        .long(CONFIG)
        .env("PROVISION_CONFIG")
        .hide_env_values(true)
        .value_name("FILE")
        .value_parser(clap::value_parser!(PathBuf))
        .help("The configuration file [default: ./provision.toml, if there is one]")
}

/// The flag of one setting.
pub fn arg(setting: Setting) -> Option<Arg> {
    let spec = setting.spec();
    let (flag, variable) = spec.flag?;
    let arg = Arg::new(flag)
        .long(flag)
        .env(variable)
        .hide_env_values(true)
        .value_name(spec.value)
        .help(spec.help);
    Some(arg)
}

impl Args for Settings {
    fn augment_args(command: Command) -> Command {
        let args = SETTINGS.iter().filter_map(|spec| arg(spec.setting));
        command.next_help_heading("Settings").arg(config_arg()).args(args)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Settings {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let specs = SETTINGS.iter().filter_map(|spec| Some((spec.setting, spec.flag?)));
        let given = specs.filter_map(|(setting, (flag, variable))| {
            let text = matches.get_one::<String>(flag)?.clone();
            let place = match matches.value_source(flag)? {
                // An empty variable is one that is not set, as for most programs.
                ValueSource::EnvVariable if text.is_empty() => return None,
                ValueSource::EnvVariable => Place::Variable(variable.to_owned()),
                _ => Place::Flag(format!("--{flag}")),
            };
            Some(Given { setting, text, place })
        });
        Ok(Self {
            given: given.collect(),
            config: matches.get_one(CONFIG).cloned(),
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

#[cfg(test)]
impl Settings {
    /// Settings as if given by flags.
    pub fn of_flags(flags: &[(Setting, &str)]) -> Self {
        let given = flags.iter().map(|(setting, text)| Given {
            setting: *setting,
            text: (*text).to_owned(),
            place: Place::Flag(format!("--{}", setting.spec().flag.unwrap().0)),
        });
        Self {
            config: None,
            given: given.collect(),
        }
    }
}
