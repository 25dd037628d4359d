//! `provision cache key`

use anyhow::Result;
use serde::Serialize;

use crate::checkpoint::Store;
use crate::cli::{App, Settings, rebuild};
use crate::event::Stage;
use crate::instance::Instance;
use crate::media::Installed;
use crate::pipeline::{self, Portable};
use crate::report::{Output, Paint};

/// The arguments of `cache key`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Whose checkpoint is to be kept under the key: install, docker, account or project
    #[arg(long, value_name = "STAGE", value_parser = rebuild::stage(), default_value = Stage::Docker.name())]
    pub stage: Stage,
    /// Ask the mirror for the current point release, even if it was asked lately
    #[arg(long)]
    pub refresh: bool,
    /// The key for `create --locked`: of what provision.lock pins
    #[arg(long, conflicts_with = "refresh")]
    pub locked: bool,
    /// Flags and variables.
    #[command(flatten)]
    pub settings: Settings,
}

/// The key.
#[derive(Serialize)]
struct Shown {
    key: String,
    stage: Stage,
    /// The ISO's name and digest, with which it begins.
    iso: String,
    iso_digest: String,
}

impl Output for Shown {
    fn text(&self, _: Paint) -> String {
        self.key.clone()
    }
}

impl Args {
    /// Prints the key. Nothing is made and no keys of guests are: a mirror is asked for the current release where it has to be.
    ///
    /// # Errors
    /// When the configuration or the project cannot be read, or no mirror tells the ISO.
    pub fn run(&self, app: &App) -> Result<()> {
        let config = app.config(&self.settings)?;
        let lock = self.locked.then(|| app.lock(&self.settings)).transpose()?;
        let pinned = pinned(app, &config)?;
        let wanted = Portable {
            config: &config,
            paths: &app.paths,
            features: app.hypervisor(&config)?.driver().features(),
            lock: lock.as_ref(),
            pinned: pinned.as_ref().filter(|_| !self.refresh),
            refresh: self.refresh,
            events: &app.events,
            cancel: &app.cancel,
        };
        let (key, iso) = pipeline::portable(&wanted, self.stage)?;
        app.reporter.output(&Shown {
            key: key.to_string(),
            stage: self.stage,
            iso: iso.name,
            iso_digest: iso.digest.to_string(),
        })
    }
}

/// The ISO that the machine was made from, if there is one.
fn pinned(app: &App, config: &crate::config::Config) -> Result<Option<Installed>> {
    let record = Instance::new(&app.paths, &config.name).record()?;
    let record = record.filter(|record| record.guest == config.guest);
    let store = Store::at(&app.paths.cache);
    Ok(record.and_then(|record| store.installed_from(&record.layer?)))
}
