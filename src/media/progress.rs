//! How far a transfer or a check is, told often enough to look alive and seldom enough to cost nothing.

use std::time::{Duration, Instant};

use crate::event::{Event, Events, Stage, Unit};

const INTERVAL: Duration = Duration::from_millis(100);

/// Tells of the progress of one transfer.
pub struct Progress<'a> {
    events: &'a Events,
    total: Option<u64>,
    told: Option<(Instant, u64)>,
}

impl<'a> Progress<'a> {
    /// The progress of a transfer of `total` bytes, where that is known.
    pub const fn new(events: &'a Events, total: Option<u64>) -> Self {
        Self {
            events,
            total,
            told: None,
        }
    }

    /// `done` bytes are through.
    pub fn at(&mut self, done: u64) {
        let now = Instant::now();
        let due = self
            .told
            .is_none_or(|(when, what)| what != done && now.duration_since(when) >= INTERVAL);
        if due || (self.total == Some(done) && self.told.is_none_or(|(_, what)| what != done)) {
            self.told = Some((now, done));
            self.events.emit(Event::Progress {
                stage: Stage::Media,
                done,
                total: self.total,
                unit: Unit::Bytes,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_and_the_last_are_told_and_few_between() {
        let (events, told) = Events::recorder();
        let mut progress = Progress::new(&events, Some(1000));
        for done in 0..=1000 {
            progress.at(done);
        }
        progress.at(1000);
        let told = told.lock().unwrap();
        let done = |event: &Event| match event {
            Event::Progress { done, .. } => *done,
            other => panic!("{other:?}"),
        };
        assert_eq!(told.first().map(done), Some(0));
        assert_eq!(told.last().map(done), Some(1000));
        assert!(told.len() < 100, "{} events", told.len());
    }
}
