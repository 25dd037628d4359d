use std::io;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::*;
use crate::event::{Forecast, Stage, Unit};
use crate::fault::{Cause, Fault};
use crate::wait::Wait;

/// What the views are shown: a run from a cached medium to a ready machine.
fn run() -> Vec<Event> {
    let progress = |done| Event::Progress {
        stage: Stage::Install,
        done,
        total: None,
        unit: Unit::Percent,
    };
    let output = |line: &str| Event::Output {
        stage: Stage::Project,
        stream: Stream::Stdout,
        line: line.to_owned(),
    };
    vec![
        Event::StageCached {
            stage: Stage::Media,
            key: "ab12".to_owned(),
        },
        Event::StageStarted {
            stage: Stage::Install,
            reason: "not made yet".to_owned(),
            typical_seconds: Some(700),
        },
        Event::Step {
            stage: Stage::Install,
            text: "partitioning".to_owned(),
        },
        progress(4),
        progress(5),
        progress(34),
        progress(100),
        Event::StageDone {
            stage: Stage::Install,
            seconds: 702.4,
        },
        Event::Warning {
            text: "no KVM here".to_owned(),
        },
        Event::StageStarted {
            stage: Stage::Project,
            reason: "srcs/ changed".to_owned(),
            typical_seconds: None,
        },
        output("\u{1b}[31mbuilding\u{1b}[0m nginx"),
        Event::Detail {
            text: "only with -v".to_owned(),
        },
        Event::StageDone {
            stage: Stage::Project,
            seconds: 61.0,
        },
        Event::Check {
            rule: "https".to_owned(),
            passed: true,
            detail: "TLS 1.3".to_owned(),
        },
        Event::Check {
            rule: "port-80".to_owned(),
            passed: false,
            detail: "answers".to_owned(),
        },
        Event::Ready {
            name: "jdoe".to_owned(),
            url: "https://jdoe.42.fr:8443".to_owned(),
            https_port: 8443,
            ssh_port: 40022,
        },
    ]
}

fn failure() -> Failure {
    Failure::of(
        &Fault::new(Cause::Make, "make failed")
            .hint("`provision ssh` looks at it")
            .into(),
    )
}

/// What a view of `make` writes for `events` and a failure.
fn written<V: View>(events: &[Event], view: impl FnOnce(Shared) -> V) -> String {
    let shared = Shared::default();
    let mut view = view(shared.clone());
    for event in events {
        view.event(event);
    }
    view.failure(&failure());
    shared.text()
}

/// A writer that a test can read.
#[derive(Clone, Default)]
pub struct Shared(Arc<Mutex<Vec<u8>>>);

