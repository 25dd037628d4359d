//! What a run's events tell of its time. Pure: who listens says when each event came, in seconds after the run's beginning.

use super::course::{Course, Mark};
use super::estimate::{self, Typical};
use super::history::History;
use super::parts::{self, Part};
use crate::event::{Event, Stage, Unit};

/// More marks than this tell nothing more.
const MARKS: usize = 64;

/// A run so far.
#[derive(Debug, Clone, Default)]
pub struct Run {
    /// The stages that began, or were taken from the cache.
    pub stages: Vec<StageRun>,
    /// The stages that this run goes through.
    planned: Vec<Stage>,
    /// What is typical.
    history: History,
}

/// One stage of it.
#[derive(Debug, Clone, PartialEq)]
pub struct StageRun {
    /// Which.
    pub stage: Stage,
    /// When it began.
    pub from: f64,
    /// When it ended; `None` while it runs, and of one that failed.
    pub to: Option<f64>,
    /// Whether it was taken from the cache.
    pub is_cached: bool,
    /// When it went from one part to the next.
    pub spans: Vec<Span>,
    /// Whether the guest's own log tells its parts, which is better than what the steps tell.
    has_log: bool,
    /// What it came by.
    marks: Vec<Mark>,
}

/// A stretch of time in which a stage was at one part; it ends where the next begins.
#[derive(Debug, Clone, PartialEq)]
pub struct Span {
    /// The part.
    pub part: String,
    /// When it began.
    pub from: f64,
}

impl StageRun {
    fn new(stage: Stage, from: f64, is_cached: bool) -> Self {
        let first = Span {
            part: parts::first(stage).to_owned(),
            from,
        };
        Self {
            stage,
            from,
            to: is_cached.then_some(from),
            is_cached,
            spans: if is_cached { Vec::new() } else { vec![first] },
            has_log: false,
            marks: Vec::new(),
        }
    }

    fn part(&self) -> &str {
        self.spans.last().map_or("", |span| &span.part)
    }

    /// Goes on to another part. Gives whether that tells how far it is.
    fn begin(&mut self, part: String, at: f64) -> bool {
        if self.part() == part {
            return false;
        }
        let before = self.spans.iter().filter(|span| span.part == part).count();
        let is_new = match before {
            0 => self.mark(part.clone(), at),
            _ => self.mark(format!("{part} {}", before + 1), at),
        };
        self.spans.push(Span { part, from: at });
        is_new
    }

    /// Notes the first time that something is come by. Gives whether it is.
    fn mark(&mut self, name: String, at: f64) -> bool {
        let is_new = self.marks.len() < MARKS && self.marks.iter().all(|mark| mark.name != name);
        if is_new {
            let at = at - self.from;
            self.marks.push(Mark { name, at });
        }
        is_new
    }

    /// When it ended, or `now`.
    pub fn end(&self, now: f64) -> f64 {
        self.to.unwrap_or(now)
    }

    /// Its spans with their ends, those that took no time left out.
    pub fn spans(&self, now: f64) -> impl Iterator<Item = (&str, f64, f64)> {
        let ends = self.spans.iter().skip(1).map(|span| span.from).chain([self.end(now)]);
        let spans = self.spans.iter().zip(ends);
        spans
            .map(|(span, to)| (span.part.as_str(), span.from, to))
            .filter(|(_, from, to)| to > from)
    }

    /// Its parts, in the order in which they first began.
    pub fn parts(&self, now: f64) -> Vec<Part> {
        let mut all: Vec<Part> = Vec::new();
        for (name, from, to) in self.spans(now) {
            match all.iter_mut().find(|part| part.name == name) {
                Some(part) => part.seconds += to - from,
                None => all.push(Part {
                    name: name.to_owned(),
                    seconds: to - from,
                }),
            }
        }
        all
    }

    /// Its course, once it has ended well.
    pub fn course(&self) -> Option<Course> {
        let seconds = self.to.filter(|_| !self.is_cached)? - self.from;
        let marks = self.marks.clone();
        Some(Course { seconds, marks })
    }
}

impl Run {
    /// A run of which nothing is known yet.
    pub fn new(history: History) -> Self {
        Self {
            history,
            ..Self::default()
        }
    }

