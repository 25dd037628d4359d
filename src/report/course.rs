//! The course of a run so far, read from its events: which stages ran, what was checked, what is being done now.

use std::time::{Duration, Instant};

use serde::Serialize;

use super::clean::one_line;
use super::times;
use crate::event::{Event, Stage, Unit};

/// The course of one run.
#[derive(Debug, Clone)]
pub struct Course {
    /// The stages in the order in which they were told of.
    pub stages: Vec<Leg>,
    /// The checks in the order in which they were made.
    pub checks: Vec<Checked>,
    began: Instant,
    now: Doing,
    /// When the verify stage was heard of last: between two checks lies the time of the second.
    verified: Option<Instant>,
}

/// One stage of the course.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leg {
    /// Which.
    pub stage: Stage,
    /// What became of it.
    pub end: End,
}

/// What became of a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It was taken from the cache.
    Cached,
    /// It ran, and took this long.
    Done(Duration),
    /// It runs, or something ended it; it began then.
    Open(Instant),
}

/// One rule that was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// The rule's name.
    pub rule: String,
    /// Whether it holds.
    pub passed: bool,
    /// What was seen.
    pub detail: String,
    /// How long the check took.
    pub time: Duration,
}

/// What is being done.
#[derive(Debug, Clone)]
struct Doing {
    stage: Option<Stage>,
    /// The step, or what was said last before the first stage; may be empty.
    text: String,
    since: Instant,
    done: Option<(Unit, u64)>,
}

/// That something still goes on: what, since when, how far.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Beat {
    /// The stage at work, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stage: Option<Stage>,
    /// Its step; empty where none was told.
    pub text: String,
    /// How long the step lasts so far.
    pub seconds: u64,
    /// How much of it is done, in hundredths.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub percent: Option<u64>,
}

impl Course {
    /// A run that begins.
    pub const fn new(began: Instant) -> Self {
        Self {
            stages: Vec::new(),
            checks: Vec::new(),
            began,
            now: Doing {
                stage: None,
                text: String::new(),
                since: began,
                done: None,
            },
            verified: None,
        }
    }

    /// Takes note of an event that came at `at`.
    pub fn note(&mut self, event: &Event, at: Instant) {
        match event {
            Event::StageStarted { stage, .. } => {
                self.leg(*stage, End::Open(at));
                self.begin(Some(*stage), "", at);
            }
            Event::StageCached { stage, .. } => {
                self.leg(*stage, End::Cached);
                self.begin(None, "", at);
            }
            Event::StageDone { stage, seconds } => {
                let time = Duration::try_from_secs_f64(*seconds).unwrap_or_default();
                self.stages
                    .retain(|leg| leg.stage != *stage || !matches!(leg.end, End::Open(_)));
                self.leg(*stage, End::Done(time));
                self.begin(None, "", at);
            }
            Event::Step { stage, text } => {
                // Hundredths are the whole stage's; a transfer is over with its step.
                let whole = self.now.done.filter(|(unit, _)| *unit == Unit::Percent);
                let whole = whole.filter(|_| self.now.stage == Some(*stage));
                self.begin(Some(*stage), text, at);
                self.now.done = whole;
            }
            Event::Progress {
                stage,
                done,
                total,
                unit,
            } if self.now.stage == Some(*stage) => {
                let total = total.or((*unit == Unit::Percent).then_some(100));
                self.now.done = times::percent(*done, total).map(|percent| (*unit, percent));
            }
            Event::Note { text } if self.now.stage.is_none() => self.begin(None, text, at),
            Event::Check { rule, passed, detail } => self.checks.push(Checked {
                rule: rule.clone(),
                passed: *passed,
                detail: detail.clone(),
                time: self.verified.map_or(Duration::ZERO, |before| at.duration_since(before)),
            }),
            _ => {}
        }
        if matches!(
            event,
            Event::Check { .. }
                | Event::Step {
                    stage: Stage::Verify,
                    ..
                }
        ) {
            self.verified = Some(at);
        }
    }

    fn leg(&mut self, stage: Stage, end: End) {
        self.stages.push(Leg { stage, end });
    }

    fn begin(&mut self, stage: Option<Stage>, text: &str, since: Instant) {
        self.now = Doing {
            stage,
            text: one_line(text),
            since,
            done: None,
        };
    }

    /// What goes on at `at`.
    pub fn beat(&self, at: Instant) -> Beat {
        Beat {
            stage: self.now.stage,
            text: self.now.text.clone(),
            seconds: at.saturating_duration_since(self.now.since).as_secs(),
            percent: self.now.done.map(|(_, percent)| percent),
        }
    }

    /// The stage at work: what a failure belongs to.
    pub const fn stage(&self) -> Option<Stage> {
        self.now.stage
    }

    /// How long the run lasts at `at`.
    pub fn time(&self, at: Instant) -> Duration {
        at.saturating_duration_since(self.began)
    }

    /// In what the time of the run is over: `in the stage media: downloading …, for 3m30s`.
    pub fn place(&self, at: Instant) -> String {
        let beat = self.beat(at);
        let text = (!beat.text.is_empty()).then(|| format!(": {}", beat.text));
        let text = text.unwrap_or_default();
        match beat.stage {
            Some(stage) => {
                let time = times::span(Duration::from_secs(beat.seconds));
                format!("in the stage {stage}{text}, for {time}")
            }
            // Most commands have none.
            None if self.stages.is_empty() && text.is_empty() => String::new(),
            None if self.stages.is_empty() => format!("before the first stage{text}"),
            None => format!("between two stages{text}"),
        }
    }
}

impl Beat {
    /// `still partitioning, 3m30s so far (42%)`.
    pub fn words(&self) -> String {
        let time = times::span(Duration::from_secs(self.seconds));
        let percent = self.percent.map(|percent| format!(" ({percent}%)")).unwrap_or_default();
        match (self.stage, self.text.as_str()) {
            (_, "") => format!("still at work, {time} so far{percent}"),
            (Some(_), text) => format!("still {text}, {time} so far{percent}"),
            (None, text) => format!("still at work, {time} so far{percent}: {text}"),
        }
    }
}

#[cfg(test)]
mod tests;
