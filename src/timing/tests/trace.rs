use std::fs;
use std::path::Path;

use serde_json::Value;

use super::*;
use crate::fault::{Cause, Fault};

/// What of a trace has a length: name, kind, beginning and end.
fn spans(text: &str) -> Vec<(String, String, u64, u64)> {
    let trace: Value = serde_json::from_str(text).unwrap();
    let events = trace["traceEvents"].as_array().unwrap().iter();
    let complete = events.filter(|event| event["ph"] == "X").map(|event| {
        let text = |key: &str| event[key].as_str().unwrap().to_owned();
        let number = |key: &str| event[key].as_u64().unwrap();
        assert_eq!((number("pid"), number("tid")), (1, 1));
        (text("name"), text("cat"), number("ts"), number("ts") + number("dur"))
    });
    complete.collect()
}

/// Each part lies in its stage and each stage in the run; those of one parent follow each other.
fn are_nested(spans: &[(String, String, u64, u64)]) {
    let kinds = ["run", "stage", "part"];
    for pair in kinds.windows(2) {
        let of = |kind: &str| spans.iter().filter(|span| span.1 == kind).collect::<Vec<_>>();
        let (parents, children) = (of(pair[0]), of(pair[1]));
        assert!(!children.is_empty(), "there is no {}", pair[1]);
        for child in &children {
            let holds = |parent: &&&(String, String, u64, u64)| parent.2 <= child.2 && child.3 <= parent.3;
            assert_eq!(parents.iter().filter(holds).count(), 1, "{child:?}");
        }
        let in_order = children.windows(2).all(|two| two[0].3 <= two[1].2);
        assert!(in_order, "{}s overlap: {children:?}", pair[1]);
    }
}

#[test]
fn a_trace_is_nested_and_says_what_has_not_ended() {
    let trace = Trace::new(&run(), 600.25);
    let text = serde_json::to_string(&trace).unwrap();
    let spans = spans(&text);
    are_nested(&spans);
    let names = |kind: &str| {
        let of_kind = spans.iter().filter(|span| span.1 == kind);
        of_kind.map(|span| span.0.as_str()).collect::<Vec<_>>()
    };
    assert_eq!(names("run"), ["run"]);
    assert_eq!(names("stage"), ["media", "install", "docker", "project"]);
    assert_eq!(names("part").iter().filter(|name| **name == "kernel").count(), 2);
    // The whole install, to the microsecond.
    let install = spans.iter().find(|span| span.0 == "install").unwrap();
    assert_eq!((install.2, install.3), (3_000_000, 403_000_000));
    let of_install =
        |span: &&(String, String, u64, u64)| span.1 == "part" && install.2 <= span.2 && span.3 <= install.3;
    let sum: u64 = spans.iter().filter(of_install).map(|span| span.3 - span.2).sum();
    assert_eq!(sum, 400_000_000);
    // What runs when the run fails ends with it.
    assert_eq!(spans.iter().find(|span| span.0 == "make").unwrap().3, 600_250_000);
    let parsed: Value = serde_json::from_str(&text).unwrap();
    let ended = |name: &str| {
        let events = parsed["traceEvents"].as_array().unwrap();
        events.iter().find(|event| event["name"] == name).unwrap()["args"]["ended"].clone()
    };
    assert_eq!((ended("docker"), ended("project")), (true.into(), false.into()));
    let cached = parsed["traceEvents"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|event| event["ph"] == "i");
    assert_eq!(
        cached.map(|event| event["name"].clone()).collect::<Vec<_>>(),
        ["account (cached)"]
    );
}

#[test]
fn a_trace_of_nothing_is_one() {
    let spans = spans(&serde_json::to_string(&Trace::new(&Run::default(), 0.1)).unwrap());
    assert_eq!(spans, [("run".to_owned(), "run".to_owned(), 0, 100_000)]);
}

#[test]
fn a_trace_replaces_its_file_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("trace.json");
    fs::write(&file, "{}").unwrap();
    assert!(Trace::place(&file).is_err(), "it is no trace");
    let of_yesterday = serde_json::to_string(&Trace::new(&Run::default(), 0.1)).unwrap();
    fs::write(&file, &of_yesterday).unwrap();
    let place = Trace::place(&file).unwrap();
    assert_eq!(
        fs::read_to_string(&file).unwrap(),
        of_yesterday,
        "nothing is done before the run"
    );
    Trace::new(&run(), 600.0).write(&place).unwrap();
    are_nested(&spans(&fs::read_to_string(&file).unwrap()));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn where_no_trace_can_be_is_said_before_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let device = Path::new("/dev/null").to_owned();
    for file in [
        folder.path().join("nowhere/trace.json"),
        folder.path().to_owned(),
        device,
    ] {
        let error = Trace::place(&file).unwrap_err();
        assert_eq!(Fault::of(&error).unwrap().cause, Cause::Usage, "{error:#}");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_trace_is_known_as_this_programs_own() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("trace.json");
    Trace::new(&run(), 600.25).write(&file).unwrap();
    assert!(crate::project::own::is_record(&file));
    fs::write(&file, "{\"traceEvents\":[]}").unwrap();
    assert!(!crate::project::own::is_record(&file));
}

#[test]
fn a_trace_takes_no_links_place() {
    let folder = tempfile::tempdir().unwrap();
    let (file, link) = (folder.path().join("file"), folder.path().join("link"));
    fs::write(&file, "").unwrap();
    std::os::unix::fs::symlink(&file, &link).unwrap();
    Trace::place(&file).unwrap();
    let error = Trace::place(&link).unwrap_err();
    assert_eq!(Fault::of(&error).unwrap().cause, Cause::Usage);
}