    /// The typical course of a stage here. To verify a machine that runs takes a moment, which tells nothing of those that
    /// boot for it: such runs are not announced.
    pub fn typical(&self, stage: Stage) -> Option<Typical> {
        self.history.typical(stage).filter(|_| self.is_usual(stage))
    }

    fn is_usual(&self, stage: Stage) -> bool {
        stage != Stage::Verify || self.planned.contains(&stage)
    }

    /// The courses of the stages that have ended well, for later runs to learn from.
    pub fn ended(&self) -> Vec<(Stage, Course)> {
        let usual = self
            .stages
            .iter()
            .filter(|run| run.stage != Stage::Media && self.is_usual(run.stage));
        usual.filter_map(|run| Some((run.stage, run.course()?))).collect()
    }

    /// The last run of `stage`.
    pub fn of(&self, stage: Stage) -> Option<&StageRun> {
        self.stages.iter().rfind(|run| run.stage == stage)
    }

    /// Takes note of an event that came `at`, and gives the estimate that follows from it.
    pub fn take(&mut self, event: &Event, at: f64) -> Option<Event> {
        self.note(event, at).filter(|tells| *tells)?;
        self.estimate(at)
    }

    /// Takes note of an event. Gives whether it tells how far the run is.
    fn note(&mut self, event: &Event, at: f64) -> Option<bool> {
        match event {
            Event::Planned { stages } => self.planned.clone_from(stages),
            Event::StageStarted { stage, .. } => {
                self.stages.push(StageRun::new(*stage, at, false));
                return Some(true);
            }
            Event::StageCached { stage, .. } => self.stages.push(StageRun::new(*stage, at, true)),
            Event::StageDone { stage, .. } => self.open(*stage)?.to = Some(at),
            Event::Part { stage, part } => {
                let run = self.open(*stage)?;
                run.has_log = true;
                return Some(run.begin(part.clone(), at));
            }
            Event::Step { stage, text } => {
                let run = self.open(*stage).filter(|run| !run.has_log)?;
                return Some(run.begin(parts::of_step(*stage, text), at));
            }
            Event::Output { stage, line, .. } => {
                let run = self.open(*stage)?;
                let part = parts::of_output(*stage, line, run.part())?;
                return Some(run.begin(part.to_owned(), at));
            }
            Event::Check { .. } => return Some(self.open(Stage::Verify)?.begin("checks".to_owned(), at)),
            Event::Progress {
                stage,
                done,
                unit: Unit::Percent,
                ..
            } => return Some(self.open(*stage)?.mark(format!("{done}%"), at)),
            _ => {}
        }
        None
    }

    fn open(&mut self, stage: Stage) -> Option<&mut StageRun> {
        let last = self.stages.last_mut()?;
        (last.stage == stage && last.to.is_none()).then_some(last)
    }

    fn estimate(&self, at: f64) -> Option<Event> {
        let now = self.stages.last().filter(|run| run.to.is_none())?;
        let typical = self.typical(now.stage)?;
        let (done, typically) = self.done();
        let weight = typical.weight();
        let before = estimate::pace(done, typically, weight, 1.0);
        let seconds_left = estimate::of_stage(&typical, &now.marks, at - now.from, before);
        let (seen_at, typical_at) = estimate::farthest(&typical.course, &now.marks);
        let pace = estimate::pace(done + seen_at, typically + typical_at, weight, 1.0);
        let to_come = self.to_come().filter_map(|stage| self.history.typical(stage));
        let rest = pace * to_come.map(|typical| typical.course.seconds).sum::<f64>();
        let is_known = !self.planned.is_empty();
        Some(Event::Estimate {
            stage: now.stage,
            seconds_left,
            run_seconds_left: is_known.then(|| seconds_left.and_then(rest, weight + done + at - now.from)),
        })
    }

    /// How long the stages that have ended took, and how long they typically take.
    fn done(&self) -> (f64, f64) {
        let both = |run: &StageRun| Some((run.course()?.seconds, self.history.typical(run.stage)?.course.seconds));
        let all = self.stages.iter().filter_map(both);
        all.fold((0.0, 0.0), |(a, b), (c, d)| (a + c, b + d))
    }

    /// The stages of the run that have not begun.
    fn to_come(&self) -> impl Iterator<Item = Stage> {
        self.planned.iter().copied().filter(|stage| self.of(*stage).is_none())
    }
}
