//! `provision plan`

use anyhow::Result;
use serde::Serialize;

use super::{App, Settings};
use crate::checkpoint::Store;
use crate::event::Stage;
use crate::instance::Instance;
use crate::pipeline;
use crate::plan::Standing;
use crate::report::{self, Output, Paint};

/// The arguments of `plan`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Flags and variables.
    #[command(flatten)]
    pub settings: Settings,
}

/// The plan as it is shown.
#[derive(Serialize)]
struct Shown {
    stages: Vec<Line>,
}

/// A stage of the plan.
#[derive(Serialize)]
struct Line {
    stage: Stage,
    /// Not known while the ISO is not in the cache.
    key: Option<String>,
    cached: bool,
    /// Why it runs; empty if it does not.
    reason: String,
}

impl Output for Shown {
    fn text(&self, paint: Paint) -> String {
        let rows: Vec<_> = self.stages.iter().map(|line| line.row(paint)).collect();
        report::table(["STAGE", "KEY", "STATE"], &rows, paint)
    }
}

impl Line {
    fn row(&self, paint: Paint) -> [String; 3] {
        let key = self.key.as_deref().map_or("-", |key| key.get(..12).unwrap_or(key));
        let state = if self.cached {
            paint.green("cached")
        } else {
            format!("runs: {}", self.reason)
        };
        [self.stage.to_string(), key.to_owned(), state]
    }
}

impl Args {
    /// Shows what `create` would do.
    ///
    /// # Errors
    /// When the configuration or the project cannot be read.
    pub fn run(&self, app: &App) -> Result<()> {
        let config = app.config(&self.settings)?;
        let store = Store::open(&app.paths.cache)?;
        let always = |stage, reason: &str| Line {
            stage,
            key: None,
            cached: false,
            reason: reason.to_owned(),
        };
        let mut stages = Vec::new();
        let machine = Instance::new(&app.paths, &config.name).record()?;
        let layer = machine
            .filter(|record| record.guest == config.guest)
            .and_then(|record| record.layer);
        let pinned = layer.as_ref().and_then(|base| store.installed_from(base));
        if let Some(plan) = pipeline::plan_offline(&config, &app.paths, pinned.as_deref())? {
            stages.push(always(Stage::Media, "the cached ISO is checked"));
            for (planned, standing) in plan.stages.iter().zip(plan.standing(&store)?) {
                stages.push(Line {
                    stage: planned.stage,
                    key: Some(planned.key.to_string()),
                    cached: standing == Standing::Cached,
                    reason: standing.reason().to_owned(),
                });
            }
        } else {
            stages.push(always(Stage::Media, "the ISO is not in the cache"));
            let built = [Stage::Install, Stage::Docker, Stage::Account, Stage::Project];
            stages.extend(built.map(|stage| always(stage, "known once the ISO is")));
        }
        stages.push(always(Stage::Verify, "every run is checked"));
        app.reporter.output(&Shown { stages })
    }
}
