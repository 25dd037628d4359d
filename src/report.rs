//! What the user sees: a person at a terminal, a log, or a program. The only part that prints.
//!
//! What happens goes to standard error, results go to standard output; with `--json` both go to standard output, one
//! object a line. Each has `event` and `time`; that of a result is `result`, and a list is a result for each item.

mod ask;
mod clean;
mod course;
mod desk;
mod failure;
mod github;
mod heartbeat;
mod json;
mod junit;
mod paint;
mod person;
mod plain;
mod records;
mod summary;
mod table;
mod terminal;
mod times;

use std::io::{self, IsTerminal as _, Write};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::cli::Global;
use crate::event::{Event, Events, Stream};
use crate::fault::{Cause, Fault};
use course::Beat;
use desk::{Desk, Written};
use heartbeat::Heart;

pub use ask::confirm;
pub use failure::Failure;
pub use paint::Paint;
pub use records::Records;
pub use table::table;
pub use times::seconds;

/// How much is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verbosity {
    /// Results, warnings and errors.
    Quiet,
    /// Stages and their progress too.
    Normal,
    /// Everything.
    Verbose,
}

impl Verbosity {
    fn of(global: &Global) -> Self {
        match (global.quiet, global.verbose) {
            (true, _) => Self::Quiet,
            (_, true) => Self::Verbose,
            _ => Self::Normal,
        }
    }

    /// Whether `event` is told.
    fn tells(self, event: &Event) -> bool {
        match event {
            Event::Warning { .. } | Event::Ready { .. } | Event::Check { passed: false, .. } => true,
            Event::Detail { .. } => self == Self::Verbose,
            _ => self > Self::Quiet,
        }
    }
}

/// A way to show what happens.
trait View: Send {
    /// Shows an event.
    fn event(&mut self, event: &Event);
    /// Shows the error that ends the command.
    fn failure(&mut self, failure: &Failure);
    /// Shows a result to a program; a person's is printed as text.
    ///
    /// # Errors
    /// When it cannot be written.
    fn result(&mut self, _: &serde_json::Value) -> io::Result<()> {
        Ok(())
    }
    /// Shows that something goes on, after nothing was told for a while; a person sees that something moves.
    fn beat(&mut self, _: &Beat) {}

    /// Nothing more will come: leaves the screen tidy.
    fn end(&mut self) {}
}

/// A result of a command, as text for a person and as a value for a program.
pub trait Output: Serialize {
    /// The text, with or without a line end.
    fn text(&self, paint: Paint) -> String;
}

/// Shows events, results and the error of one command.
#[derive(Clone)]
pub struct Reporter {
    desk: Arc<Mutex<Desk>>,
    heart: Arc<Mutex<Option<Heart>>>,
    records: Arc<Records>,
    verbosity: Verbosity,
    json: bool,
    paint: Paint,
}

impl Reporter {
    /// The way that the user asked for, and that suits where the output goes. `records` says what is left beside it.
    pub fn new(global: &Global, records: Records) -> Self {
        let verbosity = Verbosity::of(global);
        let shows = |is_terminal: bool| is_terminal && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        let terminal = shows(io::stderr().is_terminal());
        let is_for_person = terminal && !global.json && verbosity > Verbosity::Quiet;
        let is_for_github = github::is_runner() && !is_for_person;
        let paint = Paint::new(global.color, terminal);
        let written = Written::default();
        let view: Box<dyn View> = if global.json {
            Box::new(json::Json::new(written.watch(io::stdout())))
        } else if is_for_person {
            let target = terminal::target();
            let verbose = verbosity == Verbosity::Verbose;
            Box::new(person::Person::new(io::stderr(), target, paint, verbose))
        } else {
            let plain = plain::Plain::new(written.watch(io::stderr()), paint);
            Box::new(if is_for_github { plain.for_github() } else { plain })
        };
        // Standard output is for JSON alone; the runner reads both.
        let annotations = is_for_github.then(|| github::Annotations::new(io::stderr()));
        let desk = Desk::new(view, written, annotations, Instant::now());
        Self {
            desk: Arc::new(Mutex::new(desk)),
            heart: Arc::default(),
            records: Arc::new(Records {
                // A person sees that something moves, and who wants quiet wants no sign of life.
                beats: records.beats && !is_for_person && verbosity > Verbosity::Quiet,
                ..records
            }),
            verbosity,
            json: global.json,
            paint: Paint::new(global.color, shows(io::stdout().is_terminal())),
        }
    }

    /// For a program whose command line could not be understood.
    pub fn for_program() -> Self {
        let global = Global {
            json: true,
            ..Global::default()
        };
        Self::new(&global, Records::default())
    }

