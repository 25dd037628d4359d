//! Estimates of real installations: what they would have shown at every second, against how it went on.

use super::super::course::{Course, Mark};
use super::super::estimate::{self, Typical};
use super::super::run::Run;
use super::super::{History, typical};
use crate::event::{Event, Forecast, Stage, Unit};

/// Of the whole time. An estimate of what is left is honest if it is wrong by no more.
const HONEST: f64 = 0.3;

/// The first minute tells nothing yet.
const FROM: f64 = 60.0;

#[derive(serde::Deserialize)]
struct Real {
    /// Where and how it ran.
    about: String,
    seconds: f64,
    /// What it came by, and when.
    marks: Vec<(String, f64)>,
}

impl Real {
    fn course(&self) -> Course {
        let marks = self.marks.iter().map(|(name, at)| Mark {
            name: name.clone(),
            at: *at,
        });
        Course {
            seconds: self.seconds,
            marks: marks.collect(),
        }
    }
}

/// Real installations of 29 November 2026 under TCG on two cores, as events told of them.
fn all() -> Vec<Real> {
    serde_json::from_str(include_str!("../../../tests/fixtures/timings/courses.json")).unwrap()
}

/// The same, slower or faster.
fn stretched(course: &Course, by: f64) -> Course {
    let marks = course.marks.iter().map(|mark| Mark {
        name: mark.name.clone(),
        at: mark.at * by,
    });
    Course {
        seconds: course.seconds * by,
        marks: marks.collect(),
    }
}

/// By how much of the whole time the estimate is wrong where it is most so, and when.
fn worst(typical: &Typical, real: &Course, from: f64) -> (f64, f64) {
    let mut worst = (0.0_f64, 0.0);
    let mut now = from;
    while now < real.seconds {
        let seen: Vec<Mark> = real.marks.iter().filter(|mark| mark.at <= now).cloned().collect();
        let left = estimate::of_stage(typical, &seen, now, 1.0).now();
        let wrong = (left - (real.seconds - now)) / real.seconds;
        if wrong.abs() > worst.0.abs() {
            worst = (wrong, now);
        }
        now += 1.0;
    }
    worst
}

#[track_caller]
fn is_honest(typical: &Typical, real: &Course, what: &str) {
    let (wrong, at) = worst(typical, real, FROM);
    println!(
        "{what}: wrong by at most {:+.0} % of the whole time, after {at} s",
        100.0 * wrong
    );
    assert!(wrong.abs() <= HONEST, "{what}: wrong by {wrong:.2} after {at} s");
}

/// What a host believes that knows only the table.
fn table() -> Typical {
    History::default().typical(Stage::Install).unwrap()
}

/// What a host believes that has seen these runs.
fn history(courses: &[Course]) -> Typical {
    let ended = courses.iter().map(|course| (Stage::Install, course.clone())).collect();
    let history = History::default().with(ended, jiff::Timestamp::UNIX_EPOCH);
    history.typical(Stage::Install).unwrap()
}

#[test]
fn without_a_history_the_table_and_the_pace_so_far_are_honest() {
    for real in all() {
        let course = real.course();
        for by in [0.1, 0.3, 0.5, 1.0, 1.5, 2.0] {
            is_honest(
                &table(),
                &stretched(&course, by),
                &format!("{}, times {by}", real.about),
            );
        }
    }
}

#[test]
fn with_a_history_they_are_too() {
    let reals = all();
    assert!(reals.len() >= 2, "of different speeds");
    for real in &reals {
        let others = reals.iter().filter(|other| other.about != real.about);
        for other in others.clone() {
            let what = format!("{}, after {}", real.about, other.about);
            let (wrong, at) = worst(&history(&[other.course()]), &real.course(), FROM);
            println!("{what}: {:+.0} % after {at} s", 100.0 * wrong);
            // On a host that is three times as busy as ever before, another installer starting just then.
            let is_new = real.seconds > 3.0 * other.seconds;
            assert!(
                wrong.abs() <= if is_new { 0.35 } else { HONEST },
                "{what}: wrong by {wrong:.2} after {at} s"
            );
        }
        let others: Vec<Course> = others.map(Real::course).collect();
        is_honest(
            &history(&others),
            &real.course(),
            &format!("{}, after all others", real.about),
        );
    }
}

