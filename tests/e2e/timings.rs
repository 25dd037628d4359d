//! Where the time goes: parts, traces and estimates of real runs.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::run::Ended;
use super::world::World;

/// What the installer goes through.
const INSTALL: [&str; 10] = [
    "start",
    "components",
    "hardware",
    "partitioning",
    "base system",
    "kernel",
    "packages",
    "configure",
    "boot loader",
    "finish",
];

/// By so much the sum of a stage's parts may differ from what its layer says it took: that is measured without the layer
/// being put in place.
const CLOSE: f64 = 0.05;

/// After a run: every stage of the machine is there, those that ran have parts that add up, and the trace tells the same.
pub fn add_up(world: &World, ended: &Ended, trace: &Path) {
    let shown = world.json(&["status", "--timings"]);
    let stages = shown["stages"].as_array().unwrap();
    let names: Vec<&str> = stages.iter().map(|stage| stage["stage"].as_str().unwrap()).collect();
    assert_eq!(names, ["media", "install", "docker", "account", "project", "verify"]);
    let ran = ended.ran();
    for stage in stages {
        let name = stage["stage"].as_str().unwrap();
        assert_eq!(stage["cached"], !ran.contains(&name), "{stage}");
        let parts = stage["parts"].as_array().unwrap();
        // Checkpoints of an older version have none.
        assert!(!parts.is_empty() || !ran.contains(&name), "{stage}");
        if parts.is_empty() {
            continue;
        }
        let seconds = stage["seconds"].as_f64().unwrap();
        let sum: f64 = parts.iter().map(|part| part["seconds"].as_f64().unwrap()).sum();
        assert!((sum - seconds).abs() <= 1.0 + CLOSE * seconds, "{sum}: {stage}");
        let has = |part: &str| parts.iter().any(|known| known["name"] == part);
        match name {
            "install" => assert!(INSTALL.iter().all(|part| has(part)), "{stage}"),
            "docker" => assert!(
                ["package lists", "download", "unpack", "configure"]
                    .iter()
                    .all(|part| has(part)),
                "{stage}"
            ),
            "project" => assert!(["copy", "make", "site"].iter().all(|part| has(part)), "{stage}"),
            "verify" => assert!(["boot", "site", "checks"].iter().all(|part| has(part)), "{stage}"),
            _ => {}
        }
    }
    let text = world.text(&["status", "--timings"]);
    assert!(text.contains("verify"), "{text}");
    is_whole(trace, &ran);
    let estimates = ended.events.iter().filter(|event| event["event"] == "estimate");
    let of_verify = estimates.filter(|event| event["stage"] == "verify").count();
    assert!(of_verify > 0, "verify always runs, and always has an estimate");
}

/// The trace has the stages that ran; each lies within the run.
fn is_whole(trace: &Path, ran: &[&str]) {
    let events = spans(trace);
    let run = &events[0];
    let stages: Vec<&Value> = events.iter().filter(|event| event["cat"] == "stage").collect();
    let names: Vec<&str> = stages.iter().map(|event| event["name"].as_str().unwrap()).collect();
    assert_eq!(names, ran);
    for stage in stages {
        assert_eq!(stage["args"]["ended"], true, "{stage}");
        assert!(begin(run) <= begin(stage) && end(stage) <= end(run), "{stage}");
        let of_stage = |part: &&Value| part["cat"] == "part" && part["args"]["stage"] == stage["name"];
        for part in events.iter().filter(of_stage) {
            assert!(begin(stage) <= begin(part) && end(part) <= end(stage), "{part}");
        }
    }
}

/// The trace of a run that was interrupted while the installer began.
pub fn has_an_open_install(trace: &Path) {
    let events = spans(trace);
    let install = events
        .iter()
        .find(|event| event["name"] == "install")
        .expect("the stage that was interrupted");
    assert_eq!(install["args"]["ended"], false);
    assert!(
        events
            .iter()
            .any(|event| event["cat"] == "part" && event["name"] == "start")
    );
}

fn spans(trace: &Path) -> Vec<Value> {
    let trace: Value = serde_json::from_slice(&fs::read(trace).unwrap()).unwrap();
    let events = trace["traceEvents"].as_array().unwrap().iter();
    events.filter(|event| event["ph"] == "X").cloned().collect()
}

fn begin(event: &Value) -> u64 {
    event["ts"].as_u64().unwrap()
}

fn end(event: &Value) -> u64 {
    begin(event) + event["dur"].as_u64().unwrap()
}
