//! Listens to a run's events.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use jiff::Timestamp;

use super::course::Course;
use super::history::History;
use super::parts::Part;
use super::record::Timings;
use super::run::Run;
use super::trace::Trace;
use crate::checkpoint::{Base, Layer};
use crate::event::{Events, Stage};

/// Listens to the events of one run. A cheap handle.
#[derive(Debug, Clone)]
pub struct Recorder(Arc<Recording>);

#[derive(Debug)]
struct Recording {
    start: Instant,
    run: Mutex<Run>,
}

impl Recorder {
    /// Begins to record; `history` is what earlier runs on this host took.
    pub fn new(history: History) -> Self {
        Self(Arc::new(Recording {
            start: Instant::now(),
            run: Mutex::new(Run::new(history)),
        }))
    }

    /// A handle whose events are taken note of and passed on to `to`, with an estimate after those that tell how far it
    /// is.
    pub fn events(&self, to: &Events) -> Events {
        let (recorder, to) = (self.clone(), to.clone());
        Events::new(move |event| {
            let at = recorder.now();
            let estimate = recorder.run().take(&event, at);
            to.emit(event);
            if let Some(estimate) = estimate {
                to.emit(estimate);
            }
        })
    }

    /// How long a stage typically takes here, in whole seconds.
    pub fn typical_seconds(&self, stage: Stage) -> Option<u64> {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "whole, positive seconds are meant"
        )]
        let whole = |seconds: f64| seconds.max(0.0) as u64;
        self.run().typical(stage).map(|typical| whole(typical.course.seconds))
    }

    /// The parts of `stage` up to now.
    pub fn parts(&self, stage: Stage) -> Vec<Part> {
        let now = self.now();
        self.run().of(stage).map(|run| run.parts(now)).unwrap_or_default()
    }

    /// What the run took that made a machine on `layer`; of the stages that it took from the cache, what they took when
    /// their checkpoints were made, the lowest of `layers` last.
    pub fn timings(&self, layer: &Base, layers: &[Layer]) -> Timings {
        Timings::new(&self.run(), self.now(), Timestamp::now(), layer, layers)
    }

    /// The run as a trace; what has not ended ends now.
    pub fn trace(&self) -> Trace {
        Trace::new(&self.run(), self.now())
    }

    /// What later runs learn from: the courses of the stages that have ended well.
    pub fn ended(&self) -> Vec<(Stage, Course)> {
        self.run().ended()
    }

    fn now(&self) -> f64 {
        self.0.start.elapsed().as_secs_f64()
    }

    fn run(&self) -> MutexGuard<'_, Run> {
        // It is as good as before: nothing in there is changed in two steps.
        self.0.run.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
