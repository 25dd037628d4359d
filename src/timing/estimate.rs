//! How much time is left, from what is typical and what was seen: pure arithmetic.

use super::course::{Course, Mark};
use crate::event::Forecast;

/// How much of what is typical counts as seen at its own pace, as a part of the whole: little, so that a host that is
/// slower or faster than those that are known is believed soon.
const TRUST: f64 = 0.01;

/// How much slower than typical things go: what took `seconds` takes `typical` elsewhere. `whole` is how much typical work
/// there is in all, and `before` the pace that is believed until something was seen.
pub fn pace(seconds: f64, typical: f64, whole: f64, before: f64) -> f64 {
    let trust = TRUST * whole;
    let pace = trust.mul_add(before, seconds) / (trust + typical);
    if pace.is_finite() { pace } else { before }
}

/// What is left of a stage that began `elapsed` seconds ago and has come by `seen`. `before` is the pace of the stages
/// before it.
pub fn of_stage(typical: &Course, seen: &[Mark], elapsed: f64, before: f64) -> Forecast {
    let (seen_at, typical_at) = last_common(typical, seen);
    let pace = pace(seen_at, typical_at, typical.seconds, before);
    let next = typical.marks.iter().map(|mark| mark.at).find(|at| *at > typical_at);
    let next = next.unwrap_or(typical.seconds);
    let forecast = Forecast {
        left: pace * (typical.seconds - typical_at),
        due: pace * (next - typical_at),
        then: pace * (typical.seconds - next),
        measured: (TRUST * typical.seconds).mul_add(before, seen_at),
    };
    forecast.later(elapsed - seen_at)
}

/// When the last mark that both know was seen, and when it typically is.
pub fn last_common(typical: &Course, seen: &[Mark]) -> (f64, f64) {
    let common = |mark: &Mark| Some((mark.at, typical.mark(&mark.name)?.at));
    seen.iter().rev().find_map(common).unwrap_or((0.0, 0.0))
}
