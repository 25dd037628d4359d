//! How much time is left, from what is typical and what was seen: pure arithmetic.

use super::course::{Course, Mark};
use crate::event::Forecast;

/// What is typical of a stage, and how much that is trusted.
#[derive(Debug, Clone, PartialEq)]
pub struct Typical {
    /// The course.
    pub course: Course,
    /// How much of it, as a part of the whole, counts as seen at the pace that was believed before. It is little, so that
    /// a host that is slower or faster than those that are known is believed soon.
    pub trust: f64,
}

impl Typical {
    /// How many seconds count as seen before anything was.
    pub fn weight(&self) -> f64 {
        self.trust * self.course.seconds
    }
}

/// How much slower than typical things go: what took `seconds` typically takes `typical`. `before` is the pace that was
/// believed before, for as much as `weight` typical seconds.
pub fn pace(seconds: f64, typical: f64, weight: f64, before: f64) -> f64 {
    let pace = weight.mul_add(before, seconds) / (weight + typical);
    if pace.is_finite() { pace } else { before }
}

/// What is left of a stage that began `elapsed` seconds ago and has come by `seen`. `before` is the pace of the stages
/// before it.
pub fn of_stage(typical: &Typical, seen: &[Mark], elapsed: f64, before: f64) -> Forecast {
    let (course, weight) = (&typical.course, typical.weight());
    let (seen_at, typical_at) = farthest(course, seen);
    let pace = pace(seen_at, typical_at, weight, before);
    // A single mark may be left out, so that the one after it is waited for.
    let next = course
        .marks
        .iter()
        .map(|mark| mark.at)
        .filter(|at| *at > typical_at)
        .nth(1);
    let next = next.unwrap_or(course.seconds);
    let forecast = Forecast {
        left: pace * (course.seconds - typical_at),
        due: pace * (next - typical_at),
        then: pace * (course.seconds - next),
        measured: weight.mul_add(before, seen_at),
        rest: 0.0,
        rest_measured: 0.0,
    };
    forecast.later(elapsed - seen_at)
}

/// When the mark was seen that is typically the last of those that were, and when it typically is: marks of different
/// sources may come in another order.
pub fn farthest(typical: &Course, seen: &[Mark]) -> (f64, f64) {
    let common = seen
        .iter()
        .filter_map(|mark| Some((mark.at, typical.place(&mark.name)?)));
    common.max_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or((0.0, 0.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marks(marks: &[(&str, f64)]) -> Vec<Mark> {
        let mark = |(name, at): &(&str, f64)| Mark {
            name: (*name).to_owned(),
            at: *at,
        };
        marks.iter().map(mark).collect()
    }

    fn typical() -> Typical {
        let course = Course {
            seconds: 100.0,
            marks: marks(&[("a", 10.0), ("b", 50.0), ("c", 51.0)]),
        };
        Typical { course, trust: 0.0 }
    }

    #[test]
    fn the_pace_is_that_of_the_farthest_mark() {
        for (seen, elapsed, left) in [
            (vec![], 0.0, 100.0),
            (vec![], 5.0, 95.0),
            // Nothing was heard of the first mark, and then of the second for one and a half times its time.
            (vec![], 20.0, 80.0),
            (vec![], 75.0, 75.0),
            (vec![("a", 20.0)], 20.0, 180.0),
            (vec![("a", 20.0)], 50.0, 150.0),
            // What nobody knows tells nothing.
            (vec![("a", 20.0), ("x", 50.0)], 50.0, 150.0),
            // The one that is typically later came first, and the other is not waited for.
            (
                vec![("a", 10.0), ("c", 50.0), ("b", 52.0)],
                60.0,
                49.0 / 51.0 * 50.0 - 10.0,
            ),
            (vec![("c", 51.0)], 99.0, 1.0),
            (vec![("c", 51.0)], 130.0, 0.0),
        ] {
            let forecast = of_stage(&typical(), &marks(&seen), elapsed, 1.0);
            assert!((forecast.now() - left).abs() < 1e-9, "{seen:?} {elapsed}: {forecast:?}");
        }
    }

    #[test]
    fn what_was_believed_before_counts_for_a_while() {
        let trusted = Typical {
            trust: 0.1,
            ..typical()
        };
        for (before, left) in [(1.0, 1.5 * 90.0), (2.0, 2.0 * 90.0), (4.0, 3.0 * 90.0)] {
            let forecast = of_stage(&trusted, &marks(&[("a", 20.0)]), 20.0, before);
            assert!((forecast.now() - left).abs() < 1e-9, "{before}: {forecast:?}");
        }
        assert!((pace(0.0, 0.0, 0.0, 1.5) - 1.5).abs() < 1e-9, "nothing is known yet");
    }
}
