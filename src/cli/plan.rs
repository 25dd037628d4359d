//! `provision plan`

use anyhow::Result;
use serde::Serialize;

use super::{App, Settings};
use crate::checkpoint::{Base, Store};
use crate::event::Stage;
use crate::instance::Instance;
use crate::key::Inputs;
use crate::pipeline::{self, Foreseen, Parts};
use crate::plan::Standing;
use crate::plan::making::Makings;
use crate::project::{self, makefile};
use crate::report::{self, Output, Paint};
use crate::stage::led::not_kept;

/// The arguments of `plan`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Tell, too, what of it this host lacks when there is no network; exit code 6 if it lacks something
    #[arg(long)]
    pub offline: bool,
    /// Flags and variables.
    #[command(flatten)]
    pub settings: Settings,
}

/// The plan as it is shown.
#[derive(Serialize)]
struct Shown {
    stages: Vec<Line>,
    /// Whether what was changed in the machine since its `create` goes.
    replaces_machine: bool,
    /// What is missing for a run without a network, if that was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    missing: Option<Vec<String>>,
}

/// A stage of the plan.
#[derive(Serialize)]
struct Line {
    stage: Stage,
    /// Not known while the ISO is not in the cache, or while the keys that the stage puts into the guest are not made.
    key: Option<String>,
    cached: bool,
    /// Why it runs; empty if it does not.
    reason: String,
    /// What its key was made from, for a program: a name and a digest or plain value each.
    #[serde(skip_serializing_if = "Option::is_none")]
    inputs: Option<Inputs>,
}

impl Output for Shown {
    fn text(&self, paint: Paint) -> String {
        let rows: Vec<_> = self.stages.iter().map(|line| line.row(paint)).collect();
        let mut text = report::table(["STAGE", "KEY", "STATE"], &rows, paint);
        if self.replaces_machine {
            text += "\nThe machine is made anew: what was changed in it since its `create` goes.\n";
        }
        text
    }
}

impl Line {
    fn runs(stage: Stage, reason: &str) -> Self {
        Self {
            stage,
            key: None,
            cached: false,
            reason: reason.to_owned(),
            inputs: None,
        }
    }

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
        if let Some(lack) = makefile::lacks(&config.project) {
            app.events.warn(lack);
        }
        for file in project::from_elsewhere(&config.project) {
            app.events.note(format!("{} goes into the guest, too", file.display()));
        }
        let store = Store::at(&app.paths.cache);
        let machine = Instance::new(&app.paths, &config.name).record()?;
        if let Some(machine) = &machine {
            pipeline::refuse_imported(&config.name, machine)?;
        }
        let made = machine.and_then(|record| Some((record.guest, record.layer?)));
        let pinned = made.as_ref().filter(|(guest, _)| *guest == config.guest);
        let pinned = pinned.and_then(|(_, layer)| store.installed_from(layer));
        let features = app.hypervisor(&config)?.driver().features();
        let makings = Makings::of(&store, made.as_ref().map(|(_, layer)| layer));
        let foreseen = pipeline::plan_offline(&config, features, &app.paths, pinned.as_ref(), &makings, &app.cancel)?;
        let missing = self
            .offline
            .then(|| {
                let parts = Parts::gather(&config, &app.paths, None)?;
                pipeline::missing(
                    &config,
                    &app.paths,
                    features,
                    &parts,
                    pinned.as_ref(),
                    &makings,
                    &app.cancel,
                )
            })
            .transpose()?;
        if let Some(doubt) = missing.as_ref().and_then(|missing| missing.doubt.clone()) {
            app.events.warn(doubt);
        }
        let missing = missing.map(|missing| missing.things);
        let last = foreseen.as_ref().and_then(|foreseen| foreseen.plan.last());
        let own = made.as_ref().map(|(_, layer)| layer);
        let unknown = pipeline::first_unknown(&config, &app.paths);
        app.reporter.output(&Shown {
            replaces_machine: own.is_some_and(|layer| Some(&layer.key) != last),
            stages: lines(foreseen.as_ref(), &store, own, unknown)?,
            missing: missing.clone(),
        })?;
        match missing {
            Some(missing) if !missing.is_empty() => Err(not_kept(&missing).into()),
            _ => Ok(()),
        }
    }
}

fn lines(foreseen: Option<&Foreseen>, store: &Store, own: Option<&Base>, unknown: Option<Stage>) -> Result<Vec<Line>> {
    let mut lines = Vec::new();
    let mut is_known = true;
    if let Some(foreseen @ Foreseen { plan, .. }) = foreseen {
        let standing = plan.standing(store, own)?;
        let is_installed = standing.first() == Some(&Standing::Cached);
        lines.push(Line::runs(Stage::Media, media(foreseen, is_installed)));
        for (planned, standing) in plan.stages.iter().zip(standing) {
            is_known &= Some(planned.stage) != unknown;
            lines.push(Line {
                stage: planned.stage,
                key: is_known.then(|| planned.key.to_string()),
                cached: standing == Standing::Cached,
                reason: standing.reason().to_owned(),
                inputs: is_known.then(|| planned.inputs.clone()),
            });
        }
    } else {
        lines.push(Line::runs(Stage::Media, "the ISO is not in the cache"));
        let built = [Stage::Install, Stage::Docker, Stage::Account, Stage::Project];
        lines.extend(built.map(|stage| Line::runs(stage, "known once the ISO is")));
    }
    lines.push(Line::runs(Stage::Verify, "every run is checked"));
    Ok(lines)
}

/// What the first stage does.
fn media(foreseen: &Foreseen, is_installed: bool) -> &'static str {
    match (foreseen.has_iso, is_installed) {
        (true, true) if !foreseen.looks_at_iso => "nobody has to read the ISO",
        (true, _) => "the ISO is checked",
        (false, true) => "the ISO is not in the cache, and nobody has to read it",
        (false, false) => "the ISO is downloaded",
    }
}
