//! Tests of what runs tell about time.

mod history;
mod real;
mod trace;

use super::run::Run;
use super::*;
use crate::checkpoint::{Layer, Manifest};
use crate::event::{Event, Forecast, Stage, Stream, Unit};
use crate::key::{Inputs, Key};

/// The beginning of a stage.
fn started(stage: Stage) -> Event {
    Event::StageStarted {
        stage,
        reason: "not made yet".into(),
        typical_seconds: None,
    }
}

fn done(stage: Stage) -> Event {
    Event::StageDone { stage, seconds: 0.0 }
}

fn step(stage: Stage, text: &str) -> Event {
    let text = text.to_owned();
    Event::Step { stage, text }
}

fn part(part: &str) -> Event {
    Event::Part {
        stage: Stage::Install,
        part: part.to_owned(),
    }
}

fn output(line: &str) -> Event {
    Event::Output {
        stage: Stage::Docker,
        stream: Stream::Stdout,
        line: line.to_owned(),
    }
}

fn percent(done: u64) -> Event {
    Event::Progress {
        stage: Stage::Install,
        done,
        total: Some(100),
        unit: Unit::Percent,
    }
}

/// A run whose media is checked, whose account is cached, and whose project goes on.
fn events() -> Vec<(f64, Event)> {
    vec![
        (0.5, started(Stage::Media)),
        (0.5, step(Stage::Media, "checking debian.iso")),
        (2.0, done(Stage::Media)),
        (
            2.5,
            Event::Planned {
                stages: vec![Stage::Install, Stage::Docker, Stage::Project, Stage::Verify],
            },
        ),
        (3.0, started(Stage::Install)),
        (3.0, step(Stage::Install, "reading the installer from the ISO")),
        (20.0, step(Stage::Install, "booting the installer")),
        (20.5, percent(0)),
        (40.0, part("medium")),
        (41.0, step(Stage::Install, "finding the medium")),
        (100.0, part("base system")),
        (150.0, part("packages")),
        (200.0, part("kernel")),
        (220.0, part("packages")),
        // The console's steps lag behind the log, and do not count beside it.
        (260.0, step(Stage::Install, "initramfs and boot loader")),
        (300.0, part("kernel")),
        (310.0, part("packages")),
        (400.0, part("finish")),
        (403.0, done(Stage::Install)),
        (404.0, started(Stage::Docker)),
        (404.1, step(Stage::Docker, "booting")),
        (450.0, step(Stage::Docker, "installing Docker")),
        (452.0, output("docker: package lists")),
        (460.0, output("docker: packages")),
        (480.0, output("Preparing to unpack .../runc_1.deb ...")),
        (500.0, output("Setting up runc (1) ...")),
        (550.0, output("docker: engine 26, cgroup driver systemd")),
        (552.0, step(Stage::Docker, "noting down the packages")),
        (560.0, done(Stage::Docker)),
        (
            560.0,
            Event::StageCached {
                stage: Stage::Account,
                key: "ab12".into(),
            },
        ),
        (561.0, started(Stage::Project)),
        (570.0, step(Stage::Project, "copying the project")),
        (572.5, step(Stage::Project, "running make as jdoe")),
    ]
}

fn run() -> Run {
    let mut run = Run::new(History::default());
    for (at, event) in events() {
        run.take(&event, at);
    }
    run
}

fn parts(run: &Run, stage: Stage, now: f64) -> Vec<(String, f64)> {
    let parts = run.of(stage).unwrap().parts(now).into_iter();
    parts.map(|part| (part.name, part.seconds)).collect()
}

fn named(parts: &[(&str, f64)]) -> Vec<(String, f64)> {
    parts
        .iter()
        .map(|(name, seconds)| ((*name).to_owned(), *seconds))
        .collect()
}

#[test]
fn the_parts_of_a_stage_add_up_to_it() {
    let run = run();
    assert_eq!(
        parts(&run, Stage::Install, 600.0),
        named(&[
            ("start", 37.0),
            ("medium", 60.0),
            ("base system", 50.0),
            ("packages", 50.0 + 80.0 + 90.0),
            ("kernel", 20.0 + 10.0),
            ("finish", 3.0),
        ])
    );
    assert_eq!(
        parts(&run, Stage::Docker, 600.0),
        named(&[
            ("boot", 46.0),
            ("prepare", 2.0),
            ("package lists", 8.0),
            ("download", 20.0),
            ("unpack", 20.0),
            ("configure", 50.0),
            ("verify", 10.0),
        ])
    );
    assert_eq!(
        parts(&run, Stage::Project, 600.0),
        named(&[("boot", 9.0), ("copy", 2.5), ("make", 27.5)])
    );
    assert!(run.of(Stage::Account).unwrap().parts(600.0).is_empty());
    assert_eq!(run.of(Stage::Verify), None);
}

#[test]
fn a_machine_without_a_log_of_its_installer_has_the_console_s_parts() {
    let mut run = Run::new(History::default());
    for (at, event) in events() {
        if !matches!(event, Event::Part { .. }) {
            run.take(&event, at);
        }
    }
    assert_eq!(
        parts(&run, Stage::Install, 600.0),
        named(&[("start", 38.0), ("medium", 219.0), ("finish", 143.0)])
    );
}

#[test]
fn what_no_stage_announced_is_passed_over() {
    let mut run = Run::new(History::default());
    for event in [
        step(Stage::Verify, "booting"),
        done(Stage::Verify),
        percent(3),
        output("Setting up"),
    ] {
        assert_eq!(run.take(&event, 1.0), None);
    }
    assert!(run.stages.is_empty());
}

