//! What a CI sees of a run: how it ends when its time is over or somebody ends it, and what it leaves. The program is real
//! and downloads from a server that falls silent, so that the run lasts as long as the test likes.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;

use super::support::{eventually, program};

/// What the server sends of the file before it falls silent.
const SENT: u64 = 300_000;

/// A project, folders for the program, and a server with an ISO that never comes whole.
struct Place {
    folder: tempfile::TempDir,
    address: String,
    asked: Arc<AtomicUsize>,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("project/srcs")).unwrap();
        fs::write(folder.path().join("project/Makefile"), "all:\n").unwrap();
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        // It ends with the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                count.fetch_add(1, Ordering::SeqCst);
                std::thread::spawn(move || {
                    let mut head = BufReader::new(stream.try_clone().unwrap()).lines();
                    while head.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nETag: \"a\"\r\nContent-Length: 900000000\r\n\r\n");
                    let _ = stream.write_all(&vec![7; usize::try_from(SENT).unwrap()]);
                    // Until the client hangs up.
                    let _ = stream.read(&mut [0]);
                });
            }
        });
        Self { folder, address, asked }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The program, not at GitHub's runner even if the tests are.
    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(program());
        command
            .args(args)
            .current_dir(self.path("project"))
            .env("PROVISION_CACHE_DIR", self.path("cache"))
            .env("PROVISION_DATA_DIR", self.path("data"))
            .env_remove("GITHUB_ACTIONS")
            .env_remove("GITHUB_STEP_SUMMARY")
            .env_remove("PROVISION_TIMEOUT")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// A `create` that lasts.
    fn create(&self, args: &[&str]) -> Command {
        self.lasting("create", args)
    }

    fn lasting(&self, name: &str, args: &[&str]) -> Command {
        let iso = format!("http://{}/debian.iso", self.address);
        let mut command = self.command(args);
        command.args([name, "--login", "jdoe", "--accelerator", "tcg", "--iso", &iso]);
        command.args(["--iso-sha256", &"0".repeat(64)]);
        command
    }

    /// Waits until the download stands still.
    fn downloads(&self) {
        eventually("the download has begun", || self.part() == Some(SENT));
    }

    /// How much of the ISO has come.
    fn part(&self) -> Option<u64> {
        let mut folders = vec![self.path("cache")];
        // What is not there yet, or no more, is not it.
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok) {
                match entry.metadata() {
                    Ok(data) if data.is_dir() => folders.push(entry.path()),
                    Ok(data) if entry.file_name() == "debian.iso.part" => return Some(data.len()),
                    _ => {}
                }
            }
        }
        None
    }

    /// What failed runs have left.
    fn bundles(&self) -> Vec<PathBuf> {
        // Of a run that came to nothing there is no machine.
        let entries = fs::read_dir(self.path("data/machines/jdoe")).into_iter().flatten();
        let paths = entries.map(|entry| entry.unwrap().path());
        paths
            .filter(|path| path.to_string_lossy().contains("/failure-"))
            .collect()
    }
}

fn send(signal: &str, child: &Child) {
    let status = Command::new("kill").args([signal, &child.id().to_string()]).status();
    assert!(status.unwrap().success());
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Every line of a log begins with a time, and nothing steers a terminal.
#[track_caller]
fn is_log(text: &str) {
    for line in text.lines() {
        let digits = |at: usize| {
            line.as_bytes()
                .get(at..at + 2)
                .is_some_and(|two| two.iter().all(u8::is_ascii_digit))
        };
        let time = digits(0) && digits(3) && digits(6) && line.as_bytes()[2] == b':' && line.as_bytes()[8] == b' ';
        assert!(time, "no time: {line:?} in {text}");
    }
    assert!(!text.contains('\u{1b}') && !text.contains('\r'), "{text:?}");
}

#[test]
fn a_run_that_is_ended_leaves_a_bundle_unless_a_person_ends_it() {
    for (signal, said, left) in [
        ("-TERM", "error: interrupted by SIGTERM", 1),
        ("-HUP", "error: interrupted by SIGHUP", 1),
        ("-INT", "error: interrupted", 0),
    ] {
        let place = Place::new();
        let child = place.create(&[]).spawn().unwrap();
        place.downloads();
        send(signal, &child);
        if signal == "-HUP" {
            // So does a terminal that is closed: by its shell, and then by the kernel.
            send(signal, &child);
        }
        let output = child.wait_with_output().unwrap();
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(130), "{signal}: {text}");
        assert!(
            text.contains(said) && text.contains("hint: nothing finished is lost"),
            "{text}"
        );
        is_log(&text);
        let bundles = place.bundles();
        assert_eq!(bundles.len(), left, "{signal}: {text}");
        assert_eq!(place.path("data/machines/jdoe").exists(), left > 0, "{signal}");
        for bundle in bundles {
            assert!(
                text.contains(&format!("what happened is kept in {}", bundle.display())),
                "{text}"
            );
            let error = fs::read_to_string(bundle.join("error.txt")).unwrap();
            assert!(
                error.starts_with("stage: media\n") && error.contains("interrupted by SIG"),
                "{error}"
            );
        }
        assert_eq!(place.part(), Some(SENT), "what has come stays for the next run");
    }
}

