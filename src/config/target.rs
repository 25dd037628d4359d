//! Which machine a command is about when it is not told.

use std::path::Path;

use anyhow::Result;

use super::file::File;
use super::problem::{self, Place};
use super::setting::{Given, Setting};
use super::types::{Login, MachineName};
use crate::fault::{Cause, Fault};

/// The machine that a command is about: the one `asked` for by `--name` or `PROVISION_NAME`; else the one that the
/// configuration names (by the file's `name`, else by the login, of `PROVISION_LOGIN` or the file); else the only one
/// of `existing`; else the one named after the user.
///
/// # Errors
/// [`Cause::Usage`] when that leaves several or none, [`Cause::Config`] when a name is malformed.
pub fn machine_name(
    asked: Option<&MachineName>,
    config: Option<&Path>,
    cwd: &Path,
    existing: &[MachineName],
) -> Result<MachineName> {
    if let Some(name) = asked {
        return Ok(name.clone());
    }
    let file = super::read(config, cwd)?.map(|read| read.contents).unwrap_or_default();
    let user = super::host_user().and_then(|user| Login::try_from(user).ok());
    Ok(choose(&file, login_of_environment(), user.as_ref(), existing)?)
}

/// What `PROVISION_LOGIN` gives to the commands that have no flag for it.
fn login_of_environment() -> Option<Given> {
    let (_, variable) = Setting::Login.spec().flag?;
    let text = std::env::var(variable).ok().filter(|text| !text.is_empty())?;
    Some(Given {
        setting: Setting::Login,
        text,
        place: Place::Variable(variable.to_owned()),
    })
}

/// What is wrong with a file that may name a machine, and cannot be understood as far as that.
fn unclear(file: &File) -> Option<Fault> {
    let is_named = file.values.iter().any(|given| given.setting == Setting::Name);
    let problems = file.problems.clone();
    let is_unclear = !is_named && !problems.is_empty();
    is_unclear.then(|| problem::fault(problems).hint("mend the file, or say which machine with `--name NAME`"))
}

fn choose(
    file: &File,
    variable: Option<Given>,
    user: Option<&Login>,
    existing: &[MachineName],
) -> Result<MachineName, Fault> {
    // A misspelt name would leave another machine as the one that is meant.
    if let Some(fault) = unclear(file) {
        return Err(fault);
    }
    let of_file = |setting| file.values.iter().find(|given| given.setting == setting).cloned();
    // As `create` does: a name, wherever it is given, counts more than a login.
    if let Some(given) = of_file(Setting::Name).or(variable).or_else(|| of_file(Setting::Login)) {
        return MachineName::try_from(given.text)
            .map_err(|text| Fault::new(Cause::Config, format!("{}: {text}", given.place)));
    }
    if let [only] = existing {
        return Ok(only.clone());
    }
    if let Some(own) = user.map(MachineName::from).filter(|own| existing.contains(own)) {
        return Ok(own);
    }
    if existing.is_empty() {
        let fault = Fault::new(Cause::Usage, "there is no machine yet");
        return Err(fault.hint("`provision create` makes one"));
    }
    let names: Vec<&str> = existing.iter().map(MachineName::as_str).collect();
    let message = format!("there are several machines: {}", names.join(", "));
    Err(Fault::new(Cause::Usage, message).hint("say which with `--name NAME`"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::file;

    #[test]
    fn the_machine_is_the_files_or_the_only_or_ones_own() {
        let name = |text: &str| text.parse::<MachineName>().unwrap();
        let user = Login::try_from("me".to_owned()).unwrap();
        let given = |text: &str, variable: Option<&str>, existing: &[&str]| {
            let existing: Vec<MachineName> = existing.iter().map(|n| name(n)).collect();
            let variable = variable.map(|text| Given {
                setting: Setting::Login,
                text: text.to_owned(),
                place: Place::Variable("V".to_owned()),
            });
            choose(&file::parse("f", text), variable, Some(&user), &existing)
        };
        let chosen = |text: &str, existing: &[&str]| given(text, None, existing);
        assert_eq!(given("login = \"l\"", Some("v"), &["a"]), Ok(name("v")));
        assert_eq!(given("name = \"n\"", Some("v"), &["a"]), Ok(name("n")));
        assert!(given("", Some(".."), &[]).unwrap_err().message.starts_with("V:"));
        assert_eq!(chosen("name = \"n\"\nlogin = \"l\"", &["a", "b"]), Ok(name("n")));
        assert_eq!(chosen("login = \"l\"", &["a"]), Ok(name("l")));
        assert_eq!(chosen("", &["a"]), Ok(name("a")));
        for wrong in [
            "nmae = \"n\"",
            "name = \"n\"\n[machine\n",
            "name = \"n",
            "login = \"l\"\nnmae = \"n\"",
            "name = 1",
        ] {
            let fault = chosen(wrong, &["a"]).unwrap_err();
            assert_eq!(fault.cause, Cause::Config, "{wrong}");
            assert!(fault.message.contains("f:") && fault.hint.is_some(), "{fault:?}");
        }
        // What is wrong elsewhere leaves no doubt.
        assert_eq!(chosen("name = \"n\"\ncolour = 1", &["a"]), Ok(name("n")));
        assert_eq!(chosen("", &["a", "me"]), Ok(name("me")));
        assert_eq!(chosen("", &["a", "b"]).unwrap_err().cause, Cause::Usage);
        let none = chosen("", &[]).unwrap_err();
        assert_eq!(none.cause, Cause::Usage);
        assert_eq!(none.hint.as_deref(), Some("`provision create` makes one"));
        assert!(chosen("name = \"..\"", &[]).unwrap_err().message.contains("f:1"));
    }
}
