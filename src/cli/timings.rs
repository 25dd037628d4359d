//! `provision status --timings`: where the time went.

use crate::report::{self, Output, Paint};
use crate::timing::{Part, StageTime, Timings, about};

impl Output for Timings {
    fn text(&self, paint: Paint) -> String {
        let heading = match (self.ended, self.seconds) {
            (Some(ended), Some(seconds)) => format!("the run that ended {ended:.0} took {}", report::seconds(seconds)),
            _ => "the run is not known, its checkpoints are".to_owned(),
        };
        let rows: Vec<[String; 3]> = self.stages.iter().flat_map(rows).collect();
        let table = report::table(["STAGE", "TIME", "WHAT"], &rows, paint);
        format!("{heading}\n\n{table}")
    }
}

/// A stage, and below it its parts.
fn rows(stage: &StageTime) -> Vec<[String; 3]> {
    let took = report::seconds(stage.seconds);
    let how = match (stage.cached, stage.parts.is_empty()) {
        (true, true) => format!("made {:.0}, its parts were not noted then", stage.made),
        (true, false) => format!("made {:.0}", stage.made),
        (false, _) => String::new(),
    };
    let took = if stage.cached {
        format!("cached, took {took}")
    } else {
        took
    };
    let part = |part: &Part| {
        let about = about(stage.stage, &part.name).to_owned();
        [format!("  {}", part.name), format!("  {}", short(part.seconds)), about]
    };
    let first = [stage.stage.to_string(), took, how];
    [first].into_iter().chain(stage.parts.iter().map(part)).collect()
}

/// Tenths count where there are few seconds.
fn short(seconds: f64) -> String {
    if seconds < 10.0 {
        return format!("{seconds:.1}s");
    }
    report::seconds(seconds)
}
