//! What the stages read, gathered before the first of them runs: from it follow the plan's keys.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, Result};

use super::Creation;
use super::iso::is_looked_at;
use crate::cancel::Cancel;
use crate::config::Config;
use crate::event::{Event, Stage};
use crate::guest::{Definition, InstallRecipe};
use crate::identity::Identity;
use crate::key::Inputs;
use crate::machine::driver::Features;
use crate::media::{self, Installed, Iso, Request};
use crate::paths::Paths;
use crate::pins::Lock;
use crate::plan::Plan;
use crate::plan::making::Makings;
use crate::project::Tree;
use crate::stage;

/// Typed input of every stage.
pub struct Materials {
    /// The ISO.
    pub iso: Iso,
    /// Whether it was verified, and is where it says. One that nobody will read is not.
    pub is_verified: bool,
    /// The rest.
    pub parts: Parts,
}

/// What is known without a network.
pub struct Parts {
    /// How the ISO is installed.
    pub recipe: InstallRecipe,
    /// What of Docker is installed.
    pub docker: stage::docker::Input,
    /// The project.
    pub project: stage::project::Input,
    /// Opens the checkpoints that know no login.
    pub builder: Identity,
    /// The login's own keys and password.
    pub identity: Identity,
    definition: Definition,
    signing_key: Vec<u8>,
}

impl Materials {
    /// The plan that follows.
    ///
    /// # Errors
    /// When a file of the project cannot be read.
    pub fn plan(&self, config: &Config, features: Features, makings: &Makings<'_>, cancel: &Cancel) -> Result<Plan> {
        let digest = self.iso.digest.to_string();
        self.parts.plan(config, features, &digest, makings, cancel)
    }
}

impl Parts {
    /// Gathers them, for stages that take only what `lock` pins.
    ///
    /// # Errors
    /// When a file of the project cannot be read, or the configuration asks for what is not there.
    pub fn gather(config: &Config, paths: &Paths, lock: Option<&Lock>) -> Result<Self> {
        Self::with_keys(config, paths, lock, Identity::load_or_create)
    }

    /// Gathers them to look at: keys that are not there are made up, and what follows from them means nothing, see
    /// [`first_unknown`].
    fn imagine(config: &Config, paths: &Paths) -> Result<Self> {
        Self::with_keys(config, paths, None, Identity::load_or_imagine)
    }

    pub(super) fn with_keys(
        config: &Config,
        paths: &Paths,
        lock: Option<&Lock>,
        keys: fn(&Path, bool) -> Result<Identity>,
    ) -> Result<Self> {
        let definition = Definition::find(&config.guest, config.overrides.as_deref())?;
        let signing_key = definition.signing_key()?;
        let builder = keys(&paths.builder(), false)?;
        let identity = keys(&paths.identity(config.login.as_str()), true)?;
        let recipe = definition.recipe(&config.network, &builder)?;
        let docker = stage::docker::Input::new(&config.docker, &config.network, &definition)?;
        let docker = match lock {
            Some(lock) => docker.locked(lock.packages(&config.network, &definition)?),
            None => docker,
        };
        let project = stage::project::Input {
            tree: Tree::collect(&config.project)?,
            target: config.project.target.clone(),
            make_timeout: config.project.make_timeout,
            images: lock.map(Lock::images),
        };
        Ok(Self {
            recipe,
            docker,
            project,
            builder,
            identity,
            definition,
            signing_key,
        })
    }