    /// A command begins: makes sure that its records can be written, and shows signs of life from now on.
    ///
    /// # Errors
    /// When a record cannot be written.
    pub fn begin(&self) -> Result<()> {
        self.records.begin()?;
        if self.records.beats {
            *lock(&self.heart) = Some(Heart::start(Arc::clone(&self.desk), heartbeat::PERIOD));
        }
        Ok(())
    }

    /// In what the time of the run is over if it is over now.
    pub fn place(&self) -> String {
        self.desk().course.place(Instant::now())
    }

    /// The command has ended with `result`: writes its records, shows its error, and tells the exit code.
    pub fn finish(&self, result: Result<ExitCode>) -> ExitCode {
        let heart = lock(&self.heart).take();
        if let Some(heart) = heart {
            heart.stop();
        }
        let course = self.desk().course.clone();
        let result = self.records.keep(&course, result, &self.events());
        if let Err(error) = &result {
            self.desk().failure(&Failure::of(error));
        }
        self.end();
        result.unwrap_or_else(|error| ExitCode::from(Fault::exit_code(&error)))
    }

    /// A handle for what emits events.
    pub fn events(&self) -> Events {
        let reporter = self.clone();
        Events::new(move |event| {
            let is_told = reporter.verbosity.tells(&event);
            reporter.desk().event(&event, is_told, Instant::now());
        })
    }

    /// Prints a result on standard output. A reader that has gone is no error.
    ///
    /// # Errors
    /// When standard output cannot be written.
    pub fn output(&self, output: &impl Output) -> Result<()> {
        self.stream(output).or_else(quietly)
    }

    /// Like [`Reporter::output`], for one of many: a reader that has gone is an error, which [`reader_has_gone`] tells,
    /// so that whoever makes the next one can stop.
    ///
    /// # Errors
    /// When standard output cannot be written.
    pub fn stream(&self, output: &impl Output) -> Result<()> {
        self.end();
        if self.json {
            let value = serde_json::to_value(output).context("writing the result as JSON")?;
            return self.desk().result(&value).context("writing the output");
        }
        let text = format!("{}\n", output.text(self.paint).trim_end_matches('\n'));
        relay(Stream::Stdout, text.as_bytes())
    }

    /// Whether a program reads the results.
    pub const fn is_json(&self) -> bool {
        self.json
    }

    /// Removes what moves from the screen, before something else writes on it.
    pub fn end(&self) {
        self.desk().end();
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        lock(&self.desk)
    }
}

/// A view that panicked while drawing is still the best one to show an error with.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Passes bytes of a program in the guest on, unchanged.
///
/// # Errors
/// When the stream cannot be written; [`reader_has_gone`] tells whether that matters.
pub fn relay(stream: Stream, bytes: &[u8]) -> Result<()> {
    let written = match stream {
        Stream::Stdout => write(&mut io::stdout().lock(), bytes),
        Stream::Stderr => write(&mut io::stderr().lock(), bytes),
    };
    written.map_err(|error| {
        let is_full = matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
        let error = anyhow::Error::new(error);
        // What is known of full disks is about this program's folders, and this is none of them.
        if is_full {
            let fault = Fault::new(Cause::Space, "writing the output");
            error.context(fault.hint("`df -h` tells which disk is full; the output can go elsewhere"))
        } else {
            error.context("writing the output")
        }
    })
}

/// Passes what a guest has logged on: unchanged, but that GitHub's runner takes nothing in it for a command.
///
/// # Errors
/// As [`relay`].
pub fn relay_log(bytes: &[u8]) -> Result<()> {
    if !is_tamed() {
        return relay(Stream::Stdout, bytes);
    }
    let mut text = github::tame(&String::from_utf8_lossy(bytes));
    // What comes next must not go on in this line: both together may be a command.
    if !text.ends_with('\n') {
        text.push('\n');
    }
    relay(Stream::Stdout, text.as_bytes())
}

/// Whether [`relay_log`] looks for commands in whole lines.
pub fn is_tamed() -> bool {
    github::is_runner()
}

/// Whether an error of [`relay`] means that nobody reads on (`| head`): the end of the work, and no failure.
pub fn reader_has_gone(error: &anyhow::Error) -> bool {
    let io = error.downcast_ref::<io::Error>();
    io.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// No error for a reader that has gone.
///
/// # Errors
/// Any other error.
pub fn quietly(error: anyhow::Error) -> Result<()> {
    if reader_has_gone(&error) { Ok(()) } else { Err(error) }
}

fn write(to: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    to.write_all(bytes)?;
    to.flush()
}

#[cfg(test)]
mod tests;
