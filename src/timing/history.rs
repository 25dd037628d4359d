//! How long stages took on this host: kept in the cache, for the estimates of later runs.
//!
//! A stage counts where it ran under the same conditions: accelerator, number of CPUs, guest. Where none did, a table of
//! typical ones counts. Nothing but estimates depends on this file: whatever is wrong with it is passed over.

use std::path::{Path, PathBuf};

use anyhow::Result;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::course::Course;
use super::estimate::Typical;
use super::{typical, write_json};
use crate::event::Stage;

const FILE: &str = "history.json";

/// So many runs of a stage under the same conditions are remembered …
const KEPT: usize = 5;

/// … and so many in all.
const KEPT_IN_ALL: usize = 200;

/// How much this host's own runs are trusted, and how much the table, which knows nothing of it: see [`Typical`].
const TRUST_OWN: f64 = 0.03;
const TRUST_TABLE: f64 = 0.005;

/// A file that is larger was not written by this program.
const LARGEST: u64 = 4 << 20;

/// Under which conditions a stage runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Situation {
    /// What runs the guest's instructions: `kvm`, `hvf`, `tcg`, or the program's name where it says no more.
    pub accelerator: String,
    /// Virtual CPUs.
    pub cpus: u32,
    /// The guest definition.
    pub guest: String,
    /// The machine: how long its project takes is its own affair.
    pub machine: String,
}

impl Default for Situation {
    fn default() -> Self {
        Self {
            accelerator: "tcg".to_owned(),
            cpus: 2,
            guest: String::new(),
            machine: String::new(),
        }
    }
}

impl Situation {
    fn is_like(&self, other: &Self) -> bool {
        (&self.accelerator, self.cpus, &self.guest) == (&other.accelerator, other.cpus, &other.guest)
    }
}

/// One run of a stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Kept {
    stage: Stage,
    #[serde(flatten)]
    situation: Situation,
    ended: Timestamp,
    #[serde(flatten)]
    course: Course,
}

/// What is known of earlier runs, and under which conditions this one runs.
#[derive(Debug, Clone, Default)]
pub struct History {
    kept: Vec<Kept>,
    situation: Situation,
}

impl History {
    /// What the cache in `cache` tells for a run in `situation`.
    pub fn read(cache: &Path, situation: Situation) -> Self {
        let is_small = |file: &PathBuf| std::fs::metadata(file).is_ok_and(|data| data.len() <= LARGEST);
        let file = Some(cache.join(FILE)).filter(is_small);
        let bytes = file.and_then(|file| std::fs::read(file).ok()).unwrap_or_default();
        let kept = parse(&bytes);
        Self { kept, situation }
    }

    /// Writes it into the cache in `cache`. Of two runs that end at the same moment one may be forgotten.
    ///
    /// # Errors
    /// When it cannot be written; the former one stays then.
    pub fn write(&self, cache: &Path) -> Result<()> {
        write_json(&cache.join(FILE), &json!({ "runs": self.kept }))
    }

    /// The same with the runs of stages that have ended.
    #[must_use]
    pub fn with(mut self, ended: Vec<(Stage, Course)>, at: Timestamp) -> Self {
        for (stage, course) in ended.into_iter().filter(|(_, course)| course.is_sound()) {
            self.kept.push(Kept {
                stage,
                situation: self.situation.clone(),
                ended: at,
                course,
            });
        }
        self.kept = bounded(self.kept);
        self
    }

    /// The typical course of a stage: of this machine where it is the project's, else of every machine.
    pub fn typical(&self, stage: Stage) -> Option<Typical> {
        let like = self
            .kept
            .iter()
            .filter(|kept| kept.stage == stage && kept.situation.is_like(&self.situation));
        let (own, others): (Vec<&Kept>, Vec<&Kept>) = like.partition(|kept| {
            let is_own_affair = matches!(stage, Stage::Project | Stage::Verify);
            !is_own_affair || kept.situation.machine == self.situation.machine
        });
        let known = if own.is_empty() { others } else { own };
        let courses: Vec<&Course> = known.iter().rev().take(KEPT).rev().map(|kept| &kept.course).collect();
        let own = Course::typical(&courses).map(|course| Typical {
            course,
            trust: TRUST_OWN,
        });
        let table = || {
            let course = typical::course(stage, &self.situation.accelerator)?;
            Some(Typical {
                course,
                trust: TRUST_TABLE,
            })
        };
        own.or_else(table)
    }
}

/// What of a history's file can be understood; nothing of one that is damaged.
fn parse(bytes: &[u8]) -> Vec<Kept> {
    let file: Value = serde_json::from_slice(bytes).unwrap_or_default();
    let runs = file["runs"].as_array().cloned().unwrap_or_default();
    let kept = runs.into_iter().filter_map(|run| serde_json::from_value(run).ok());
    bounded(kept.filter(|kept: &Kept| kept.course.is_sound()).collect())
}

/// The newest runs of each stage under each conditions, in order.
fn bounded(all: Vec<Kept>) -> Vec<Kept> {
    let mut newest: Vec<Kept> = Vec::new();
    for run in all.into_iter().rev() {
        let same = |kept: &&Kept| kept.stage == run.stage && kept.situation == run.situation;
        if newest.iter().filter(same).count() < KEPT && newest.len() < KEPT_IN_ALL {
            newest.push(run);
        }
    }
    newest.reverse();
    newest
}
