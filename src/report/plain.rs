//! Time-stamped lines for logs: no escape codes, nothing that moves.

use std::io::Write;
use std::time::{Duration, Instant};

use bytesize::ByteSize;
use jiff::Zoned;

use super::View;
use super::clean::{clean, one_line};
use super::course::Beat;
use super::failure::Failure;
use super::github;
use super::paint::Paint;
use super::times;
use crate::event::{Event, Forecast, Stage, Unit};

/// Progress is not told before this has passed: what is done in a moment needs no more words than what comes after it.
const MOMENT: Duration = Duration::from_secs(2);

/// From then on it is told when it has grown by this many hundredths …
const STEP: u64 = 10;

/// … or when this has passed since it was last told.
const PAUSE: Duration = Duration::from_secs(30);

/// The time left is told once in this time.
const ESTIMATE_PAUSE: Duration = Duration::from_secs(60);

/// Writes plain lines.
pub struct Plain<W> {
    to: W,
    paint: Paint,
    clock: fn() -> (Zoned, Instant),
    /// Whether this is a log by now: then each line has its time.
    is_log: bool,
    /// Whether GitHub's runner reads it, which takes some lines for commands.
    is_for_github: bool,
    /// The step that each stage is at.
    step: Option<(Stage, String)>,
    told: Option<Told>,
    /// When the time left was told last.
    estimated: Option<Instant>,
}

/// The progress that was told last, or seen first.
struct Told {
    /// Whether it was told, not only seen.
    is_said: bool,
    stage: Stage,
    unit: Unit,
    done: u64,
    percent: Option<u64>,
    at: Instant,
}

impl<W: Write> Plain<W> {
    /// Writes to `to`; `paint` is for the error at the end.
    pub fn new(to: W, paint: Paint) -> Self {
        Self {
            to,
            paint,
            clock: || (Zoned::now(), Instant::now()),
            is_log: false,
            is_for_github: false,
            step: None,
            told: None,
            estimated: None,
        }
    }

    /// The same for GitHub's runner: nothing in it is taken for a command.
    #[must_use]
    pub fn for_github(mut self) -> Self {
        self.is_for_github = true;
        self
    }

    #[cfg(test)]
    pub fn at(to: W, clock: fn() -> (Zoned, Instant)) -> Self {
        Self {
            clock,
            ..Self::new(to, Paint::NONE)
        }
    }

    fn time(&self) -> String {
        let (now, _) = (self.clock)();
        now.strftime("%H:%M:%S").to_string()
    }

    fn line(&mut self, label: &str, text: &str) {
        let line = format!("{} {label:<8} {}", self.time(), one_line(text));
        self.is_log = true;
        self.write(line.trim_end());
    }

    fn estimate(&mut self, stage: Stage, of_stage: f64, of_run: Option<f64>) {
        let (_, now) = (self.clock)();
        if self
            .estimated
            .is_some_and(|told| now.duration_since(told) < ESTIMATE_PAUSE)
        {
            return;
        }
        let words = times::forecast_words(of_stage, of_run);
        if let Some(words) = words.strip_prefix(", ") {
            self.estimated = Some(now);
            self.line(stage.name(), words);
        }
    }

    fn write(&mut self, text: &str) {
        let tamed = self.is_for_github.then(|| github::tame(text));
        let text = tamed.as_deref().unwrap_or(text);
        // A reader that has gone does not stop the work.
        let _ = writeln!(self.to, "{text}").and_then(|()| self.to.flush());
    }

    fn progress(&mut self, stage: Stage, done: u64, total: Option<u64>, unit: Unit) {
        let total = total.or((unit == Unit::Percent).then_some(100));
        let percent = times::percent(done, total);
        let (_, now) = (self.clock)();
        let before = self
            .told
            .as_ref()
            .filter(|told| (told.stage, told.unit) == (stage, unit));
        let is_said = before.is_some_and(|before| before.is_followed_by(done, percent, now));
        if is_said || before.is_none() {
            self.told = Some(Told {
                is_said,
                stage,
                unit,
                done,
                percent,
                at: now,
            });
        }
        if !is_said {
            return;
        }
        let step = self
            .step
            .as_ref()
            .filter(|(of, _)| *of == stage)
            .map_or("", |(_, text)| text);
        let text = [step.to_owned(), amount(done, total, unit, percent)].join(" ");
        self.line(stage.name(), text.trim_start());
    }
}

