//! What the stages read, gathered before the first of them runs: from it follow the plan's keys.

use anyhow::{Context as _, Result};

use super::Creation;
use crate::config::Config;
use crate::event::{Event, Stage};
use crate::guest::{self, Definition, InstallRecipe};
use crate::identity::Identity;
use crate::media::{self, Iso, Request};
use crate::paths::Paths;
use crate::plan::Plan;
use crate::project::Tree;
use crate::stage;

/// Typed input of every stage.
pub struct Materials {
    /// The verified ISO.
    pub iso: Iso,
    /// How it is installed.
    pub recipe: InstallRecipe,
    /// What of Docker is installed.
    pub docker: stage::docker::Input,
    /// The project.
    pub project: stage::project::Input,
    /// Opens the checkpoints that know no login.
    pub builder: Identity,
    /// The login's own keys and password.
    pub identity: Identity,
    /// Stands in for secrets in keys.
    pub secret: [u8; 32],
}

impl Materials {
    /// Gathers them; the media stage runs here, since every key follows from the ISO's digest.
    ///
    /// # Errors
    /// When the ISO cannot be had, a file of the project cannot be read, or the configuration asks for what is not
    /// there.
    pub fn gather(creation: &Creation<'_>) -> Result<Self> {
        let Creation { config, paths, host, refresh } = creation;
        let definition = Definition::find(&config.guest, config.overrides.as_deref())?;
        // What is cheap to get wrong is read first: nobody wants to hear of a bad link after a long download.
        let parts = Parts::gather(config, paths, &definition)?;
        let key = definition.signing_key(config.overrides.as_deref())?;
        let request = Request {
            release: &definition.iso,
            key: &key,
            choice: config.iso.as_ref(),
            refresh: *refresh,
        };
        let start = std::time::Instant::now();
        host.events.emit(Event::StageStarted {
            stage: Stage::Media,
            reason: "every run verifies it".into(),
            typical_seconds: None,
        });
        let iso = stage::media::run(&request, &paths.isos(), &host.events, &host.cancel)?;
        let seconds = start.elapsed().as_secs_f64();
        host.events.emit(Event::StageDone { stage: Stage::Media, seconds });
        Ok(parts.with(iso))
    }
}

/// [`Materials`] without the ISO: what can be known without a network.
pub struct Parts {
    recipe: InstallRecipe,
    docker: stage::docker::Input,
    project: stage::project::Input,
    builder: Identity,
    identity: Identity,
    secret: [u8; 32],
}

impl Parts {
    fn gather(config: &Config, paths: &Paths, definition: &Definition) -> Result<Self> {
        let builder = Identity::load_or_create(&paths.builder(), false)?;
        let identity = Identity::load_or_create(&paths.identity(config.login.as_str()), true)?;
        let recipe = guest::debian::recipe(definition, &config.network, &builder)?;
        let docker = stage::docker::Input::new(
            &config.docker,
            &config.network,
            definition.docker_ce.as_ref(),
        )?;
        let project = stage::project::Input {
            tree: Tree::collect(&config.project)?,
            target: config.project.target.clone(),
            make_timeout: config.project.make_timeout,
        };
        Ok(Self {
            recipe,
            docker,
            project,
            secret: builder.keyed_hash_key(),
            builder,
            identity,
        })
    }

    fn with(self, iso: Iso) -> Materials {
        Materials {
            iso,
            recipe: self.recipe,
            docker: self.docker,
            project: self.project,
            builder: self.builder,
            identity: self.identity,
            secret: self.secret,
        }
    }

    fn plan(&self, config: &Config, iso_digest: &str) -> Result<Plan> {
        plan_of(config, iso_digest, &self.recipe, &self.docker, &self.project, &self.identity, &self.secret)
    }
}

/// The plan that follows from `materials`.
///
/// # Errors
/// When a file of the project cannot be read.
pub fn plan(config: &Config, materials: &Materials) -> Result<Plan> {
    let Materials { iso, recipe, docker, project, identity, secret, .. } = materials;
    plan_of(config, &iso.digest, recipe, docker, project, identity, secret)
}

fn plan_of(
    config: &Config,
    iso_digest: &str,
    recipe: &InstallRecipe,
    docker: &stage::docker::Input,
    project: &stage::project::Input,
    identity: &Identity,
    secret: &[u8; 32],
) -> Result<Plan> {
    Ok(Plan::new([
        (
            Stage::Install,
            stage::install::inputs(recipe, iso_digest, config.machine.disk_gib),
        ),
        (Stage::Docker, docker.inputs()),
        (Stage::Account, stage::account::inputs(&config.login, identity)?),
        (
            Stage::Project,
            project.inputs(secret).context("reading the project")?,
        ),
    ]))
}

/// The plan as far as it is known without a network: `None` while the ISO is not in the cache.
///
/// # Errors
/// When the configuration asks for what is not there.
pub fn plan_offline(config: &Config, paths: &Paths) -> Result<Option<Plan>> {
    let definition = Definition::find(&config.guest, config.overrides.as_deref())?;
    let parts = Parts::gather(config, paths, &definition)?;
    let key = definition.signing_key(config.overrides.as_deref())?;
    let request = Request {
        release: &definition.iso,
        key: &key,
        choice: config.iso.as_ref(),
        refresh: false,
    };
    let iso = media::cached(&request, &paths.isos())?;
    iso.map(|iso| parts.plan(config, &iso.digest)).transpose()
}
