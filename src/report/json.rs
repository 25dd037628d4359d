//! Events for programs: one JSON object a line, each with `event` and `time` (RFC 3339, UTC).

use std::io::{self, Write};

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use super::View;
use super::course::Beat;
use super::failure::Failure;
use crate::event::Event;

/// Writes JSON lines.
pub struct Json<W> {
    to: W,
    clock: fn() -> Timestamp,
}

#[derive(Serialize)]
struct Line<T> {
    time: String,
    #[serde(flatten)]
    what: T,
}

/// The last line of a command that failed, that it still goes on, and what a command was asked for.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Last<'a> {
    Error(&'a Failure),
    Heartbeat(&'a Beat),
    Result(&'a serde_json::Map<String, Value>),
}

impl<W: Write> Json<W> {
    /// Writes to `to`.
    pub const fn new(to: W) -> Self {
        Self {
            to,
            clock: Timestamp::now,
        }
    }

    #[cfg(test)]
    pub const fn at(to: W, clock: fn() -> Timestamp) -> Self {
        Self { to, clock }
    }

    fn line(&mut self, what: impl Serialize) -> io::Result<()> {
        let time = format!("{:.3}", (self.clock)());
        // What a guest printed must not be a command to GitHub's runner, which looks for this anywhere in a line. It can
        // stand in a string only, where a character may be written by its number.
        let text = serde_json::to_string(&Line { time, what })?.replace("##[", "#\\u0023[");
        let text = format!("{text}\n");
        self.to.write_all(text.as_bytes())?;
        self.to.flush()
    }
}

impl<W: Write + Send> View for Json<W> {
    fn event(&mut self, event: &Event) {
        // A reader that has gone does not stop the work.
        let _ = self.line(event);
    }

    fn failure(&mut self, failure: &Failure) {
        let _ = self.line(Last::Error(failure));
    }

    fn beat(&mut self, beat: &Beat) {
        let _ = self.line(Last::Heartbeat(beat));
    }

    fn result(&mut self, value: &Value) -> io::Result<()> {
        let items = value
            .as_array()
            .map_or_else(|| std::slice::from_ref(value), Vec::as_slice);
        let mut items = items.iter().filter_map(Value::as_object);
        items.try_for_each(|item| self.line(Last::Result(item)))
    }
}
