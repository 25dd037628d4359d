use std::fs;

use jiff::Timestamp;

use super::super::course::{Course, Mark};
use super::super::{History, Situation, typical};
use crate::event::Stage;

fn situation(accelerator: &str, cpus: u32, machine: &str) -> Situation {
    Situation {
        accelerator: accelerator.to_owned(),
        cpus,
        guest: "debian-13".to_owned(),
        machine: machine.to_owned(),
    }
}

fn course(seconds: f64) -> Course {
    let half = Mark {
        name: "half".to_owned(),
        at: seconds / 2.0,
    };
    Course {
        seconds,
        marks: vec![half],
    }
}

/// Writes down a run of each stage that took so many seconds.
fn remember(cache: &std::path::Path, situation: &Situation, ended: &[(Stage, f64)]) {
    let ended = ended.iter().map(|(stage, seconds)| (*stage, course(*seconds)));
    let history = History::read(cache, situation.clone());
    history
        .with(ended.collect(), Timestamp::UNIX_EPOCH)
        .write(cache)
        .unwrap();
}

fn seconds(cache: &std::path::Path, situation: &Situation, stage: Stage) -> f64 {
    History::read(cache, situation.clone())
        .typical(stage)
        .unwrap()
        .course
        .seconds
}

#[test]
fn what_ran_under_the_same_conditions_counts() {
    let cache = tempfile::tempdir().unwrap();
    let cache = cache.path();
    let here = situation("tcg", 2, "m");
    for taken in [100.0, 900.0, 120.0] {
        remember(cache, &here, &[(Stage::Install, taken), (Stage::Project, 10.0 * taken)]);
    }
    remember(cache, &situation("kvm", 2, "m"), &[(Stage::Install, 7.0)]);
    remember(cache, &situation("tcg", 4, "m"), &[(Stage::Install, 50.0)]);
    let is = |situation: &Situation, stage, expected: f64| {
        let seconds = seconds(cache, situation, stage);
        assert!((seconds - expected).abs() < 1e-6, "{situation:?} {stage}: {seconds}");
    };
    is(&here, Stage::Install, 120.0);
    is(&situation("kvm", 2, "m"), Stage::Install, 7.0);
    is(&situation("tcg", 4, "m"), Stage::Install, 50.0);
    // Another machine is installed alike, and its project is another, of which that of the first tells something.
    let other = situation("tcg", 2, "other");
    is(&other, Stage::Install, 120.0);
    is(&other, Stage::Project, 1200.0);
    remember(cache, &other, &[(Stage::Project, 5.0)]);
    is(&other, Stage::Project, 5.0);
    is(&here, Stage::Project, 1200.0);
    // What never ran is in the table.
    is(
        &here,
        Stage::Docker,
        typical::course(Stage::Docker, "tcg").unwrap().seconds,
    );
    let native = typical::course(Stage::Docker, "kvm").unwrap().seconds;
    is(&situation("kvm", 1, "m"), Stage::Docker, native);
    assert_eq!(History::default().typical(Stage::Media), None);
}

#[test]
fn a_history_stays_small_and_forgets_the_oldest() {
    let cache = tempfile::tempdir().unwrap();
    let here = situation("tcg", 2, "m");
    for taken in 1..=40 {
        remember(cache.path(), &here, &[(Stage::Install, f64::from(taken))]);
    }
    for machine in 0..300 {
        remember(
            cache.path(),
            &situation("kvm", 2, &machine.to_string()),
            &[(Stage::Verify, 1.0)],
        );
    }
    let text = fs::read_to_string(cache.path().join("history.json")).unwrap();
    let file: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(file["runs"].as_array().unwrap().len(), 200);
    let cache = tempfile::tempdir().unwrap();
    for taken in 1..=40 {
        remember(cache.path(), &here, &[(Stage::Install, f64::from(taken))]);
    }
    assert!(
        (seconds(cache.path(), &here, Stage::Install) - 38.0).abs() < 1e-6,
        "the last five"
    );
}

#[test]
fn rubbish_in_a_history_is_passed_over() {
    let cache = tempfile::tempdir().unwrap();
    let here = situation("tcg", 2, "m");
    let table = typical::course(Stage::Install, "tcg").unwrap().seconds;
    let file = cache.path().join("history.json");
    let run = |seconds: &str| {
        format!(
            "{{\"stage\":\"install\",\"accelerator\":\"tcg\",\"cpus\":2,\"guest\":\"debian-13\",\"machine\":\"m\",\
             \"ended\":\"2026-11-28T10:00:00Z\",\"seconds\":{seconds},\"marks\":[]}}"
        )
    };
    for rubbish in [
        String::new(),
        "{".to_owned(),
        "[]".to_owned(),
        "{\"runs\":7}".to_owned(),
        "{\"runs\":[1,{\"stage\":\"lunch\"}]}".to_owned(),
        "{\"runs\":[".to_owned() + &run("-1") + "]}",
        "{\"runs\":[".to_owned() + &run("1e999") + "]}",
        "\u{0}".repeat(5 << 20),
    ] {
        fs::write(&file, &rubbish).unwrap();
        assert!((seconds(cache.path(), &here, Stage::Install) - table).abs() < 1e-6);
    }
    // What is right beside it counts.
    fs::write(&file, format!("{{\"runs\":[7,{},{}]}}", run("-1"), run("77"))).unwrap();
    assert!((seconds(cache.path(), &here, Stage::Install) - 77.0).abs() < 1e-6);
    // It cannot be written where a folder is, and nothing but that is said.
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    assert!(History::read(cache.path(), here.clone()).write(cache.path()).is_err());
    assert!((seconds(cache.path(), &here, Stage::Install) - table).abs() < 1e-6);
    assert_eq!(
        fs::read_dir(cache.path()).unwrap().count(),
        1,
        "no temporary file stays"
    );
}
