//! What the user sees: a person at a terminal, a log, or a program. The only part that prints.
//!
//! What happens goes to standard error, results go to standard output; with `--json` both go to standard output, one
//! object a line. Each has `event` and `time`; that of a result is `result`, and a list is a result for each item.

mod ask;
mod clean;
mod failure;
mod json;
mod paint;
mod person;
mod plain;
mod table;
mod times;

use std::io::{self, IsTerminal as _, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::cli::Global;
use crate::event::{Event, Events, Stream};

pub use ask::confirm;
pub use failure::Failure;
pub use paint::Paint;
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
    view: Arc<Mutex<Box<dyn View>>>,
    verbosity: Verbosity,
    json: bool,
    paint: Paint,
}

impl Reporter {
    /// The way that the user asked for, and that suits where the output goes.
    pub fn new(global: &Global) -> Self {
        let verbosity = Verbosity::of(global);
        let terminal = io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        let view: Box<dyn View> = if global.json {
            Box::new(json::Json::new(io::stdout()))
        } else if terminal && verbosity > Verbosity::Quiet {
            let target = indicatif::ProgressDrawTarget::stderr();
            let paint = Paint::new(global.color, terminal);
            Box::new(person::Person::new(
                io::stderr(),
                target,
                paint,
                verbosity == Verbosity::Verbose,
            ))
        } else {
            Box::new(plain::Plain::new(io::stderr(), Paint::new(global.color, terminal)))
        };
        Self {
            view: Arc::new(Mutex::new(view)),
            verbosity,
            json: global.json,
            paint: Paint::new(global.color, io::stdout().is_terminal()),
        }
    }

    /// For a program whose command line could not be understood.
    pub fn for_program() -> Self {
        Self::new(&Global {
            json: true,
            ..Global::default()
        })
    }

    /// A handle for what emits events.
    pub fn events(&self) -> Events {
        let reporter = self.clone();
        Events::new(move |event| {
            if reporter.verbosity.tells(&event) {
                reporter.view().event(&event);
            }
        })
    }

    /// Shows the error that ends the command.
    pub fn error(&self, error: &anyhow::Error) {
        self.view().failure(&Failure::of(error));
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
            return self.view().result(&value).context("writing the output");
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
        self.view().end();
    }

    fn view(&self) -> MutexGuard<'_, Box<dyn View>> {
        // A view that panicked while drawing is still the best one to show an error with.
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
    written.context("writing the output")
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