impl Shared {
    pub fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn json_is_an_object_a_line() {
    let clock = || jiff::Timestamp::from_second(1_800_000_000).unwrap();
    let text = written(&run(), |to| json::Json::at(to, clock));
    for line in text.lines() {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(value["event"].is_string() && value["time"].is_string(), "{line}");
    }
    let some: Vec<&str> = text.lines().filter(|line| !line.contains("progress")).collect();
    insta::assert_snapshot!(some.join("\n"), @r#"
    {"time":"2027-01-15T08:00:00.000Z","event":"stage_cached","stage":"media","key":"ab12"}
    {"time":"2027-01-15T08:00:00.000Z","event":"stage_started","stage":"install","reason":"not made yet","typical_seconds":700}
    {"time":"2027-01-15T08:00:00.000Z","event":"step","stage":"install","text":"partitioning"}
    {"time":"2027-01-15T08:00:00.000Z","event":"stage_done","stage":"install","seconds":702.4}
    {"time":"2027-01-15T08:00:00.000Z","event":"warning","text":"no KVM here"}
    {"time":"2027-01-15T08:00:00.000Z","event":"stage_started","stage":"project","reason":"srcs/ changed"}
    {"time":"2027-01-15T08:00:00.000Z","event":"output","stage":"project","stream":"stdout","line":"\u001b[31mbuilding\u001b[0m nginx"}
    {"time":"2027-01-15T08:00:00.000Z","event":"detail","text":"only with -v"}
    {"time":"2027-01-15T08:00:00.000Z","event":"stage_done","stage":"project","seconds":61.0}
    {"time":"2027-01-15T08:00:00.000Z","event":"check","rule":"https","passed":true,"detail":"TLS 1.3"}
    {"time":"2027-01-15T08:00:00.000Z","event":"check","rule":"port-80","passed":false,"detail":"answers"}
    {"time":"2027-01-15T08:00:00.000Z","event":"ready","name":"jdoe","url":"https://jdoe.42.fr:8443","https_port":8443,"ssh_port":40022}
    {"time":"2027-01-15T08:00:00.000Z","event":"error","message":"make failed","causes":[],"hint":"`provision ssh` looks at it","exit_code":9}
    "#);
}

#[test]
fn plain_lines_have_a_time_and_no_escape_codes() {
    static CALLS: AtomicU64 = AtomicU64::new(0);
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    // Long enough between two events for progress to be told.
    let clock = || {
        let time = jiff::Timestamp::from_second(1_800_000_000).unwrap();
        let passed = Duration::from_secs(2 * CALLS.fetch_add(1, Ordering::SeqCst));
        (time.to_zoned(jiff::tz::TimeZone::UTC), *START + passed)
    };
    let text = written(&run(), |to| plain::Plain::at(to, clock));
    assert!(!text.contains('\u{1b}'));
    insta::assert_snapshot!(text, @r"
    08:00:00 media    cached
    08:00:00 install  started: not made yet, about 11m40s
    08:00:00 install  partitioning
    08:00:00 install  partitioning (5%)
    08:00:00 install  partitioning (34%)
    08:00:00 install  partitioning (100%)
    08:00:00 install  done in 11m42s
    08:00:00 warning  no KVM here
    08:00:00 project  started: srcs/ changed
    08:00:00 project  | building nginx
    08:00:00 detail   only with -v
    08:00:00 project  done in 1m01s
    08:00:00 check    ok https: TLS 1.3
    08:00:00 check    FAILED port-80: answers
    08:00:00 ready    https://jdoe.42.fr:8443 on port 8443 of 127.0.0.1, `provision url --name jdoe` tells how to open it; SSH on port 40022, `provision ssh --name jdoe`
    08:00:00 error: make failed
    08:00:00 hint: `provision ssh` looks at it
    ");
}

/// A command that told nothing before is no log.
#[test]
fn an_error_alone_has_no_time() {
    let clock = || (jiff::Zoned::now(), Instant::now());
    let text = written(&[], |to| plain::Plain::at(to, clock));
    insta::assert_snapshot!(text, @r"
    error: make failed
    hint: `provision ssh` looks at it
    ");
}

#[test]
fn an_event_of_many_lines_is_one_line() {
    let clock = || {
        let time = jiff::Timestamp::UNIX_EPOCH.to_zoned(jiff::tz::TimeZone::UTC);
        (time, Instant::now())
    };
    let text = "the console said:\r\n  \u{1b}[2Kpanic\r\n  no init".to_owned();
    let warning = Event::Warning { text };
    let plain = written(std::slice::from_ref(&warning), |to| plain::Plain::at(to, clock));
    assert_eq!(
        plain.lines().next(),
        Some("00:00:00 warning  the console said: / panic / no init")
    );
    let screen = Screen::default();
    screen.person(false).event(&warning);
    assert_eq!(screen.text(), "warning: the console said: / panic / no init");
}

/// Each event of a run but progress, which is told when it has taken a while, has one line, and each line of the log its time, those of the error too.
#[test]
fn every_event_has_a_line_and_every_line_a_time() {
    let clock = || {
        let time = jiff::Timestamp::UNIX_EPOCH.to_zoned(jiff::tz::TimeZone::UTC);
        (time, Instant::now())
    };
    for event in run()
        .into_iter()
        .filter(|event| !matches!(event, Event::Progress { .. }))
    {
        let lines = |events: &[Event]| written(events, |to| plain::Plain::at(to, clock)).lines().count();
        assert_eq!(lines(std::slice::from_ref(&event)), 1 + lines(&[]), "{event:?}");
    }
    let text = written(&run(), |to| plain::Plain::at(to, clock));
    assert!(text.lines().all(|line| line.starts_with("00:00:00 ")), "{text}");
}

/// What a guest printed does not become a command of GitHub's runner, and reaches a program as it was.
#[test]
fn json_holds_no_command() {
    let said = line_of("x ##[add-path]/tmp ###[error]");
    let text = written(std::slice::from_ref(&said), json::Json::new);
    assert!(!text.contains("##["), "{text}");
    let value: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    assert_eq!(value["line"], "x ##[add-path]/tmp ###[error]");
}

#[test]
fn plain_progress_of_a_moment_is_not_told() {
    static CALLS: AtomicU64 = AtomicU64::new(0);
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    // A hundred steps in one second, and what is told when they are done.
    let clock = || {
        let passed = Duration::from_millis(10 * CALLS.fetch_add(1, Ordering::SeqCst));
        (
            jiff::Timestamp::UNIX_EPOCH.to_zoned(jiff::tz::TimeZone::UTC),
            *START + passed,
        )
    };
    let shared = Shared::default();
    let mut view = plain::Plain::at(shared.clone(), clock);
    for done in 0..=100 {
        view.event(&Event::Progress {
            stage: Stage::Media,
            done,
            total: Some(100),
            unit: Unit::Bytes,
        });
    }
    assert_eq!(shared.text(), "");
}

#[test]
fn plain_progress_is_told_every_tenth_or_half_minute() {
    static SECONDS: AtomicU64 = AtomicU64::new(0);
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    let clock = || {
        let passed = Duration::from_secs(SECONDS.load(Ordering::SeqCst));
        let zoned = jiff::Timestamp::UNIX_EPOCH.to_zoned(jiff::tz::TimeZone::UTC);
        (zoned, *START + passed)
    };
    let shared = Shared::default();
    let mut view = plain::Plain::at(shared.clone(), clock);
    // A mebibyte a second: an eighth of a percent, so it is the half minutes that count at first; ten times as fast then.
    for mib in 0..=800_u64 {
        SECONDS.store(mib.min(60) + mib.saturating_sub(60) / 10, Ordering::SeqCst);
        view.event(&Event::Progress {
            stage: Stage::Media,
            done: mib << 20,
            total: Some(800 << 20),
            unit: Unit::Bytes,
        });
    }
    insta::assert_snapshot!(shared.text(), @r"
    00:00:00 media    (2.0 MiB of 800.0 MiB, 0%)
    00:00:00 media    (32.0 MiB of 800.0 MiB, 4%)
    00:00:00 media    (80.0 MiB of 800.0 MiB, 10%)
    00:00:00 media    (160.0 MiB of 800.0 MiB, 20%)
    00:00:00 media    (240.0 MiB of 800.0 MiB, 30%)
    00:00:00 media    (320.0 MiB of 800.0 MiB, 40%)
    00:00:00 media    (400.0 MiB of 800.0 MiB, 50%)
    00:00:00 media    (480.0 MiB of 800.0 MiB, 60%)
    00:00:00 media    (560.0 MiB of 800.0 MiB, 70%)
    00:00:00 media    (640.0 MiB of 800.0 MiB, 80%)
    00:00:00 media    (720.0 MiB of 800.0 MiB, 90%)
    00:00:00 media    (800.0 MiB of 800.0 MiB, 100%)
    ");
}

#[test]
fn a_person_sees_finished_stages_and_the_running_one() {
    let screen = Screen::default();
    let mut view = screen.person(false);
    let events = run();
    let (before, after) = events.split_at(6);
    for event in before {
        view.event(event);
    }
    insta::assert_snapshot!(screen.showing("34%"), @r"
    ✔ media    cached
    * install  ██████▌░░░░░░░░░░░░░  34%  0s, about 12m left  partitioning
    ");
    for event in after {
        view.event(event);
    }
    insta::assert_snapshot!(screen.text(), @r"
    ✔ media    cached
    ✔ install  11m42s
    warning: no KVM here
      only with -v
    ✔ project  1m01s
      ✔ https  TLS 1.3
      ✘ port-80  answers

    jdoe is ready
      site   https://jdoe.42.fr:8443    port 8443 on 127.0.0.1
      open   provision url --name jdoe  how to reach it from here
      shell  provision ssh --name jdoe  port 40022 on 127.0.0.1
    ");
}

#[test]
fn a_person_sees_the_last_lines_and_where_it_failed() {
    let screen = Screen::default();
    let mut view = screen.person(false);
    view.event(&Event::StageStarted {
        stage: Stage::Project,
        reason: "srcs/ changed".to_owned(),
        typical_seconds: None,
    });
    (1..=9).for_each(|number| view.event(&line(number)));
    insta::assert_snapshot!(screen.showing("line 9"), @r"
    * project  0s  srcs/ changed
      │ line 5
      │ line 6
      │ line 7
      │ line 8
      │ line 9
    ");
    view.failure(&failure());
    insta::assert_snapshot!(screen.text(), @r"
    ✘ project  0s
    error: make failed
    hint: `provision ssh` looks at it
    ");
}

#[test]
fn a_person_who_wants_more_sees_every_line() {
    let screen = Screen::default();
    let mut view = screen.person(true);
    (1..=9).for_each(|number| view.event(&line(number)));
    view.end();
    assert_eq!(screen.text().lines().count(), 9);
}

#[test]
fn the_step_after_a_transfer_has_no_bar_of_bytes() {
    let screen = Screen::default();
    let mut view = screen.person(false);
    view.event(&Event::Progress {
        stage: Stage::Project,
        done: 7,
        total: Some(7),
        unit: Unit::Bytes,
    });
    view.event(&Event::Step {
        stage: Stage::Project,
        text: "running make".to_owned(),
    });
    insta::assert_snapshot!(screen.showing("running make"), @"* project  0s  running make");
}

#[test]
fn a_download_shows_its_bytes() {
    let screen = Screen::default();
    let mut view = screen.person(false);
    for (done, total) in [(1 << 20, None), (512 << 20, Some(1 << 30))] {
        view.event(&Event::Progress {
            stage: Stage::Media,
            done,
            total,
            unit: Unit::Bytes,
        });
    }
    let text = screen.showing("50%");
    assert!(text.contains("512.00 MiB of 1.00 GiB"), "{text}");
}

/// An estimate of five minutes for a stage and a quarter of an hour for the run.
fn estimate() -> Event {
    let left = |seconds: f64| Forecast {
        left: seconds,
        due: 60.0,
        then: seconds - 60.0,
        measured: 100.0,
        rest: 0.0,
        rest_measured: 0.0,
    };
    Event::Estimate {
        stage: Stage::Install,
        seconds_left: left(299.0),
        run_seconds_left: Some(left(899.0)),
    }
}

#[test]
fn an_estimate_replaces_what_is_typical() {
    let screen = Screen::default();
    let mut view = screen.person(false);
    view.event(&run()[1]);
    assert!(screen.showing("12m left").contains("0s, about 12m left  not made yet"));
    view.event(&estimate());
    insta::assert_snapshot!(screen.showing("to the end"), @"* install  0s, about 5m left (about 15m to the end)  not made yet");
}

#[test]
fn a_log_tells_the_time_left_once_a_minute() {
    static SECONDS: AtomicU64 = AtomicU64::new(0);
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    let clock = || {
        let passed = Duration::from_secs(SECONDS.load(Ordering::SeqCst));
        (
            jiff::Timestamp::UNIX_EPOCH.to_zoned(jiff::tz::TimeZone::UTC),
            *START + passed,
        )
    };
    let shared = Shared::default();
    let mut view = plain::Plain::at(shared.clone(), clock);
    for second in [0, 1, 59, 60, 61, 119, 120] {
        SECONDS.store(second, Ordering::SeqCst);
        view.event(&estimate());
    }
    let line = "00:00:00 install  about 5m left (about 15m to the end)\n";
    assert_eq!(shared.text(), line.repeat(3));
}

fn line(number: u32) -> Event {
    line_of(&format!("line {number}"))
}

fn line_of(text: &str) -> Event {
    Event::Output {
        stage: Stage::Project,
        stream: Stream::Stdout,
        line: text.to_owned(),
    }
}

#[test]
fn less_is_told_when_less_is_asked_for() {
    let told = |verbosity: Verbosity| run().iter().filter(|event| verbosity.tells(event)).count();
    assert_eq!(told(Verbosity::Verbose), run().len());
    assert_eq!(told(Verbosity::Normal), run().len() - 1);
    // The warning, the failed check and that the machine is ready.
    assert_eq!(told(Verbosity::Quiet), 3);
}

const WIDTH: usize = 80;

/// A terminal in memory: lines and a cursor.
#[derive(Debug, Clone, Default)]
struct Screen(Arc<Mutex<Cells>>);

#[derive(Debug, Default)]
struct Cells {
    lines: Vec<Vec<char>>,
    row: usize,
    column: usize,
}

impl Screen {
    fn person(&self, verbose: bool) -> person::Person<Self> {
        let target = indicatif::ProgressDrawTarget::term_like(Box::new(self.clone()));
        person::Person::new(self.clone(), target, Paint::NONE, verbose)
    }

    /// What is on the screen, with a spinner that stands.
    fn text(&self) -> String {
        let cells = self.0.lock().unwrap();
        let lines = cells
            .lines
            .iter()
            .map(|line| line.iter().collect::<String>().trim_end().to_owned());
        let text = lines.collect::<Vec<String>>().join("\n").trim_end().to_owned();
        text.replace(|c| ('\u{2801}'..='\u{28ff}').contains(&c), "*")
    }

    /// The same once `part` is there: a bar that changes often is drawn a little later.
    fn showing(&self, part: &str) -> String {
        Wait::new(format!("`{part}` on the screen"), Duration::from_secs(20))
            .until(|| Ok(Some(self.text()).filter(|text| text.contains(part))))
            .unwrap()
    }

    fn cells(&self) -> io::Result<MutexGuard<'_, Cells>> {
        self.0.lock().map_err(|error| io::Error::other(error.to_string()))
    }
}

impl Cells {
    fn put(&mut self, text: &str) {
        for c in text.chars() {
            if self.lines.len() <= self.row {
                self.lines.resize(self.row + 1, Vec::new());
            }
            match c {
                '\n' => (self.row, self.column) = (self.row + 1, 0),
                '\r' => self.column = 0,
                c => {
                    // A terminal wraps when something is written after the last column, not before.
                    if self.column == WIDTH {
                        (self.row, self.column) = (self.row + 1, 0);
                        self.lines.resize(self.lines.len().max(self.row + 1), Vec::new());
                    }
                    let line = &mut self.lines[self.row];
                    line.resize(line.len().max(self.column + 1), ' ');
                    line[self.column] = c;
                    self.column += 1;
                }
            }
        }
    }
}

impl Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.cells()?.put(std::str::from_utf8(bytes).unwrap());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl indicatif::TermLike for Screen {
    fn width(&self) -> u16 {
        u16::try_from(WIDTH).unwrap()
    }

    fn height(&self) -> u16 {
        24
    }

    fn move_cursor_up(&self, n: usize) -> io::Result<()> {
        let mut cells = self.cells()?;
        cells.row = cells.row.saturating_sub(n);
        Ok(())
    }

    fn move_cursor_down(&self, n: usize) -> io::Result<()> {
        self.cells()?.row += n;
        Ok(())
    }

    fn move_cursor_right(&self, n: usize) -> io::Result<()> {
        self.cells()?.column += n;
        Ok(())
    }

    fn move_cursor_left(&self, n: usize) -> io::Result<()> {
        let mut cells = self.cells()?;
        cells.column = cells.column.saturating_sub(n);
        Ok(())
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        self.cells()?.put(&format!("{text}\n"));
        Ok(())
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        self.cells()?.put(text);
        Ok(())
    }

    fn clear_line(&self) -> io::Result<()> {
        let mut cells = self.cells()?;
        cells.column = 0;
        let row = cells.row;
        if let Some(line) = cells.lines.get_mut(row) {
            line.clear();
        }
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }
}
