use super::*;

fn step(stage: Stage, text: &str) -> Event {
    let text = text.to_owned();
    Event::Step { stage, text }
}

fn started(stage: Stage) -> Event {
    Event::StageStarted {
        stage,
        reason: "not made yet".to_owned(),
        typical_seconds: None,
    }
}

const fn progress(done: u64, total: Option<u64>, unit: Unit) -> Event {
    Event::Progress {
        stage: Stage::Install,
        done,
        total,
        unit,
    }
}

/// A course whose events come a second apart, and when it is seen: a second after the last.
fn course(events: &[Event]) -> (Course, Instant) {
    let start = Instant::now();
    let mut course = Course::new(start);
    let mut at = start;
    for event in events {
        at += Duration::from_secs(1);
        course.note(event, at);
    }
    (course, at + Duration::from_secs(1))
}

#[test]
fn a_beat_says_what_goes_on_since_when_and_how_far() {
    let install = started(Stage::Install);
    let base = step(Stage::Install, "installing\nthe base system");
    let note = |text: &str| Event::Note { text: text.to_owned() };
    let done = Event::StageDone {
        stage: Stage::Install,
        seconds: 1.0,
    };
    for (events, expected) in [
        (vec![], "still at work, 1s so far"),
        (
            vec![note("waiting for another provision")],
            "still at work, 1s so far: waiting for another provision",
        ),
        (vec![install.clone()], "still at work, 1s so far"),
        (
            vec![install.clone(), base.clone(), progress(42, None, Unit::Percent)],
            "still installing / the base system, 2s so far (42%)",
        ),
        // What is noted meanwhile is another matter, and hundredths are those of the stage.
        (
            vec![
                install.clone(),
                progress(42, None, Unit::Percent),
                base.clone(),
                note("by the way"),
            ],
            "still installing / the base system, 2s so far (42%)",
        ),
        (
            vec![install.clone(), progress(1, Some(4), Unit::Bytes)],
            "still at work, 2s so far (25%)",
        ),
        // A transfer's are over with its step.
        (
            vec![install.clone(), progress(1, Some(4), Unit::Bytes), base],
            "still installing / the base system, 1s so far",
        ),
        (vec![install, done], "still at work, 1s so far"),
    ] {
        let (course, at) = course(&events);
        assert_eq!(course.beat(at).words(), expected, "{events:?}");
    }
}

#[test]
fn stages_and_checks_are_kept_with_their_times() {
    let check = |rule: &str| Event::Check {
        rule: rule.to_owned(),
        passed: true,
        detail: String::new(),
    };
    let (course, _) = course(&[
        Event::StageCached {
            stage: Stage::Media,
            key: "ab".to_owned(),
        },
        started(Stage::Install),
        Event::StageDone {
            stage: Stage::Install,
            seconds: 702.0,
        },
        started(Stage::Verify),
        step(Stage::Verify, "checking the machine"),
        check("site"),
        check("volumes"),
    ]);
    let ends: Vec<End> = course.stages.iter().map(|leg| leg.end).collect();
    assert_eq!(ends[..2], [End::Cached, End::Done(Duration::from_secs(702))]);
    assert!(matches!(ends[2..], [End::Open(_)]));
    let times: Vec<_> = course.checks.iter().map(|check| check.time.as_secs()).collect();
    assert_eq!(times, [1, 1]);
}

#[test]
fn the_place_where_the_time_is_over() {
    for (events, expected) in [
        (vec![], ""),
        (
            vec![started(Stage::Media), step(Stage::Media, "downloading x.iso")],
            "in the stage media: downloading x.iso, for 1s",
        ),
        (vec![started(Stage::Media)], "in the stage media, for 1s"),
        (
            vec![Event::StageCached {
                stage: Stage::Media,
                key: String::new(),
            }],
            "between two stages",
        ),
    ] {
        let (course, at) = course(&events);
        assert_eq!(course.place(at), expected);
    }
}
