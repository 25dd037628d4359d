//! What the stages read, gathered before the first of them runs: from it follow the plan's keys.

use std::time::Instant;

use anyhow::{Context as _, Result};

use super::Creation;
use crate::config::Config;
use crate::event::{Event, Stage};
use crate::guest::{Definition, InstallRecipe};
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
}

impl Materials {
    /// Gathers them; the media stage runs here, since every key follows from the ISO's digest.
    ///
    /// # Errors
    /// When the ISO cannot be had, a file of the project cannot be read, or the configuration asks for what is not
    /// there.
    pub fn gather(creation: &Creation<'_>) -> Result<Self> {
        let Creation {
            config,
            paths,
            host,
            refresh,
        } = creation;
        let definition = Definition::find(&config.guest, config.overrides.as_deref())?;
        // What is cheap to get wrong is read first: nobody wants to hear of a bad link after a long download.
        let parts = Parts::gather(config, paths, &definition)?;
        let key = definition.signing_key()?;
        definition.tell_trust(&key, &host.events)?;
        let start = Instant::now();
        let stage = Stage::Media;
        host.events.emit(Event::StageStarted {
            stage,
            reason: "every run verifies it".into(),
            typical_seconds: None,
        });
        let request = request(config, &definition, &key, *refresh);
        let iso = stage::media::run(&request, &paths.isos(), &host.events, &host.cancel)?;
        host.events.emit(Event::StageDone {
            stage,
            seconds: start.elapsed().as_secs_f64(),
        });
        Ok(Self { iso, parts })
    }

    /// The plan that follows.
    ///
    /// # Errors
    /// When a file of the project cannot be read.
    pub fn plan(&self, config: &Config) -> Result<Plan> {
        self.parts.plan(config, &self.iso.digest.to_string())
    }
}

impl Parts {
    fn gather(config: &Config, paths: &Paths, definition: &Definition) -> Result<Self> {
        let builder = Identity::load_or_create(&paths.builder(), false)?;
        let identity = Identity::load_or_create(&paths.identity(config.login.as_str()), true)?;
        let recipe = definition.recipe(&config.network, &builder)?;
        let docker = stage::docker::Input::new(&config.docker, &config.network, definition)?;
        let project = stage::project::Input {
            tree: Tree::collect(&config.project)?,
            target: config.project.target.clone(),
            make_timeout: config.project.make_timeout,
        };
        Ok(Self {
            recipe,
            docker,
            project,
            builder,
            identity,
        })
    }

    fn plan(&self, config: &Config, iso_digest: &str) -> Result<Plan> {
        let disk_gib = config.machine.disk_gib;
        let secret = self.builder.keyed_hash_key();
        Ok(Plan::new([
            (
                Stage::Install,
                stage::install::inputs(&self.recipe, iso_digest, disk_gib),
            ),
            (Stage::Docker, self.docker.inputs(&secret)),
            (Stage::Account, stage::account::inputs(&config.login, &self.identity)),
            (
                Stage::Project,
                self.project.inputs(&secret).context("reading the project")?,
            ),
        ]))
    }
}

fn request<'a>(config: &'a Config, definition: &'a Definition, key: &'a [u8], refresh: bool) -> Request<'a> {
    Request {
        release: &definition.iso,
        key,
        choice: config.iso.as_ref(),
        refresh,
    }
}

/// The plan as far as it is known without a network: `None` while the ISO is not.
///
/// # Errors
/// When the configuration asks for what is not there.
pub fn plan_offline(config: &Config, paths: &Paths) -> Result<Option<Plan>> {
    let definition = Definition::find(&config.guest, config.overrides.as_deref())?;
    let parts = Parts::gather(config, paths, &definition)?;
    let key = definition.signing_key()?;
    let known = media::cached(&request(config, &definition, &key, false), &paths.isos())?;
    known
        .map(|known| parts.plan(config, &known.digest.to_string()))
        .transpose()
}
