//! Running the program and reading its events.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Instant;

use serde_json::Value;

/// A run of the program with `--json`.
pub struct Run {
    child: Child,
    lines: BufReader<ChildStdout>,
    /// What it has said so far.
    pub events: Vec<Value>,
    start: Instant,
    /// Whose run it is, for the output.
    world: &'static str,
}

/// A run that has ended.
pub struct Ended {
    /// The exit code; none after a signal.
    pub code: Option<i32>,
    /// Everything it said.
    pub events: Vec<Value>,
    /// What it printed on standard error.
    pub stderr: String,
    /// How long it took.
    pub seconds: f64,
}

impl Run {
    /// Starts `command` for the world of that name.
    pub fn start(command: &mut Command, world: &'static str) -> Self {
        let start = Instant::now();
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self {
            child,
            lines,
            events: Vec::new(),
            start,
            world,
        }
    }

    /// Reads events until one of which `wanted` holds; `false` if the program ended before.
    pub fn until(&mut self, mut wanted: impl FnMut(&Value) -> bool) -> bool {
        while let Some(event) = self.next() {
            if wanted(&event) {
                return true;
            }
        }
        false
    }

    fn next(&mut self) -> Option<Value> {
        let mut line = String::new();
        if self.lines.read_line(&mut line).unwrap() == 0 {
            return None;
        }
        let event: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
        self.show(&event);
        self.events.push(event.clone());
        Some(event)
    }

    /// Milestones go to the test's own output, so that a run can be followed.
    fn show(&self, event: &Value) {
        let seconds = self.start.elapsed().as_secs();
        match event["event"].as_str() {
            Some("progress" | "output" | "detail" | "estimate") | None => {}
            Some(_) => println!("        {} {seconds:>5} s {event}", self.world),
        }
    }

    /// Sends SIGKILL.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends a signal (`INT`).
    pub fn signal(&self, signal: &str) {
        let status = Command::new("kill")
            .arg(format!("-{signal}"))
            .arg(self.child.id().to_string())
            .status()
            .unwrap();
        assert!(status.success());
    }

    /// Waits for the end.
    pub fn end(mut self) -> Ended {
        while self.next().is_some() {}
        let mut stderr = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        let status = self.child.wait().unwrap();
        Ended {
            code: status.code(),
            events: std::mem::take(&mut self.events),
            stderr,
            seconds: self.start.elapsed().as_secs_f64(),
        }
    }
}

impl Drop for Run {
    /// A failed test leaves no run behind.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ended {
    /// The names of the stages that ran.
    pub fn ran(&self) -> Vec<&str> {
        self.stages("stage_started")
    }

    /// The names of the stages that were taken from the cache.
    pub fn cached(&self) -> Vec<&str> {
        self.stages("stage_cached")
    }

    fn stages(&self, kind: &str) -> Vec<&str> {
        let events = self.events.iter().filter(|event| event["event"] == kind);
        events.map(|event| event["stage"].as_str().unwrap()).collect()
    }

    /// Fails the test unless the run succeeded.
    #[track_caller]
    pub fn succeeded(self) -> Self {
        let last: Vec<String> = self
            .events
            .iter()
            .rev()
            .take(30)
            .rev()
            .map(ToString::to_string)
            .collect();
        assert_eq!(self.code, Some(0), "{}\n{}", last.join("\n"), self.stderr);
        self
    }
}
