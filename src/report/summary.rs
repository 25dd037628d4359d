//! The summary of a job: Markdown that GitHub shows on the page of a run.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};

use super::clean::{clean, one_line};
use super::course::{End, Leg};
use super::records::Run;
use super::times;

/// How much of an error is shown. GitHub drops the whole summary of a step beyond 1 MiB.
const LONGEST: usize = 64 * 1024;

/// Appends the summary of `run` to `file`, all of it or nothing: by one write at the file's end.
///
/// # Errors
/// When it cannot be written.
pub fn append(file: &Path, run: &Run<'_>) -> Result<()> {
    let text = markdown(run);
    let open = std::fs::OpenOptions::new().append(true).create(true).open(file);
    open.and_then(|mut open| open.write_all(text.as_bytes()))
        .with_context(|| format!("appending to {}", file.display()))
}

/// The summary.
pub fn markdown(run: &Run<'_>) -> String {
    let time = times::span(run.course.time(run.now));
    let end = if run.failure.is_some() {
        "failed after"
    } else {
        "done in"
    };
    let mut text = format!("### provision {}: {end} {time}\n\n", run.command);
    if !run.course.stages.is_empty() {
        text.push_str("| stage | | time |\n|---|---|---|\n");
        for leg in &run.course.stages {
            let (what, time) = told(leg, run);
            row(&mut text, &[leg.stage.name(), what, &time]);
        }
        text.push('\n');
    }
    if !run.course.checks.is_empty() {
        text.push_str("| check | | |\n|---|---|---|\n");
        for check in &run.course.checks {
            let mark = if check.passed { "✔" } else { "✘" };
            row(&mut text, &[mark, &escaped(&check.rule), &escaped(&check.detail)]);
        }
        text.push('\n');
    }
    if let Some(failure) = run.failure {
        let said: Vec<String> = failure.plain().lines().map(clean).collect();
        let said = shortened(&said.join("\n"));
        let fence = fence(&said);
        let _ = write!(
            text,
            "Exit code {}:\n\n{fence}text\n{said}\n{fence}\n\n",
            failure.exit_code
        );
    }
    text
}

/// What became of a stage, and its time.
fn told(leg: &Leg, run: &Run<'_>) -> (&'static str, String) {
    match leg.end {
        End::Cached => ("cached", String::new()),
        End::Done(time) => ("run", times::span(time)),
        End::Open(began) => {
            let what = if run.failure.is_some() { "failed" } else { "run" };
            (what, times::span(run.now.saturating_duration_since(began)))
        }
    }
}

fn row(text: &mut String, cells: &[&str]) {
    // Writing into a string cannot fail.
    let _ = writeln!(text, "| {} |", cells.join(" | "));
}

/// `text` in a line of Markdown, where it means nothing but itself: a guest said it.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in one_line(text).chars() {
        match c {
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '&' => safe.push_str("&amp;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '~' | '$' | ':' | '@' | '#' | '!' => safe.extend(['\\', c]),
            c => safe.push(c),
        }
    }
    safe
}

/// The end of `text` where all of it is too long: what went wrong last matters most.
fn shortened(text: &str) -> String {
    let Some(over) = text.len().checked_sub(LONGEST).filter(|over| *over > 0) else {
        return text.to_owned();
    };
    let from = (over..text.len()).find(|at| text.is_char_boundary(*at));
    format!("…\n{}", &text[from.unwrap_or(text.len())..])
}

/// A fence that nothing in `text` closes.
fn fence(text: &str) -> String {
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    "`".repeat(longest.max(2) + 1)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::super::course::Course;
    use super::super::failure::Failure;
    use super::*;
    use crate::event::{Event, Stage};
    use crate::fault::{Cause, Fault};

    /// A run whose media is cached and whose install took its time; the project's stage began a minute ago.
    fn course(start: Instant) -> Course {
        let mut course = Course::new(start);
        let started = |stage| Event::StageStarted {
            stage,
            reason: "not made yet".to_owned(),
            typical_seconds: None,
        };
        for event in [
            Event::StageCached {
                stage: Stage::Media,
                key: "ab".to_owned(),
            },
            started(Stage::Install),
            Event::StageDone {
                stage: Stage::Install,
                seconds: 702.0,
            },
            started(Stage::Project),
            Event::Check {
                rule: "site".to_owned(),
                passed: true,
                detail: "answers".to_owned(),
            },
            Event::Check {
                rule: "volumes".to_owned(),
                passed: false,
                detail: "a|b <img src=x> `c`\n[x](http://evil) *d* ::error::".to_owned(),
            },
        ] {
            course.note(&event, start);
        }
        course
    }

    fn shown(failure: Option<&Failure>) -> String {
        let start = Instant::now();
        markdown(&Run {
            command: "create",
            course: &course(start),
            failure,
            now: start + Duration::from_secs(61),
        })
    }

    #[test]
    fn a_summary_has_stages_checks_and_the_error() {
        let fault = Fault::new(Cause::Make, "make failed\n```\n<script>").hint("`provision ssh` looks at it");
        let failure = Failure::of(&fault.into());
        insta::assert_snapshot!(shown(Some(&failure)), @r"
        ### provision create: failed after 1m01s

        | stage | | time |
        |---|---|---|
        | media | cached |  |
        | install | run | 11m42s |
        | project | failed | 1m01s |

        | check | | |
        |---|---|---|
        | ✔ | site | answers |
        | ✘ | volumes | a\|b &lt;img src=x&gt; \`c\` / \[x\](http\://evil) \*d\* \:\:error\:\: |

        Exit code 9:

        ````text
        error: make failed
          ```
          <script>
        hint: `provision ssh` looks at it
        ````
        ");
        assert!(shown(None).starts_with("### provision create: done in 1m01s\n"));
    }

    #[test]
    fn no_fence_is_closed_from_inside() {
        for (text, expected) in [("", "```"), ("`a`", "```"), ("```", "````"), ("x ````` y", "``````")] {
            assert_eq!(fence(text), expected, "{text}");
        }
    }

    #[test]
    fn the_end_of_a_long_error_is_shown() {
        let long = "é".repeat(LONGEST);
        let short = shortened(&long);
        assert!(short.len() <= LONGEST + 8 && short.starts_with("…\né"));
    }

    #[test]
    fn it_is_appended_and_a_file_that_cannot_be_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("summary.md");
        let start = Instant::now();
        let run = Run {
            command: "create",
            course: &Course::new(start),
            failure: None,
            now: start,
        };
        append(&file, &run).unwrap();
        append(&file, &run).unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        assert_eq!(text, markdown(&run).repeat(2));
        let missing = folder.path().join("no/summary.md");
        let error = append(&missing, &run).unwrap_err();
        assert!(format!("{error:#}").contains("no/summary.md"), "{error:#}");
    }
}
