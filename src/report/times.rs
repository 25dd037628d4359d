//! Spans of time and amounts as a person reads them.

use std::time::Duration;

/// `42s`, `11m42s`, `1h02m`.
pub fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    match (hours, minutes) {
        (0, 0) => format!("{seconds}s"),
        (0, _) => format!("{minutes}m{:02}s", seconds % 60),
        _ => format!("{hours}h{minutes:02}m"),
    }
}

/// The same for a number of seconds as events carry it.
pub fn seconds(seconds: f64) -> String {
    span(Duration::try_from_secs_f64(seconds).unwrap_or_default())
}

/// How much time is left after `elapsed`: by what is typical until that is over; after that, and where nothing is
/// typical, by the fraction done, once it is large enough to tell.
pub fn left(elapsed: Duration, typical: Option<Duration>, fraction: Option<f64>) -> Option<Duration> {
    let by_fraction = || {
        let fraction = fraction.filter(|fraction| (0.05..1.0).contains(fraction))?;
        Some(elapsed.mul_f64((1.0 - fraction) / fraction))
    };
    let by_typical = typical.and_then(|typical| typical.checked_sub(elapsed));
    by_typical.filter(|left| !left.is_zero()).or_else(by_fraction)
}

/// ` , about 8m left`, rounded so that it does not flicker; empty when it is not known.
pub fn left_words(left: Option<Duration>) -> String {
    match left.map(|left| left.as_secs()) {
        None | Some(0) => String::new(),
        Some(seconds @ 1..60) => format!(", about {}s left", seconds.next_multiple_of(5)),
        Some(seconds @ 60..3600) => format!(", about {}m left", seconds.div_ceil(60)),
        Some(seconds) => format!(", about {} left", span(Duration::from_secs(seconds))),
    }
}

/// What is left of a stage, and of the whole run where that is more, in the words of [`left_words`].
pub fn forecast_words(of_stage: f64, of_run: Option<f64>) -> String {
    let left = left_words(Duration::try_from_secs_f64(of_stage).ok());
    let more = of_run.filter(|of_run| of_run - of_stage >= 30.0);
    let run = left_words(more.and_then(|of_run| Duration::try_from_secs_f64(of_run).ok()));
    match (left.is_empty(), run.strip_suffix(" left")) {
        (false, Some(run)) => format!("{left} ({} to the end)", run.trim_start_matches(", ")),
        (true, Some(run)) => format!("{run} to the end"),
        (_, None) => left,
    }
}

/// The hundredths that `done` is of `total`, at most 100; `None` for an unknown or empty whole.
pub fn percent(done: u64, total: Option<u64>) -> Option<u64> {
    let total = total.filter(|total| *total > 0)?;
    let hundredths = u128::from(done) * 100 / u128::from(total);
    Some(u64::try_from(hundredths).unwrap_or(100).min(100))
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn spans() {
        for (time, expected) in [(0, "0s"), (42, "42s"), (60, "1m00s"), (702, "11m42s"), (3720, "1h02m")] {
            assert_eq!(span(secs(time)), expected);
        }
        assert_eq!(seconds(1.9), "1s");
        assert_eq!(seconds(-1.0), "0s");
    }

    #[test]
    fn time_left() {
        for (elapsed, typical, fraction, expected) in [
            (100, Some(700), None, Some(600)),
            (100, Some(700), Some(0.5), Some(600)),
            (800, Some(700), Some(0.8), Some(200)),
            (800, Some(700), None, None),
            (30, None, Some(0.25), Some(90)),
            (30, None, Some(0.01), None),
            (30, None, Some(1.0), None),
        ] {
            let left = left(secs(elapsed), typical.map(secs), fraction);
            assert_eq!(
                left.map(|d| d.as_secs_f64().round()),
                expected.map(f64::from),
                "{elapsed} {typical:?}"
            );
        }
    }

    #[test]
    fn words_for_time_left() {
        for (left, expected) in [
            (None, ""),
            (Some(0), ""),
            (Some(8), ", about 10s left"),
            (Some(61), ", about 2m left"),
            (Some(3700), ", about 1h01m left"),
        ] {
            assert_eq!(left_words(left.map(secs)), expected);
        }
    }

    #[test]
    fn words_for_a_stage_and_the_run() {
        for (of_stage, of_run, expected) in [
            (300.0, None, ", about 5m left"),
            (300.0, Some(310.0), ", about 5m left"),
            (300.0, Some(900.0), ", about 5m left (about 15m to the end)"),
            (0.2, Some(900.0), ", about 15m to the end"),
            (f64::NAN, None, ""),
        ] {
            assert_eq!(forecast_words(of_stage, of_run), expected);
        }
    }

    #[test]
    fn percentages() {
        for (done, total, expected) in [
            (34, Some(100), Some(34)),
            (3, Some(2), Some(100)),
            (u64::MAX, Some(u64::MAX), Some(100)),
            (1, Some(0), None),
            (1, None, None),
        ] {
            assert_eq!(percent(done, total), expected);
        }
    }
}
