//! What a machine's stages took: kept in its folder, shown by `status --timings`.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::parts::Part;
use super::run::Run;
use crate::checkpoint::{Base, Layer};
use crate::event::Stage;

/// What the run took that made a machine as it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Timings {
    /// When that run ended; `None` where only the checkpoints are known.
    pub ended: Option<Timestamp>,
    /// How long it took, in seconds.
    pub seconds: Option<f64>,
    /// The checkpoint under the machine's disk.
    pub layer: Base,
    /// Its stages, in order.
    pub stages: Vec<StageTime>,
}

/// What one stage took.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StageTime {
    /// Which.
    pub stage: Stage,
    /// Whether the run took it from the cache: then the rest is about the run that made it.
    pub cached: bool,
    /// When it was made.
    pub made: Timestamp,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// What of that its parts took; none where an older version of this program made it.
    #[serde(default)]
    pub parts: Vec<Part>,
}

impl Timings {
    /// Those of a run that ends `now`, seconds after its beginning, and at the time `ended`.
    pub fn new(run: &Run, now: f64, ended: Timestamp, layer: &Base, layers: &[Layer]) -> Self {
        let of_run = |stage: Stage| {
            let stage_run = run.of(stage).filter(|run| !run.is_cached)?;
            Some(StageTime {
                stage,
                cached: false,
                made: ended,
                seconds: stage_run.end(now) - stage_run.from,
                parts: stage_run.parts(now),
            })
        };
        let stages = Stage::ALL.into_iter();
        Self {
            ended: Some(ended),
            seconds: Some(now),
            layer: layer.clone(),
            stages: stages
                .filter_map(|stage| of_run(stage).or_else(|| of_layers(stage, layers)))
                .collect(),
        }
    }

    /// What is known where no run was written down: what the checkpoints took. `layers` begins with the one under the
    /// machine's disk; `None` if that is not there.
    pub fn of_layers(layers: &[Layer]) -> Option<Self> {
        let layer = &layers.first()?.manifest.base;
        let stages = Stage::ALL.into_iter();
        Some(Self {
            ended: None,
            seconds: None,
            layer: layer.clone(),
            stages: stages.filter_map(|stage| of_layers(stage, layers)).collect(),
        })
    }
}

fn of_layers(stage: Stage, layers: &[Layer]) -> Option<StageTime> {
    let manifest = &layers.iter().find(|layer| layer.manifest.stage == stage)?.manifest;
    Some(StageTime {
        stage,
        cached: true,
        made: manifest.made,
        seconds: manifest.seconds,
        parts: manifest.parts.clone(),
    })
}