#[test]
fn a_host_that_is_slower_or_faster_than_before_is_believed_soon() {
    for real in all() {
        let course = real.course();
        for by in [0.3, 0.5, 1.5, 2.0] {
            let what = format!("{}, times {by}", real.about);
            is_honest(&history(std::slice::from_ref(&course)), &stretched(&course, by), &what);
        }
    }
}

/// Somebody else takes the processor in the middle of it: from then on all takes three times as long.
#[test]
fn a_host_that_becomes_busy_is_believed_soon() {
    for real in all() {
        let course = real.course();
        let busy_from = course.seconds / 2.0;
        let later = |at: f64| at + 2.0 * (at - busy_from).max(0.0);
        let mut busy = course.clone();
        busy.seconds = later(course.seconds);
        busy.marks.iter_mut().for_each(|mark| mark.at = later(mark.at));
        let (wrong, at) = worst(
            &history(std::slice::from_ref(&course)),
            &busy,
            later(0.7 * course.seconds),
        );
        println!("{}, busy: {:+.0} % after {at} s", real.about, 100.0 * wrong);
        assert!(
            wrong.abs() <= HONEST,
            "{}: wrong by {wrong:.2} after {at} s",
            real.about
        );
    }
}

/// All stages of a run at another pace than the last time: what is left of the whole run is honest, too, between the
/// events as well as with them.
#[test]
fn what_is_left_of_a_run_is_honest_at_another_pace() {
    let install = all().remove(0).course();
    let stages = [
        (Stage::Install, install),
        (Stage::Docker, typical::course(Stage::Docker, "tcg").unwrap()),
        (Stage::Project, typical::course(Stage::Project, "tcg").unwrap()),
        (Stage::Verify, typical::course(Stage::Verify, "tcg").unwrap()),
    ];
    let history = || History::default().with(stages.to_vec(), jiff::Timestamp::UNIX_EPOCH);
    for by in [0.4, 1.0, 2.0] {
        let mut run = Run::new(history());
        let planned = stages.iter().map(|(stage, _)| *stage).collect();
        run.take(&Event::Planned { stages: planned }, 0.0);
        let whole: f64 = stages.iter().map(|(_, course)| by * course.seconds).sum();
        let mut begin = 0.0;
        let mut told: Option<(f64, Forecast)> = None;
        let mut wrongest = 0.0_f64;
        for (stage, course) in &stages {
            let real = stretched(course, by);
            let begins = Event::StageStarted {
                stage: *stage,
                reason: String::new(),
                typical_seconds: None,
            };
            let marks = real
                .marks
                .iter()
                .map(|mark| (begin + mark.at, event(*stage, &mark.name)));
            for (at, event) in [(begin, begins)].into_iter().chain(marks) {
                // Before the event: the last estimate, as a view shows it by now.
                if let Some((then, forecast)) = told.filter(|_| at > FROM) {
                    wrongest = wrongest.max((forecast.after(at - then) - (whole - at)).abs() / whole);
                }
                if let Some(Event::Estimate { run_seconds_left, .. }) = run.take(&event, at) {
                    told = run_seconds_left.map(|left| (at, left));
                }
            }
            begin += real.seconds;
            let ends = Event::StageDone {
                stage: *stage,
                seconds: 0.0,
            };
            run.take(&ends, begin);
        }
        println!("times {by}: wrong by at most {:.0} % of the run", 100.0 * wrongest);
        assert!(told.is_some() && wrongest <= HONEST, "times {by}: {wrongest:.2}");
    }
}

/// The event that makes a mark of that name.
fn event(stage: Stage, mark: &str) -> Event {
    match mark.strip_suffix('%').and_then(|number| number.parse().ok()) {
        Some(done) => Event::Progress {
            stage,
            done,
            total: Some(100),
            unit: Unit::Percent,
        },
        None => Event::Part {
            stage,
            part: mark.to_owned(),
        },
    }
}
