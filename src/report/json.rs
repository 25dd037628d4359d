//! Events for programs: one JSON object a line, each with `event` and `time` (RFC 3339, UTC).

use std::io::Write;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use super::View;
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

/// The last line of a command that failed, and what a command was asked for.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Last<'a> {
    Error(&'a Failure),
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

    fn line(&mut self, what: impl Serialize) {
        let time = format!("{:.3}", (self.clock)());
        let Ok(mut text) = serde_json::to_string(&Line { time, what }) else {
            return;
        };
        text.push('\n');
        // A reader that has gone does not stop the work.
        let _ = self.to.write_all(text.as_bytes()).and_then(|()| self.to.flush());
    }
}

impl<W: Write + Send> View for Json<W> {
    fn event(&mut self, event: &Event) {
        self.line(event);
    }

    fn failure(&mut self, failure: &Failure) {
        self.line(Last::Error(failure));
    }

    fn result(&mut self, value: &Value) {
        let items = value
            .as_array()
            .map_or_else(|| std::slice::from_ref(value), Vec::as_slice);
        for item in items.iter().filter_map(Value::as_object) {
            self.line(Last::Result(item));
        }
    }
}