    /// The media stage: it runs before there is a plan, since every key follows from the ISO's digest. `pinned` is the
    /// ISO that the machine was made from.
    ///
    /// # Errors
    /// When the ISO cannot be had.
    pub fn iso(&self, creation: &Creation<'_>, pinned: Option<&Installed>) -> Result<Iso> {
        let Creation {
            config, paths, host, ..
        } = creation;
        self.definition.tell_trust(&self.signing_key, &host.events)?;
        let start = Instant::now();
        let stage = Stage::Media;
        host.events.emit(Event::StageStarted {
            stage,
            reason: "every run verifies it".into(),
            typical_seconds: None,
        });
        let request = self.request(config, creation.refresh, creation.is_offline(), pinned);
        let pinned = creation.lock.as_ref().and_then(Lock::released_iso);
        let iso = stage::media::run(&request, pinned.as_ref(), &paths.isos(), &host.events, &host.cancel)?;
        host.events.emit(Event::StageDone {
            stage,
            seconds: start.elapsed().as_secs_f64(),
        });
        Ok(iso)
    }

    pub(super) fn request<'a>(
        &'a self,
        config: &'a Config,
        refresh: bool,
        offline: bool,
        pinned: Option<&'a Installed>,
    ) -> Request<'a> {
        Request {
            release: &self.definition.iso,
            key: &self.signing_key,
            choice: config.iso.as_ref(),
            pinned: pinned.filter(|_| !refresh),
            refresh,
            offline,
        }
    }

    /// The plan for the ISO of that digest.
    ///
    /// # Errors
    /// When a file of the project cannot be read.
    pub(super) fn plan(
        &self,
        config: &Config,
        features: Features,
        iso_digest: &str,
        makings: &Makings<'_>,
        cancel: &Cancel,
    ) -> Result<Plan> {
        let stages = self.stages(config, features, iso_digest, cancel)?;
        Ok(Plan::choose(stages, |stage, parent, inputs| {
            makings.choose(stage, parent, &inputs)
        }))
    }

    /// What each stage reads, for the ISO of that digest.
    pub(super) fn stages(
        &self,
        config: &Config,
        features: Features,
        iso_digest: &str,
        cancel: &Cancel,
    ) -> Result<[(Stage, Inputs); 4]> {
        let disk_gib = config.machine.disk_gib;
        let installer = stage::install::installer(config.machine.installer, features)?;
        let secret = self.builder.keyed_hash_key();
        Ok([
            (
                Stage::Install,
                stage::install::inputs(&self.recipe, iso_digest, disk_gib, installer, features),
            ),
            (Stage::Docker, self.docker.inputs(&secret)),
            (Stage::Account, stage::account::inputs(&config.login, &self.identity)),
            (
                Stage::Project,
                self.project.inputs(&secret, cancel).context("reading the project")?,
            ),
        ])
    }
}

/// The first stage of [`plan_offline`] whose key is not known, since the keys that it puts into the guest are only made
/// by the first `create`; nor are those after it.
pub fn first_unknown(config: &Config, paths: &Paths) -> Option<Stage> {
    if !paths.builder().exists() {
        return Some(Stage::Install);
    }
    (!paths.identity(config.login.as_str()).exists()).then_some(Stage::Account)
}

/// What is known of a run without a network.
pub struct Foreseen {
    /// What it does.
    pub plan: Plan,
    /// Whether the ISO is on this host.
    pub has_iso: bool,
    /// Whether it is there and looked at though nothing may read it.
    pub looks_at_iso: bool,
}

/// The plan as far as it is known without a network: `None` while the ISO is not. `pinned` is the ISO
/// that the machine was made from.
///
/// # Errors
/// When the configuration asks for what is not there.
pub fn plan_offline(
    config: &Config,
    features: Features,
    paths: &Paths,
    pinned: Option<&Installed>,
    makings: &Makings<'_>,
    cancel: &Cancel,
) -> Result<Option<Foreseen>> {
    let parts = Parts::imagine(config, paths)?;
    let request = parts.request(config, false, false, pinned);
    let Some(known) = media::cached(&request, &paths.isos())? else {
        return Ok(None);
    };
    Ok(Some(Foreseen {
        plan: parts.plan(config, features, &known.digest.to_string(), makings, cancel)?,
        has_iso: known.path.is_some(),
        looks_at_iso: is_looked_at(&request, &known),
    }))
}
