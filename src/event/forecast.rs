//! How much time is left, as a function of the time that passes until the next thing happens.

use serde::{Serialize, Serializer};

/// An estimate of the time left that stays honest while nothing is heard: it counts down until what comes next is due,
/// and when that is late it takes the rest to be slower by as much. All numbers are seconds. A program reads what was left
/// when the estimate was made, in whole seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Forecast {
    /// What is left now, if nothing is late.
    pub left: f64,
    /// Until what comes next is due; below zero when it is late.
    pub due: f64,
    /// What is left when that has come.
    pub then: f64,
    /// Over how long the pace was measured.
    pub measured: f64,
    /// What comes after that, which is not in the numbers above …
    pub rest: f64,
    /// … and over how long its pace was measured.
    pub rest_measured: f64,
}

impl Forecast {
    /// What is left once `seconds` have passed in which nothing was heard.
    pub fn after(self, seconds: f64) -> f64 {
        if seconds <= self.due {
            return (self.left - seconds).max(0.0) + self.rest;
        }
        let late = |measured: f64| (measured + seconds) / (measured + self.due).max(f64::MIN_POSITIVE);
        self.then * late(self.measured) + self.rest * late(self.rest_measured)
    }

    /// What is left now.
    pub fn now(self) -> f64 {
        self.after(0.0)
    }

    /// The same as it is once `seconds` have passed in which nothing was heard.
    #[must_use]
    pub fn later(self, seconds: f64) -> Self {
        Self {
            left: self.left - seconds,
            due: self.due - seconds,
            measured: self.measured + seconds,
            rest_measured: self.rest_measured + seconds,
            ..self
        }
    }

    /// The same with `rest` seconds of other work after it, whose pace was measured over `measured` seconds.
    #[must_use]
    pub const fn and_then(self, rest: f64, measured: f64) -> Self {
        Self {
            rest,
            rest_measured: measured,
            ..self
        }
    }
}

impl Serialize for Forecast {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "whole, positive seconds are meant"
        )]
        serializer.serialize_u64(self.now().max(0.0).round() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORECAST: Forecast = Forecast {
        left: 300.0,
        due: 100.0,
        then: 200.0,
        measured: 100.0,
        rest: 0.0,
        rest_measured: 0.0,
    };

    #[test]
    fn it_counts_down_and_grows_when_what_comes_is_late() {
        // Twice as late as expected since the beginning: the rest takes one and a half times as long.
        for (seconds, left) in [(0.0, 300.0), (50.0, 250.0), (100.0, 200.0), (200.0, 300.0)] {
            assert!((FORECAST.after(seconds) - left).abs() < 1e-9, "{seconds}");
        }
    }

    #[test]
    fn what_is_late_tells_less_of_what_was_measured_longer() {
        let with_rest = FORECAST.and_then(1000.0, 900.0);
        for (seconds, left) in [(0.0, 1300.0), (100.0, 1200.0), (200.0, 300.0 + 1100.0)] {
            assert!((with_rest.after(seconds) - left).abs() < 1e-9, "{seconds}");
        }
    }

    #[test]
    fn later_is_the_same_curve() {
        for passed in [0.0, 60.0, 100.0, 150.0] {
            for seconds in [0.0, 30.0, 90.0, 400.0] {
                let forecast = FORECAST.and_then(500.0, 700.0);
                let (at_once, in_two) = (forecast.after(passed + seconds), forecast.later(passed).after(seconds));
                assert!((at_once - in_two).abs() < 1e-9, "{passed} {seconds}");
            }
        }
    }

    #[test]
    fn a_program_reads_whole_seconds() {
        let forecast = FORECAST.later(0.4).and_then(60.0, 100.0);
        assert_eq!(serde_json::to_string(&forecast).unwrap(), "360");
        let odd = Forecast {
            left: f64::NAN,
            ..FORECAST
        };
        assert_eq!(serde_json::to_string(&odd).unwrap(), "0");
    }
}