#[test]
fn a_run_whose_time_is_over_says_in_what_and_tells_the_runner() {
    // A busy host may need some of the time before the download begins.
    let told = ["4s", "16s", "64s", "256s"].into_iter().find_map(|limit| {
        let place = Place::new();
        let summary = place.path("summary.md");
        fs::write(&summary, "before\n").unwrap();
        let junit = place.path("junit.xml");
        let output = place
            .create(&["--json"])
            .args(["--junit", junit.to_str().unwrap()])
            .env("PROVISION_TIMEOUT", limit)
            .env("GITHUB_ACTIONS", "true")
            .env("GITHUB_STEP_SUMMARY", &summary)
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout.clone()).unwrap();
        let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        let begun = last["message"].as_str().unwrap().contains("downloading");
        begun.then_some((place, output, text, last, limit))
    });
    let (place, output, text, last, limit) = told.expect("the download never began");
    assert_eq!(
        (output.status.code(), &last["exit_code"]),
        (Some(124), &Value::from(124))
    );
    let message = last["message"].as_str().unwrap();
    let expected = format!(
        "the time of `--timeout {}` was over in the stage media: downloading http://",
        told_as(limit)
    );
    assert!(message.starts_with(&expected), "{message}");
    assert_eq!(
        last["hint"],
        "the same command goes on from the last checkpoint; `--timeout TIME` allows more"
    );
    // Standard output is for JSON alone.
    assert!(
        text.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()),
        "{text}"
    );
    let annotations = stderr(&output);
    let annotated = |start: &str| annotations.lines().any(|line| line.starts_with(start));
    assert!(
        annotated("::error title=provision%2C exit code 124::the time of"),
        "{annotations}"
    );
    assert!(
        annotated("::warning title=provision::what happened is kept in"),
        "{annotations}"
    );
    assert!(annotations.lines().all(|line| line.starts_with("::")), "{annotations}");
    assert_eq!(place.bundles().len(), 1);

    let summary = fs::read_to_string(place.path("summary.md")).unwrap();
    assert!(
        summary.starts_with("before\n### provision create: failed after "),
        "{summary}"
    );
    for part in [
        "| media | failed | ",
        "Exit code 124:",
        "hint: the same command goes on",
    ] {
        assert!(summary.contains(part), "{part}: {summary}");
    }
    let xml = fs::read_to_string(place.path("junit.xml")).unwrap();
    let document = roxmltree::Document::parse(&xml).unwrap();
    let case = document
        .descendants()
        .find(|node| node.has_tag_name("testcase"))
        .unwrap();
    assert_eq!(case.attribute("name"), Some("stage media"), "{xml}");
    let error = case.children().find(|node| node.has_tag_name("error")).unwrap();
    assert_eq!(error.attribute("type"), Some("exit code 124"), "{xml}");
}

/// As the program writes a time.
fn told_as(limit: &str) -> &str {
    match limit {
        "64s" => "1m 4s",
        "256s" => "4m 16s",
        limit => limit,
    }
}

/// However busy the host is: none of them could end otherwise.
#[test]
fn every_long_command_has_its_time() {
    for name in ["create", "rebuild", "fetch"] {
        let place = Place::new();
        let output = place.lasting(name, &["--timeout", "1ms"]).output().unwrap();
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(124), "{name}: {text}");
        assert!(text.contains("the time of `--timeout 1ms` was over"), "{name}: {text}");
    }
}

#[test]
fn a_run_that_is_killed_leaves_no_former_result() {
    let place = Place::new();
    let junit = place.path("junit.xml");
    fs::write(&junit, "<testsuites name=\"former\"/>").unwrap();
    let mut child = place.create(&[]).arg("--junit").arg(&junit).spawn().unwrap();
    place.downloads();
    child.kill().unwrap();
    child.wait().unwrap();
    let xml = fs::read_to_string(&junit).unwrap();
    let document = roxmltree::Document::parse(&xml).unwrap();
    let error = document.descendants().find(|node| node.has_tag_name("error")).unwrap();
    assert!(error.text().unwrap().contains("was killed"), "{xml}");
}

