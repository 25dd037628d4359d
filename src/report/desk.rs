//! What happens passes over this desk: to the view, to GitHub's runner, into the course of the run.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::View;
use super::course::Course;
use super::failure::Failure;
use super::github::Annotations;
use crate::event::Event;

/// The desk.
pub struct Desk {
    view: Box<dyn View>,
    /// Whether the view has written something since it was last looked at.
    written: Written,
    /// When the view wrote something last.
    last: Instant,
    annotations: Option<Annotations>,
    /// What has happened so far.
    pub course: Course,
}

/// Whether something was written.
#[derive(Debug, Clone, Default)]
pub struct Written(Arc<AtomicBool>);

/// A writer that says whether something was written.
pub struct Watched<W> {
    to: W,
    written: Written,
}

impl Written {
    /// Watches `to`.
    pub fn watch<W: Write>(&self, to: W) -> Watched<W> {
        Watched {
            to,
            written: self.clone(),
        }
    }
}

impl<W: Write> Write for Watched<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.written.0.store(true, Ordering::SeqCst);
        self.to.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

impl Desk {
    /// A desk before `view`, whose writer `written` watches.
    pub fn new(view: Box<dyn View>, written: Written, annotations: Option<Annotations>, now: Instant) -> Self {
        Self {
            view,
            written,
            last: now,
            annotations,
            course: Course::new(now),
        }
    }

    /// Takes an event that came at `now`; `is_told` says whether it is shown.
    pub fn event(&mut self, event: &Event, is_told: bool, now: Instant) {
        self.course.note(event, now);
        if !is_told {
            return;
        }
        self.view.event(event);
        if let Some(annotations) = &mut self.annotations {
            annotations.event(event);
        }
        self.look(now);
    }

    /// Shows the error that ends the command.
    pub fn failure(&mut self, failure: &Failure) {
        self.view.failure(failure);
        if let Some(annotations) = &mut self.annotations {
            annotations.failure(failure);
        }
    }

    /// Shows a result to a program.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn result(&mut self, value: &serde_json::Value) -> io::Result<()> {
        self.view.result(value)
    }

    /// Nothing more will come.
    pub fn end(&mut self) {
        self.view.end();
    }

    /// Says what goes on if nothing was said for `period`; how long it is until that may be so again.
    pub fn beat(&mut self, now: Instant, period: Duration) -> Duration {
        let silent = now.saturating_duration_since(self.last);
        if let Some(left) = period.checked_sub(silent).filter(|left| !left.is_zero()) {
            return left;
        }
        self.view.beat(&self.course.beat(now));
        // Its own line is none that somebody else told.
        self.written.0.store(false, Ordering::SeqCst);
        self.last = now;
        period
    }

    fn look(&mut self, now: Instant) {
        if self.written.0.swap(false, Ordering::SeqCst) {
            self.last = now;
        }
    }
}