impl Told {
    /// Whether so much of the same is worth a line.
    fn is_followed_by(&self, done: u64, percent: Option<u64>, now: Instant) -> bool {
        let passed = now.duration_since(self.at);
        if !self.is_said {
            return passed >= MOMENT;
        }
        let whole = percent == Some(100) && self.percent != Some(100);
        let grown = percent
            .zip(self.percent)
            .is_some_and(|(new, old)| new >= old + STEP || new < old);
        whole || (grown && passed >= MOMENT) || (passed >= PAUSE && done != self.done)
    }
}

/// `(34%)`, `(12.0 MiB of 700.0 MiB, 1%)`.
fn amount(done: u64, total: Option<u64>, unit: Unit, percent: Option<u64>) -> String {
    let size = |bytes| ByteSize::b(bytes).display().iec().to_string();
    match (unit, total, percent) {
        (Unit::Bytes, Some(total), Some(percent)) => format!("({} of {}, {percent}%)", size(done), size(total)),
        (Unit::Bytes, ..) => format!("({})", size(done)),
        (Unit::Percent, _, percent) => format!("({}%)", percent.unwrap_or(done)),
    }
}

impl<W: Write + Send> View for Plain<W> {
    fn event(&mut self, event: &Event) {
        match event {
            Event::StageStarted {
                stage,
                reason,
                typical_seconds,
            } => {
                self.told = None;
                let typical = typical_seconds.map(|s| format!(", about {}", times::span(Duration::from_secs(s))));
                self.line(
                    stage.name(),
                    &format!("started: {reason}{}", typical.unwrap_or_default()),
                );
            }
            Event::StageCached { stage, .. } => self.line(stage.name(), "cached"),
            Event::StageDone { stage, seconds } => {
                self.line(stage.name(), &format!("done in {}", times::seconds(*seconds)));
            }
            Event::Step { stage, text } => {
                self.told = None;
                self.step = Some((*stage, text.clone()));
                self.line(stage.name(), text);
            }
            Event::Progress {
                stage,
                done,
                total,
                unit,
            } => self.progress(*stage, *done, *total, *unit),
            Event::Estimate {
                stage,
                seconds_left,
                run_seconds_left,
            } => self.estimate(*stage, seconds_left.now(), run_seconds_left.map(Forecast::now)),
            Event::Planned { .. } | Event::Part { .. } => {}
            Event::Output { stage, line, .. } => self.line(stage.name(), &format!("| {}", clean(line))),
            Event::Note { text } => self.line("note", text),
            Event::Warning { text } => self.line("warning", text),
            Event::Detail { text } => self.line("detail", text),
            Event::Check { rule, passed, detail } => {
                let verdict = if *passed { "ok" } else { "FAILED" };
                self.line("check", &format!("{verdict} {rule}: {detail}"));
            }
            Event::Ready {
                name,
                url,
                https_port,
                ssh_port,
            } => {
                let text = format!(
                    "{url} on port {https_port} of 127.0.0.1, `provision url --name {name}` tells how to open it; SSH on \
                     port {ssh_port}, `provision ssh --name {name}`"
                );
                self.line("ready", &text);
            }
        }
    }

    fn failure(&mut self, failure: &Failure) {
        let text = failure.text(self.paint);
        if !self.is_log {
            return self.write(&text);
        }
        let time = self.time();
        for line in text.lines() {
            self.write(&format!("{time} {line}"));
        }
    }

    fn beat(&mut self, beat: &Beat) {
        let label = beat.stage.map_or("waiting", Stage::name);
        self.line(label, &beat.words());
        // It told how far it is.
        let (_, now) = (self.clock)();
        if let Some(told) = &mut self.told {
            told.at = now;
        }
    }
}
