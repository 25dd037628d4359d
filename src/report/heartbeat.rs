//! A sign of life while nothing else is told: who runs a CI ends jobs that are silent.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::desk::Desk;

/// How long nothing may be told before the sign comes.
pub const PERIOD: Duration = Duration::from_secs(30);

/// Beats until it is stopped.
pub struct Heart {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl Heart {
    /// Begins to beat at `desk`.
    pub fn start(desk: Arc<Mutex<Desk>>, period: Duration) -> Self {
        let (stop, stopped) = channel();
        let thread = std::thread::spawn(move || {
            let mut pause = period;
            while stopped.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
                pause = super::lock(&desk).beat(Instant::now(), period);
            }
        });
        Self { stop, thread }
    }

    /// Returns when it beats no more.
    pub fn stop(self) {
        drop(self.stop);
        // One that panicked beats no more either.
        let _ = self.thread.join();
    }
}

#[cfg(test)]
mod tests {
    use super::super::desk::Written;
    use super::super::tests::Shared;
    use super::super::{json, plain};
    use super::*;
    use crate::event::{Event, Stage, Unit};
    use crate::wait::Wait;

    fn desk(to: &Shared, start: Instant) -> Desk {
        let written = Written::default();
        let clock = || {
            let time = jiff::Timestamp::from_second(1_800_000_000).unwrap();
            (time.to_zoned(jiff::tz::TimeZone::UTC), Instant::now())
        };
        let view = plain::Plain::at(written.watch(to.clone()), clock);
        Desk::new(Box::new(view), written, None, start)
    }

    /// The lines that come when the desk is looked at every second, and `events` come in between.
    fn lines(events: &[(u64, Event)], seconds: u64) -> Vec<String> {
        let (shared, start) = (Shared::default(), Instant::now());
        let mut desk = desk(&shared, start);
        let mut due = PERIOD;
        for second in 0..=seconds {
            let now = start + Duration::from_secs(second);
            for (_, event) in events.iter().filter(|(at, _)| *at == second) {
                desk.event(event, true, now);
            }
            if start + due <= now {
                due = Duration::from_secs(second) + desk.beat(now, PERIOD);
            }
        }
        shared.text().lines().map(str::to_owned).collect()
    }

    fn step(text: &str) -> Event {
        Event::Step {
            stage: Stage::Install,
            text: text.to_owned(),
        }
    }

    const fn percent(done: u64) -> Event {
        Event::Progress {
            stage: Stage::Install,
            done,
            total: None,
            unit: Unit::Percent,
        }
    }

    #[test]
    fn it_comes_every_half_minute_without_any_event() {
        let told = lines(&[], 95);
        assert_eq!(
            told,
            [
                "08:00:00 waiting  still at work, 30s so far",
                "08:00:00 waiting  still at work, 1m00s so far",
                "08:00:00 waiting  still at work, 1m30s so far",
            ]
        );
    }

    #[test]
    fn its_own_line_is_nobody_elses() {
        let unseen = Event::Part {
            stage: Stage::Install,
            part: "kernel".into(),
        };
        assert_eq!(lines(&[(45, unseen)], 65).len(), 2);
    }

    #[test]
    fn it_says_what_is_waited_for_and_comes_after_silence_alone() {
        let told = lines(
            &[
                (5, step("installing the base system")),
                (6, percent(42)),
                // The first is of a moment, as far as is known, and it has hardly grown: neither is told, which is no reason
                // to be silent.
                (20, percent(43)),
                (50, step("installing the kernel")),
            ],
            85,
        );
        assert_eq!(
            told,
            [
                "08:00:00 install  installing the base system",
                "08:00:00 install  still installing the base system, 30s so far (43%)",
                "08:00:00 install  installing the kernel",
                "08:00:00 install  still installing the kernel, 30s so far (43%)",
            ]
        );
    }

    #[test]
    fn programs_get_an_event() {
        let shared = Shared::default();
        let clock = || jiff::Timestamp::from_second(1_800_000_000).unwrap();
        let written = Written::default();
        let view = json::Json::at(written.watch(shared.clone()), clock);
        let start = Instant::now();
        let mut desk = Desk::new(Box::new(view), written, None, start);
        desk.event(&step("partitioning"), true, start);
        desk.beat(start + PERIOD, PERIOD);
        let text = shared.text();
        insta::assert_snapshot!(text.lines().last().unwrap(), @r#"{"time":"2027-01-15T08:00:00.000Z","event":"heartbeat","stage":"install","text":"partitioning","seconds":30}"#);
    }

    #[test]
    fn it_beats_by_itself_and_stops() {
        let shared = Shared::default();
        let desk = Arc::new(Mutex::new(desk(&shared, Instant::now())));
        let heart = Heart::start(Arc::clone(&desk), Duration::from_millis(5));
        let count = || shared.text().lines().count();
        Wait::new("three beats", Duration::from_secs(60))
            .until(|| Ok((count() >= 3).then_some(())))
            .unwrap();
        heart.stop();
        // Nobody else holds the desk: the thread has gone.
        assert_eq!(Arc::strong_count(&desk), 1);
    }
}
