//! What the user wants, complete and checked: `provision.toml`, flags, environment and the project folder as one value.
//!
//! Flags win over the environment, that over the file, that over the defaults. The host's own `http_proxy` and the
//! like are *not* taken over for the guest: a proxy on the host's 127.0.0.1 is out of the guest's reach.

mod file;
mod names;
mod problem;
mod project;
mod resolve;
mod setting;
mod target;
mod types;
pub mod value;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::cli::Settings;
use crate::text;

pub use problem::Place;
pub use project::MAKEFILES;
pub use setting::{Given, SETTINGS, Setting};
pub use target::machine_name;
pub use types::*;

/// The configuration file's usual name.
pub const FILE_NAME: &str = "provision.toml";

/// The complete configuration from `flags` (which carry the environment's values too), the configuration file and
/// the defaults. `cwd` is what relative paths on the command line start from; those in the file start from the
/// file's folder. `guests` are the names of the guest definitions.
///
/// # Errors
/// One [`Cause::Config`](crate::fault::Cause::Config) fault that lists everything that is wrong, a line each.
pub fn load(flags: &Settings, cwd: &Path, guests: &[String]) -> Result<Config> {
    let file = read(flags.config.as_deref(), cwd)?;
    let surroundings = resolve::Surroundings {
        cwd: cwd.to_owned(),
        file_dir: file.as_ref().map(|file| file.dir.clone()),
        guests,
        host_user: host_user(),
    };
    let (values, mut problems) = match file {
        Some(file) => (file.contents.values, file.contents.problems),
        None => (Vec::new(), Vec::new()),
    };
    if problems.iter().any(|problem| problem.syntax) {
        return Err(problem::fault(problems).into());
    }
    let given = flags.given.iter().cloned().chain(values).collect();
    let (config, wrong) = resolve::resolve(given, &surroundings);
    if !problems.is_empty() {
        // A setting may be missing because its key is misspelt: the misspelling is the error to report.
        problems.extend(wrong.into_iter().filter(|p| !p.place.is_default()));
        return Err(problem::fault(problems).into());
    }
    config.ok_or_else(|| problem::fault(wrong).into())
}

/// A configuration file that was read.
struct Read {
    /// Its folder.
    dir: PathBuf,
    contents: file::File,
}

/// The path of the configuration file that counts, if there is one: the one asked for, else `provision.toml` in
/// `cwd` if it exists.
pub fn file_path(asked: Option<&Path>, cwd: &Path) -> Option<PathBuf> {
    match asked {
        Some(path) => Some(cwd.join(path)),
        None => Some(cwd.join(FILE_NAME)).filter(|path| path.exists()),
    }
}

fn read(asked: Option<&Path>, cwd: &Path) -> Result<Option<Read>> {
    let Some(path) = file_path(asked, cwd) else {
        return Ok(None);
    };
    let text = text::read(&path)
        .context("reading the configuration")
        .map_err(|error| {
            let message = format!("{error:#}");
            crate::fault::Fault::new(crate::fault::Cause::Config, message).hint("`--config FILE` names another file")
        })?;
    let shown = asked.map_or_else(|| FILE_NAME.to_owned(), |path| path.display().to_string());
    let dir = path.parent().unwrap_or(cwd).to_owned();
    let contents = file::parse(&shown, &text);
    Ok(Some(Read { dir, contents }))
}

/// The name of the user who runs the program, as the login shell exports it.
pub fn host_user() -> Option<String> {
    ["LOGNAME", "USER"]
        .iter()
        .find_map(|name| std::env::var(name).ok().filter(|user| !user.is_empty()))
}

#[cfg(test)]
mod tests;
