//! What a person sees at a terminal: finished stages as lines, below them the running one with its bar and the last
//! lines that the guest printed.

use std::io::Write;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use super::View;
use super::clean::{clean, one_line};
use super::failure::Failure;
use super::paint::Paint;
use super::times;
use crate::event::{Event, Forecast, Stage, Unit};

/// How many of the guest's last lines are shown.
const TAIL: usize = 5;

/// How often what moves is drawn.
const TICK: Duration = Duration::from_millis(120);

/// Draws for a person.
pub struct Person<W> {
    /// Where lines that stay are written.
    to: W,
    /// Where what moves is drawn, below those lines.
    screen: MultiProgress,
    paint: Paint,
    verbose: bool,
    running: Option<Running>,
}

/// The stage that runs.
struct Running {
    stage: Stage,
    since: Instant,
    left: Left,
    shape: Shape,
    bar: ProgressBar,
    tail: Vec<ProgressBar>,
}

/// What is known of the time left: a typical length at first, then estimates.
#[derive(Debug, Clone, Copy)]
enum Left {
    Typical(Option<Duration>),
    Estimated(Instant, Forecast, Option<Forecast>),
}

impl Left {
    fn words(self, elapsed: Duration, fraction: Option<f64>) -> String {
        match self {
            Self::Typical(typical) => times::left_words(times::left(elapsed, typical, fraction)),
            Self::Estimated(at, of_stage, of_run) => {
                let passed = at.elapsed().as_secs_f64();
                times::forecast_words(of_stage.after(passed), of_run.map(|of_run| of_run.after(passed)))
            }
        }
    }
}

/// What the bar shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// That something moves.
    Spinner,
    /// Hundredths.
    Percent,
    /// Bytes of a known number.
    Bytes,
    /// Bytes of an unknown number.
    Flow,
}

impl Shape {
    const fn of(unit: Unit, total: Option<u64>) -> Self {
        match (unit, total) {
            (Unit::Percent, _) => Self::Percent,
            (Unit::Bytes, Some(_)) => Self::Bytes,
            (Unit::Bytes, None) => Self::Flow,
        }
    }

    /// The template; the step comes last and is cut where the line ends.
    const fn template(self) -> &'static str {
        match self {
            Self::Spinner => "{spinner} {prefix} {clock}{left}  {wide_msg}",
            Self::Percent => "{spinner} {prefix} {bar:20} {percent:>3}%  {clock}{left}  {wide_msg}",
            Self::Bytes => {
                "{spinner} {prefix} {bar:20} {percent:>3}%  {binary_bytes} of {binary_total_bytes}, \
                 {binary_bytes_per_sec}, {clock}{left}  {wide_msg}"
            }
            Self::Flow => "{spinner} {prefix} {binary_bytes}, {binary_bytes_per_sec}, {clock}  {wide_msg}",
        }
    }

    fn style(self, left: Left) -> ProgressStyle {
        let style = ProgressStyle::with_template(self.template()).unwrap_or_else(|_| ProgressStyle::default_bar());
        style
            .progress_chars("█▌░")
            .with_key("clock", |state: &ProgressState, to: &mut dyn std::fmt::Write| {
                // Writing into a string cannot fail.
                let _ = to.write_str(&times::span(state.elapsed()));
            })
            .with_key("left", move |state: &ProgressState, to: &mut dyn std::fmt::Write| {
                let fraction = state.len().map(|_| f64::from(state.fraction()));
                let _ = to.write_str(&left.words(state.elapsed(), fraction));
            })
    }
}

impl<W: Write> Person<W> {
    /// Writes to `to` and draws on `target`, which is the same terminal; with `verbose` the guest's lines are kept,
    /// not only the last ones shown.
    pub fn new(to: W, target: ProgressDrawTarget, paint: Paint, verbose: bool) -> Self {
        Self {
            to,
            screen: MultiProgress::with_draw_target(target),
            paint,
            verbose,
            running: None,
        }
    }

    fn print(&mut self, text: &str) {
        let to = &mut self.to;
        // A terminal that has gone does not stop the work.
        let _ = self.screen.suspend(|| writeln!(to, "{text}").and_then(|()| to.flush()));
    }

    /// The running stage; one that did not announce itself (a machine that is only started) begins with its first
    /// step.
    fn running(&mut self, stage: Stage) -> &mut Running {
        let kept = self.running.take().filter(|running| running.stage == stage);
        if kept.is_none() {
            self.clear();
        }
        let running = kept.unwrap_or_else(|| self.begin(stage, None));
        self.running.insert(running)
    }

    fn begin(&self, stage: Stage, typical: Option<Duration>) -> Running {
        let (shape, left) = (Shape::Spinner, Left::Typical(typical));
        let bar = self.screen.add(ProgressBar::no_length());
        bar.set_style(shape.style(left));
        bar.set_prefix(self.paint.bold(format!("{stage:<8}")));
        bar.enable_steady_tick(TICK);
        Running {
            stage,
            since: Instant::now(),
            left,
            shape,
            bar,
            tail: Vec::new(),
        }
    }

