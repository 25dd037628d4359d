//! How far the work is.

use crate::cancel::Cancel;
use crate::event::{Event, Events, Stage, Unit};

/// How many bytes pass before progress is told again.
const STEP: u64 = 4 << 20;

/// Tells how many bytes have passed.
pub struct Told<'a> {
    events: &'a Events,
    cancel: &'a Cancel,
    stage: Stage,
    total: u64,
    done: u64,
}

impl<'a> Told<'a> {
    /// Tells of `total` bytes.
    pub const fn new(events: &'a Events, cancel: &'a Cancel, stage: Stage, total: u64) -> Self {
        Self {
            events,
            cancel,
            stage,
            total,
            done: 0,
        }
    }

    /// Whether the user wants to stop.
    pub const fn cancel(&self) -> &'a Cancel {
        self.cancel
    }

    /// Some more have passed.
    ///
    /// # Errors
    /// When the user wants to stop.
    pub fn pass(&mut self, bytes: usize) -> std::io::Result<()> {
        if self.cancel.is_raised() {
            return Err(std::io::Error::other("interrupted"));
        }
        let before = self.done / STEP;
        self.done += bytes as u64;
        if self.done / STEP != before || self.done == self.total {
            self.events.emit(Event::Progress {
                stage: self.stage,
                done: self.done,
                total: Some(self.total),
                unit: Unit::Bytes,
            });
        }
        Ok(())
    }
}
