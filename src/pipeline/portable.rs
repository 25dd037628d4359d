//! The plan as every host has it: for keys under which one host keeps what another will look for.
//!
//! A checkpoint's own key depends on its host, whose keys are put into the guest and hash what may be secret. Here nobody's
//! take their place, so that a host on which nothing was made yet knows the key, too.

use anyhow::{Context as _, Result};

use super::Parts;
use crate::archive;
use crate::cancel::Cancel;
use crate::config::Config;
use crate::event::{Events, Stage};
use crate::identity::Identity;
use crate::key::{Inputs, Key};
use crate::machine::driver::Features;
use crate::media::{self, Installed, Known};
use crate::paths::Paths;
use crate::pins::Lock;
use crate::plan::Plan;

/// What such keys depend on.
pub struct Portable<'a> {
    /// What the user wants.
    pub config: &'a Config,
    /// Where things are kept.
    pub paths: &'a Paths,
    /// What the program can do that will run the machine.
    pub features: Features,
    /// What alone the machine may be made of.
    pub lock: Option<&'a Lock>,
    /// The ISO that the machine was made from.
    pub pinned: Option<&'a Installed>,
    /// Whether the mirror is asked for the current release even if it was asked lately.
    pub refresh: bool,
    /// Whom to tell.
    pub events: &'a Events,
    /// Whether the user asked to stop.
    pub cancel: &'a Cancel,
}

/// The key of `stage` that every host has, and the ISO that it begins with. The mirror is asked which is the current one where
/// that is not known; nothing else is fetched, and no keys are made.
///
/// # Errors
/// When the ISO cannot be known, or a file of the project cannot be read.
pub fn portable(wanted: &Portable<'_>, stage: Stage) -> Result<(Key, Known)> {
    let Portable { config, lock, .. } = *wanted;
    let parts = Parts::with_keys(config, wanted.paths, None, |_, _| Ok(Identity::nobody()))?;
    let request = parts.request(config, wanted.refresh, false, wanted.pinned);
    let locked = lock.and_then(Lock::released_iso);
    let known = media::foresee(
        &request,
        locked.as_ref(),
        &wanted.paths.isos(),
        wanted.events,
        wanted.cancel,
    )?;
    let stages = parts.stages(config, wanted.features, &known.digest.to_string(), wanted.cancel)?;
    let marks = |stage| lock.map(|lock| lock.marks(stage)).unwrap_or_default();
    let plan = Plan::choose(stages, |stage, _, inputs| {
        common(stage, inputs).into_iter().chain(marks(stage)).collect()
    });
    let planned = plan.stages.into_iter().find(|planned| planned.stage == stage);
    Ok((planned.context("a stage without a checkpoint has no key")?.key, known))
}

/// What of a stage's inputs may be seen by anybody: what could be guessed from a hash without a secret key is left out. A
/// checkpoint that differs in that alone is found, and then made anew by its own key.
fn common(stage: Stage, mut inputs: Inputs) -> Inputs {
    match stage {
        // What is written by one version of the program and not read by another is not to be found by it.
        Stage::Install => {
            inputs.insert("archive//format".to_owned(), archive::FORMAT.to_string());
        }
        Stage::Docker => {
            if let Some(proxy) = inputs.get_mut("http proxy") {
                "given".clone_into(proxy);
            }
        }
        Stage::Project => inputs.retain(|path, _| !may_be_secret(path)),
        _ => {}
    }
    inputs
}

/// Whether the project's file `path` is of those that hold passwords: `.env` files and the folder of secrets.
fn may_be_secret(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.starts_with(".env") || path == "secrets" || path.starts_with("secrets/")
}

/// The signed list by which the ISO of `digest` is the one that `config` means, for another host: its name and content. None
/// where `config` means another one.
///
/// # Errors
/// When the configuration asks for what is not there.
pub fn release_of(config: &Config, paths: &Paths, digest: &str) -> Result<Option<(String, Vec<u8>)>> {
    let parts = Parts::with_keys(config, paths, None, |_, _| Ok(Identity::nobody()))?;
    let request = parts.request(config, false, true, None);
    Ok(media::release_of(&request, digest, &paths.isos()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_secret_is_in_no_common_key() {
        for (path, is_secret) in [
            ("srcs/.env", true),
            ("srcs/.env.local", true),
            ("secrets", true),
            ("secrets/db_password.txt", true),
            ("srcs/secrets.c", false),
            ("srcs/requirements/secrets/Dockerfile", false),
            ("Makefile", false),
            ("make//target", false),
        ] {
            assert_eq!(may_be_secret(path), is_secret, "{path}");
        }
        let inputs = |pairs: &[(&str, &str)]| -> Inputs {
            pairs
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect()
        };
        let project = |password| common(Stage::Project, inputs(&[("srcs/.env", password), ("Makefile", "1")]));
        assert_eq!(project("a"), project("b"));
        let proxy = |password| common(Stage::Docker, inputs(&[("http proxy", password)]));
        assert_eq!(proxy("a"), proxy("b"));
        assert_ne!(
            proxy("a"),
            common(Stage::Docker, Inputs::new()),
            "whether there is one counts"
        );
        let install = common(Stage::Install, Inputs::new());
        assert_eq!(install["archive//format"], archive::FORMAT.to_string());
    }
}