    /// Takes what moves from the screen.
    fn clear(&mut self) -> Option<Stage> {
        let running = self.running.take()?;
        for bar in running.tail.iter().chain([&running.bar]) {
            bar.finish_and_clear();
            self.screen.remove(bar);
        }
        Some(running.stage)
    }

    fn progress(&mut self, stage: Stage, done: u64, total: Option<u64>, unit: Unit) {
        let running = self.running(stage);
        let shape = Shape::of(unit, total);
        if running.shape != shape {
            running.shape = shape;
            running.bar.set_style(shape.style(running.left));
        }
        match (unit, total) {
            (Unit::Percent, None) => running.bar.set_length(100),
            (_, Some(total)) => running.bar.set_length(total),
            (Unit::Bytes, None) => running.bar.unset_length(),
        }
        running.bar.set_position(done);
    }

    fn output(&mut self, stage: Stage, line: &str) {
        let text = self.paint.dim(format!("  │ {}", clean(line)));
        if self.verbose {
            return self.print(&text);
        }
        let screen = self.screen.clone();
        let running = self.running(stage);
        if running.tail.len() < TAIL {
            let bar = screen.add(ProgressBar::no_length());
            bar.set_style(ProgressStyle::with_template("{wide_msg}").unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.set_message(text);
            running.tail.push(bar);
            return;
        }
        let moved: Vec<String> = running
            .tail
            .iter()
            .skip(1)
            .map(ProgressBar::message)
            .chain([text])
            .collect();
        for (bar, message) in running.tail.iter().zip(moved) {
            bar.set_message(message);
        }
    }

    fn finished(&mut self, stage: Stage, how: &str) {
        self.clear();
        let mark = self.paint.green("✔");
        self.print(&format!("{mark} {stage:<8} {how}"));
    }

    fn check(&mut self, rule: &str, passed: bool, detail: &str) {
        let mark = if passed {
            self.paint.green("✔")
        } else {
            self.paint.red("✘")
        };
        let detail = self.paint.dim(one_line(detail));
        self.print(&format!("  {mark} {}  {detail}", clean(rule)));
    }

    fn ready(&mut self, name: &str, url: &str, https_port: u16, ssh_port: u16) {
        self.clear();
        let paint = self.paint;
        self.print(&format!("\n{} is ready", paint.bold(name)));
        let rows = [
            ("site", url.to_owned(), format!("port {https_port} on 127.0.0.1")),
            (
                "open",
                format!("provision url --name {name}"),
                "how to reach it from here".to_owned(),
            ),
            (
                "shell",
                format!("provision ssh --name {name}"),
                format!("port {ssh_port} on 127.0.0.1"),
            ),
        ];
        let width = rows.iter().map(|(_, what, _)| what.len()).max().unwrap_or(0);
        for (label, what, more) in rows {
            self.print(&format!(
                "  {label:<6} {}  {}",
                paint.cyan(format!("{what:<width$}")),
                paint.dim(more)
            ));
        }
    }
}

impl<W: Write + Send> View for Person<W> {
    fn event(&mut self, event: &Event) {
        match event {
            Event::StageStarted {
                stage,
                reason,
                typical_seconds,
            } => {
                self.clear();
                let running = self.begin(*stage, typical_seconds.map(Duration::from_secs));
                running.bar.set_message(one_line(reason));
                self.running = Some(running);
            }
            Event::StageCached { stage, .. } => {
                let how = self.paint.dim("cached");
                self.finished(*stage, &how);
            }
            Event::StageDone { stage, seconds } => self.finished(*stage, &times::seconds(*seconds)),
            Event::Step { stage, text } => {
                let running = self.running(*stage);
                // The transfer of the step before is over; hundredths are the whole stage's.
                if matches!(running.shape, Shape::Bytes | Shape::Flow) {
                    running.shape = Shape::Spinner;
                    running.bar.set_style(running.shape.style(running.left));
                }
                running.bar.set_message(one_line(text));
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
            } => {
                let running = self.running(*stage);
                running.left = Left::Estimated(Instant::now(), *seconds_left, *run_seconds_left);
                running.bar.set_style(running.shape.style(running.left));
            }
            Event::Planned { .. } | Event::Part { .. } => {}
            Event::Output { stage, line, .. } => self.output(*stage, line),
            Event::Note { text } => self.print(&format!("  {}", one_line(text))),
            Event::Warning { text } => {
                let label = self.paint.yellow("warning:");
                self.print(&format!("{label} {}", one_line(text)));
            }
            Event::Detail { text } => {
                let text = self.paint.dim(format!("  {}", one_line(text)));
                self.print(&text);
            }
            Event::Check { rule, passed, detail } => self.check(rule, *passed, detail),
            Event::Ready {
                name,
                url,
                https_port,
                ssh_port,
            } => self.ready(name, url, *https_port, *ssh_port),
        }
    }

    fn failure(&mut self, failure: &Failure) {
        let since = self.running.as_ref().map(|running| running.since);
        if let (Some(stage), Some(since)) = (self.clear(), since) {
            let mark = self.paint.red("✘");
            self.print(&format!("{mark} {stage:<8} {}", times::span(since.elapsed())));
        }
        self.print(&failure.text(self.paint));
    }

    fn end(&mut self) {
        self.clear();
    }
}
