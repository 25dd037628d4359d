use std::time::Instant;

use super::super::course::Course;
use super::*;
use crate::event::{Event, Stage};
use crate::fault::Fault;

fn check(rule: &str, passed: bool, detail: &str) -> Event {
    Event::Check {
        rule: rule.to_owned(),
        passed,
        detail: detail.to_owned(),
    }
}

fn step(stage: Stage) -> Event {
    Event::Step {
        stage,
        text: "at work".to_owned(),
    }
}

/// The file of a run whose events come a quarter of a second apart.
fn file(events: &[Event], fault: Option<Fault>) -> String {
    let start = Instant::now();
    let mut course = Course::new(start);
    let mut now = start;
    for event in events {
        now += Duration::from_millis(250);
        course.note(event, now);
    }
    let failure = fault.map(|fault| Failure::of(&fault.into()));
    let run = Run {
        command: "create",
        course: &course,
        failure: failure.as_ref(),
        now,
    };
    let text = String::from_utf8(xml(&run).unwrap()).unwrap();
    let document = roxmltree::Document::parse(&text).unwrap();
    let count = |tag: &str| document.descendants().filter(|node| node.has_tag_name(tag)).count();
    for counted in ["testsuites", "testsuite"] {
        let node = document.descendants().find(|node| node.has_tag_name(counted)).unwrap();
        for (name, tag) in [("tests", "testcase"), ("failures", "failure"), ("errors", "error")] {
            assert_eq!(
                node.attribute(name),
                Some(count(tag).to_string().as_str()),
                "{counted} {name}"
            );
        }
    }
    text
}

#[test]
fn a_rule_is_a_test() {
    let events = [
        step(Stage::Verify),
        check("site", true, "answers"),
        check("volumes", false, "a & b:\n  \"c\" is <not> there"),
    ];
    let fault = Fault::new(Cause::Verify, "the machine runs, but these checks failed: volumes");
    insta::assert_snapshot!(file(&events, Some(fault)), @r#"
    <?xml version="1.0" encoding="UTF-8"?>
    <testsuites name="provision" tests="2" failures="1" errors="0" time="0.750">
      <testsuite name="provision create" tests="2" failures="1" errors="0" time="0.750">
        <testcase name="site" classname="provision.verify" time="0.250"/>
        <testcase name="volumes" classname="provision.verify" time="0.250">
          <failure message="a &amp; b:" type="check">a &amp; b:
      &quot;c&quot; is &lt;not&gt; there</failure>
        </testcase>
      </testsuite>
    </testsuites>
    "#);
}

#[test]
fn what_ends_a_run_before_its_checks_is_a_test_of_its_stage() {
    let fault = Fault::new(Cause::Guest, "the installer asked a question\nWhich disk?").hint("look at it");
    insta::assert_snapshot!(file(&[step(Stage::Install)], Some(fault)), @r#"
    <?xml version="1.0" encoding="UTF-8"?>
    <testsuites name="provision" tests="1" failures="0" errors="1" time="0.250">
      <testsuite name="provision create" tests="1" failures="0" errors="1" time="0.250">
        <testcase name="stage install" classname="provision.install">
          <error message="the installer asked a question" type="exit code 7">the installer asked a question
      Which disk?
    hint: look at it</error>
        </testcase>
      </testsuite>
    </testsuites>
    "#);
}

#[test]
fn a_run_that_fails_before_any_stage_is_shown_too() {
    let text = file(&[], Some(Fault::new(Cause::Config, "no login")));
    assert!(
        text.contains("name=\"provision create\" classname=\"provision.create\""),
        "{text}"
    );
}

#[test]
fn what_xml_cannot_hold_is_left_out() {
    let every: String = (0..0x300_u32).filter_map(char::from_u32).collect();
    let hostile = format!("{every}\u{fffe}\u{ffff}\u{2028}]]></failure>&#0;");
    let events = [check(&hostile, false, &hostile), step(Stage::Project)];
    let text = file(&events, None);
    let document = roxmltree::Document::parse(&text).unwrap();
    let failure = document
        .descendants()
        .find(|node| node.has_tag_name("failure"))
        .unwrap();
    assert!(failure.text().unwrap().ends_with("]]></failure>&#0;"), "{text}");
    file(&[step(Stage::Project)], Some(Fault::new(Cause::Make, hostile)));
}

#[test]
fn a_file_is_replaced_whole_and_a_folder_that_is_missing_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let course = Course::new(Instant::now());
    let run = Run {
        command: "create",
        course: &course,
        failure: None,
        now: Instant::now(),
    };
    let file = folder.path().join("junit.xml");
    std::fs::write(&file, "all:\n").unwrap();
    assert!(write(&file, &run).is_err(), "it is nobody's report");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "all:\n");
    std::fs::write(&file, "<testsuite name=\"former\"/>").unwrap();
    write(&file, &run).unwrap();
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(roxmltree::Document::parse(&text).is_ok(), "{text}");
    assert!(write(&folder.path().join("no/junit.xml"), &run).is_err());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_file_is_known_as_this_programs_own_and_takes_no_links_place() {
    let folder = tempfile::tempdir().unwrap();
    let (plain, link) = (folder.path().join("checks.xml"), folder.path().join("link"));
    let course = Course::new(Instant::now());
    let run = Run {
        command: "create",
        course: &course,
        failure: None,
        now: Instant::now(),
    };
    write(&plain, &run).unwrap();
    assert!(crate::project::own::is_record(&plain));
    std::os::unix::fs::symlink(&plain, &link).unwrap();
    write(&link, &run).unwrap_err();
    assert!(link.is_symlink());
    let others = std::fs::read_to_string(&plain)
        .unwrap()
        .replace("\"provision\"", "\"pytest\"");
    std::fs::write(&plain, others).unwrap();
    assert!(!crate::project::own::is_record(&plain));
}