#[test]
fn files_that_cannot_be_written_are_told_in_time() {
    let place = Place::new();
    // What is something else stays.
    let other = place.path("other.mk");
    fs::write(&other, "all:\n").unwrap();
    for flag in ["--junit", "--trace"] {
        let output = place.create(&[]).arg(flag).arg(&other).output().unwrap();
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{flag}: {text}");
        assert!(
            text.contains("other.mk") && text.contains("it is there, and no"),
            "{flag}: {text}"
        );
        assert_eq!(fs::read_to_string(&other).unwrap(), "all:\n", "{flag}");
    }
    let missing = place.path("no/junit.xml");
    let output = place.create(&[]).arg("--junit").arg(&missing).output().unwrap();
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("no/junit.xml") && text.contains("hint:"), "{text}");
    assert!(!text.contains("warning"), "it is told once: {text}");
    assert_eq!(place.asked.load(Ordering::SeqCst), 0, "it began all the same");
    // Nobody has asked for a summary: it ends nothing.
    let output = place
        .command(&["create", "--login", "Root!"])
        .env("GITHUB_ACTIONS", "true")
        .env("GITHUB_STEP_SUMMARY", &missing)
        .output()
        .unwrap();
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(3), "{text}");
    assert!(
        text.contains("warning  the summary of the job is not written"),
        "{text}"
    );
    assert!(text.contains("\n::error title=provision%2C exit code 3::"), "{text}");
}

#[test]
fn nothing_is_for_github_elsewhere() {
    let place = Place::new();
    let summary = place.path("summary.md");
    let output = place
        .command(&["create", "--login", "Root!"])
        .env("GITHUB_STEP_SUMMARY", &summary)
        .output()
        .unwrap();
    assert!(!stderr(&output).contains("::error"), "{}", stderr(&output));
    assert!(!summary.exists());
}

#[test]
fn a_limit_is_a_time() {
    let place = Place::new();
    for (variable, flag, expected) in [
        ("soon", None, Some(2)),
        ("", None, Some(0)),
        ("1h", Some(""), Some(2)),
        ("1ms", Some("1h"), Some(0)),
    ] {
        let mut command = place.command(&["list"]);
        command.env("PROVISION_TIMEOUT", variable);
        command.args(flag.map(|flag| format!("--timeout={flag}")));
        let output = command.output().unwrap();
        assert_eq!(
            output.status.code(),
            expected,
            "{variable:?} {flag:?}: {}",
            stderr(&output)
        );
        // Nobody looks for a flag that was not given.
        let blamed = stderr(&output).contains("(set by PROVISION_TIMEOUT)");
        assert_eq!(blamed, variable == "soon", "{variable:?} {flag:?}: {}", stderr(&output));
    }
}

/// Half a minute of silence, which costs nothing but time.
#[test]
fn a_silent_download_shows_that_the_run_lives() {
    let place = Place::new();
    let mut child = place.create(&["--json"]).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let events = lines.map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());
    let beat = events
        .into_iter()
        .find(|event| event["event"] == "heartbeat" && event["stage"] == "media");
    send("-INT", &child);
    child.wait().unwrap();
    let beat = beat.expect("the run said no more");
    assert!(
        beat["text"].as_str().unwrap().starts_with("downloading http://"),
        "{beat}"
    );
    assert!(beat["seconds"].as_u64().is_some_and(|seconds| seconds >= 30), "{beat}");
}

/// Runs a program at a terminal of its own, and closes that once the file `$1` is there.
const CLOSED_TERMINAL: &str = "
import fcntl, os, pty, subprocess, sys, termios, threading, time
master, terminal = pty.openpty()
def begin():
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
child = subprocess.Popen(sys.argv[2:], stdin=terminal, stdout=terminal, stderr=terminal, preexec_fn=begin)
os.close(terminal)
os.set_blocking(master, False)
while child.poll() is None and not os.path.exists(sys.argv[1]):
    try: os.read(master, 65536)
    except BlockingIOError: time.sleep(0.02)
os.close(master)
print(child.wait())
";

#[test]
fn a_run_whose_terminal_goes_ends_as_one_that_is_interrupted() {
    let place = Place::new();
    let (mark, trace) = (place.path("close"), place.path("trace.json"));
    let mut create = place.create(&[]);
    create.arg("--trace").arg(&trace);
    let arguments = create.get_args().map(ToOwned::to_owned);
    let mut around = Command::new("python3");
    around
        .args(["-c", CLOSED_TERMINAL])
        .arg(&mark)
        .arg(program())
        .args(arguments);
    for (name, value) in create.get_envs() {
        match value {
            Some(value) => around.env(name, value),
            None => around.env_remove(name),
        };
    }
    around
        .current_dir(place.path("project"))
        .env("TERM", "xterm")
        .stdout(Stdio::piped());
    let around = around.spawn().unwrap();
    place.downloads();
    fs::write(&mark, "").unwrap();
    let ended = around.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&ended.stdout).trim(), "130");
    let trace = fs::read_to_string(&trace).unwrap();
    assert!(trace.contains("traceEvents"), "{trace}");
}
