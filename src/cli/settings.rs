//! The flags and variables of the configuration, made from its table of settings.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::ErrorKind;
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
        .value_parser(clap::value_parser!(OsString))
        .help("The configuration file [default: ./provision.toml, if there is one]")
}

/// The configuration file asked for.
///
/// # Errors
/// When the flag has no value.
pub fn config_of(matches: &ArgMatches) -> Result<Option<PathBuf>, clap::Error> {
    match matches.get_one::<OsString>(CONFIG) {
        Some(_) if is_unset(matches, CONFIG) => Ok(None),
        Some(path) if path.is_empty() => Err(invalid(CONFIG, "the path is empty")),
        path => Ok(path.map(PathBuf::from)),
    }
}

/// Whether the value of `arg` comes from a variable that is empty: one that is not set, as for most programs. An empty
/// flag is an error, as nobody means the default by it.
pub fn is_unset(matches: &ArgMatches, arg: &str) -> bool {
    let variable = matches.value_source(arg) == Some(ValueSource::EnvVariable);
    variable
        && matches
            .get_raw(arg)
            .is_some_and(|mut values| values.all(std::ffi::OsStr::is_empty))
}

/// The error of a flag, or of its variable, with a value that will not do.
pub fn invalid(flag: &str, reason: &str) -> clap::Error {
    clap::Error::raw(
        ErrorKind::ValueValidation,
        format!("invalid value for '--{flag}': {reason}\n"),
    )
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
                _ if is_unset(matches, flag) => return None,
                ValueSource::EnvVariable => Place::Variable(variable.to_owned()),
                _ => Place::Flag(format!("--{flag}")),
            };
            Some(Given { setting, text, place })
        });
        Ok(Self {
            given: given.collect(),
            config: config_of(matches)?,
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