/// The estimates of `events()`: stage, what is left of it and of the run.
fn estimates() -> Vec<(f64, Stage, f64, Option<f64>)> {
    let mut run = Run::new(History::default());
    let told = |(at, event): (f64, Event)| match run.take(&event, at)? {
        Event::Estimate {
            stage,
            seconds_left,
            run_seconds_left,
        } => Some((at, stage, seconds_left.now(), run_seconds_left.map(Forecast::now))),
        other => panic!("{other:?}"),
    };
    events().into_iter().filter_map(told).collect()
}

#[test]
fn a_run_tells_how_much_is_left_of_all_its_stages() {
    let estimates = estimates();
    let typical = |stage| typical::course(stage, "tcg").unwrap().seconds;
    let (_, stage, of_stage, of_run) = estimates[0];
    assert_eq!(stage, Stage::Install, "how long media takes is the network's affair");
    assert!((of_stage - typical(Stage::Install)).abs() < 1e-6);
    let whole: f64 = [Stage::Install, Stage::Docker, Stage::Project, Stage::Verify]
        .map(typical)
        .iter()
        .sum();
    assert!((of_run.unwrap() - whole).abs() < 1e-6, "all stages to come: {of_run:?}");
    // This host is slower than typical, so all that comes is taken to be.
    let (_, _, of_stage, of_run) = *estimates.iter().find(|(at, ..)| *at >= 404.0).unwrap();
    let slower = 400.0 / typical(Stage::Install);
    assert!(
        (of_stage / typical(Stage::Docker) / slower - 1.0).abs() < 0.05,
        "{of_stage}"
    );
    let to_come = whole - typical(Stage::Install);
    assert!((of_run.unwrap() / to_come / slower - 1.0).abs() < 0.05, "{of_run:?}");
    // Once for each thing that it comes by.
    let of_install = estimates
        .iter()
        .filter(|(_, stage, ..)| *stage == Stage::Install)
        .count();
    assert_eq!(
        of_install,
        [
            "start",
            "0%",
            "medium",
            "base system",
            "packages",
            "kernel",
            "packages 2",
            "kernel 2",
            "packages 3",
            "finish"
        ]
        .len()
    );
}

#[test]
fn a_recorder_passes_all_on_and_adds_estimates() {
    let (sink, seen) = crate::event::Events::recorder();
    let recorder = Recorder::new(History::default());
    let all: Vec<Event> = events().into_iter().map(|(_, event)| event).collect();
    let to = recorder.events(&sink);
    for event in &all {
        to.emit(event.clone());
    }
    let seen = seen.lock().unwrap().clone();
    let (estimates, others): (Vec<Event>, Vec<Event>) = seen
        .into_iter()
        .partition(|event| matches!(event, Event::Estimate { .. }));
    assert_eq!(others, all);
    assert!(estimates.len() >= 3, "one for each stage: {estimates:?}");
    let ended: Vec<Stage> = recorder.ended().into_iter().map(|(stage, _)| stage).collect();
    assert_eq!(ended, [Stage::Install, Stage::Docker]);
}

/// A machine that runs already is verified in a moment: of that nothing is estimated and nothing learnt.
#[test]
fn verifying_a_running_machine_is_not_what_is_typical() {
    let verify = |planned: bool| {
        let mut run = Run::new(History::default());
        if planned {
            let stages = vec![Stage::Verify];
            run.take(&Event::Planned { stages }, 0.5);
        }
        let told = run.take(&started(Stage::Verify), 1.0);
        run.take(&done(Stage::Verify), 4.0);
        (told.is_some(), run.typical(Stage::Verify).is_some(), run.ended().len())
    };
    assert_eq!(verify(true), (true, true, 1));
    assert_eq!(verify(false), (false, false, 0));
}

/// A checkpoint of `stage` that took ninety seconds, with one part.
fn layer(stage: Stage) -> Layer {
    let inputs = Inputs::new();
    let key = Key::derive(stage, None, &inputs);
    let all = Part {
        name: "boot".to_owned(),
        seconds: 90.0,
    };
    Layer {
        manifest: Manifest {
            parts: vec![all],
            ..Manifest::new(stage, key, None, inputs, 90.0)
        },
        disk: "nowhere".into(),
    }
}

#[test]
fn what_a_run_took_from_the_cache_tells_what_it_took_when_it_was_made() {
    let layers = [Stage::Account, Stage::Docker, Stage::Install].map(layer);
    let base = layers[0].manifest.base.clone();
    let timings = Timings::new(&run(), 600.0, jiff::Timestamp::UNIX_EPOCH, &base, &layers);
    let shown = timings
        .stages
        .iter()
        .map(|time| (time.stage, time.cached, time.seconds));
    assert_eq!(
        shown.collect::<Vec<_>>(),
        [
            (Stage::Media, false, 1.5),
            (Stage::Install, false, 400.0),
            (Stage::Docker, false, 156.0),
            (Stage::Account, true, 90.0),
            (Stage::Project, false, 39.0),
        ]
    );
    assert_eq!(timings.stages[3].parts, layers[0].manifest.parts);
    assert_eq!(timings.stages[3].made, layers[0].manifest.made);
    for stage in &timings.stages {
        let sum: f64 = stage.parts.iter().map(|part| part.seconds).sum();
        assert!((sum - stage.seconds).abs() < 1e-9, "{stage:?}");
    }
    let text = serde_json::to_string(&timings).unwrap();
    assert_eq!(serde_json::from_str::<Timings>(&text).unwrap(), timings);
    // Where only the checkpoints are known, in order.
    let known = Timings::of_layers(&layers).unwrap();
    let stages: Vec<Stage> = known.stages.iter().map(|time| time.stage).collect();
    assert_eq!(stages, [Stage::Install, Stage::Docker, Stage::Account]);
    assert!(known.stages.iter().all(|time| time.cached) && known.ended.is_none());
    assert_eq!(Timings::of_layers(&[]), None);
}
