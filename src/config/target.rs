//! Which machine a command is about when it is not told.

use std::path::Path;

use anyhow::Result;
use fs_err as fs;

use super::file::{self, File};
use super::setting::Setting;
use super::types::{Login, MachineName};
use crate::fault::{Cause, Fault};

/// The machine that a command is about: the one `asked` for by `--name` or `PROVISION_NAME`; else the one that the
/// configuration file names (by `name`, else by `login`); else the only one of `existing`; else the one named after
/// the user.
///
/// # Errors
/// [`Cause::Usage`] when that leaves several, [`Cause::Config`] when there is none yet or a name is malformed.
pub fn machine_name(
    asked: Option<&MachineName>,
    config: Option<&Path>,
    cwd: &Path,
    existing: &[MachineName],
) -> Result<MachineName> {
    if let Some(name) = asked {
        return Ok(name.clone());
    }
    let file = match super::file_path(config, cwd) {
        Some(path) => file::parse(super::FILE_NAME, &fs::read_to_string(&path)?),
        None => File::default(),
    };
    let user = super::host_user().and_then(|user| Login::try_from(user).ok());
    Ok(choose(&file, user.as_ref(), existing)?)
}

fn choose(file: &File, user: Option<&Login>, existing: &[MachineName]) -> Result<MachineName, Fault> {
    for setting in [Setting::Name, Setting::Login] {
        if let Some(given) = file.values.iter().find(|given| given.setting == setting) {
            return MachineName::try_from(given.text.clone())
                .map_err(|text| Fault::new(Cause::Config, format!("{}: {text}", given.place)));
        }
    }
    if let [only] = existing {
        return Ok(only.clone());
    }
    if let Some(own) = user.map(MachineName::from).filter(|own| existing.contains(own)) {
        return Ok(own);
    }
    if existing.is_empty() {
        let fault = Fault::new(Cause::Config, "there is no machine yet");
        return Err(fault.hint("`provision create` makes one"));
    }
    let names: Vec<&str> = existing.iter().map(MachineName::as_str).collect();
    let message = format!("there are several machines: {}", names.join(", "));
    Err(Fault::new(Cause::Usage, message).hint("say which with `--name NAME`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_is_the_files_or_the_only_or_ones_own() {
        let name = |text: &str| text.parse::<MachineName>().unwrap();
        let user = Login::try_from("me".to_owned()).unwrap();
        let chosen = |text: &str, existing: &[&str]| {
            let existing: Vec<MachineName> = existing.iter().map(|n| name(n)).collect();
            choose(&file::parse("f", text), Some(&user), &existing)
        };
        assert_eq!(chosen("name = \"n\"\nlogin = \"l\"", &["a", "b"]), Ok(name("n")));
        assert_eq!(chosen("login = \"l\"", &["a"]), Ok(name("l")));
        assert_eq!(chosen("", &["a"]), Ok(name("a")));
        assert_eq!(chosen("", &["a", "me"]), Ok(name("me")));
        assert_eq!(chosen("", &["a", "b"]).unwrap_err().cause, Cause::Usage);
        let none = chosen("", &[]).unwrap_err();
        assert_eq!(none.hint.as_deref(), Some("`provision create` makes one"));
        assert!(chosen("name = \"..\"", &[]).unwrap_err().message.contains("f:1"));
    }
}
