//! `status --timings` and `--trace`, as far as they need no guest.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use super::support::program;

const KEYS: [(&str, &str); 2] = [("install", "1"), ("docker", "2")];

/// A project, and the machine `m` on two checkpoints.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        fs::create_dir_all(place.project().join("srcs")).unwrap();
        fs::write(place.project().join("Makefile"), "all:\n").unwrap();
        fs::write(
            place.project().join("provision.toml"),
            "login = \"jdoe\"\nname = \"m\"\n",
        )
        .unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn project(&self) -> PathBuf {
        self.path("project")
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(program());
        command
            .args(args)
            .current_dir(self.project())
            .env("PROVISION_CACHE_DIR", self.path("cache"))
            .env("PROVISION_DATA_DIR", self.path("data"));
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// The machine as `create` would have left it, on the checkpoint `layer`.
    fn remember(&self, layer: &Value) {
        fs::create_dir_all(self.path("data/machines/m")).unwrap();
        let record = json!({
            "login": "jdoe", "guest": "debian-13", "made": "2026-01-01T00:00:00Z", "phase": "made", "layer": layer,
            "https_port": 8443, "ssh_port": 2222, "cpus": 1, "memory_mib": 64, "accelerator": "tcg",
            "project": self.project(),
        });
        fs::write(self.path("data/machines/m/machine.json"), record.to_string()).unwrap();
    }

    /// Checkpoints as an older version made them, but for what `parts` says of the first.
    fn checkpoints(&self, parts: Option<&Value>) {
        let mut parent = Value::Null;
        for (stage, digit) in KEYS {
            let key = digit.repeat(64);
            let mut manifest = json!({
                "format": Self::format(), "stage": stage, "key": key, "id": digit, "parent": parent, "inputs": {},
                "made": "2026-08-01T09:30:00.5Z", "seconds": 90.5, "tool": "0.1.0",
            });
            if let Some(parts) = parts.filter(|_| stage == "install") {
                manifest["parts"] = parts.clone();
            }
            let folder = self.path("cache/v1/layers").join(&key);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("disk.qcow2"), "").unwrap();
            fs::write(folder.join("layer.json"), manifest.to_string()).unwrap();
            parent = json!({ "key": key, "id": digit });
        }
        self.remember(&parent);
    }

    /// The store's format, as the program writes it.
    fn format() -> Value {
        let key = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/key.rs");
        let text = fs::read_to_string(key).unwrap();
        let line = text.lines().find(|line| line.contains("const FORMAT")).unwrap();
        let number = line.rsplit("= ").next().unwrap().trim_end_matches(';');
        number.parse::<u64>().unwrap().into()
    }

    #[track_caller]
    fn json(&self, args: &[&str]) -> Value {
        let output = self.run(&[&["--json"], args].concat());
        assert!(output.status.success(), "{}", stderr(&output));
        let text = String::from_utf8(output.stdout).unwrap();
        serde_json::from_str(text.lines().last().unwrap()).unwrap()
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn trace(file: &Path) -> Vec<Value> {
    let trace: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    let events = trace["traceEvents"].as_array().unwrap().iter();
    events.filter(|event| event["ph"] == "X").cloned().collect()
}

#[test]
fn cached_stages_tell_what_they_took_when_they_were_made() {
    let place = Place::new();
    let parts = json!([{ "name": "partitioning", "seconds": 8.25 }, { "name": "kernel", "seconds": 82.25 }]);
    place.checkpoints(Some(&parts));
    let shown = place.json(&["status", "--timings"]);
    assert_eq!(shown["event"], "result");
    assert_eq!(shown["stages"].as_array().unwrap().len(), 2);
    assert_eq!(shown["stages"][0]["parts"], parts);
    assert_eq!(shown["stages"][0]["cached"], true);
    // One of an older version.
    assert_eq!(shown["stages"][1]["parts"], json!([]));
    let text = String::from_utf8(place.run(&["status", "--timings"]).stdout).unwrap();
    for line in [
        "install         cached, took 1m30s  made 2026-08-01",
        "  partitioning    8.2s              and file systems",
        "  kernel          1m22s             unpacked and set up in the same run of dpkg as all others",
        "docker          cached, took 1m30s  made 2026-08-01T09:30:00Z, its parts were not noted then",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
}

#[test]
fn the_run_that_made_the_machine_is_shown_as_long_as_it_is_that_machine() {
    let place = Place::new();
    place.checkpoints(None);
    let layer = json!({ "key": "2".repeat(64), "id": "2" });
    let timings = json!({
        "ended": "2026-08-02T10:00:00Z", "seconds": 100.0, "layer": layer,
        "stages": [
            { "stage": "install", "cached": true, "made": "2026-08-01T09:30:00Z", "seconds": 90.5, "parts": [] },
            { "stage": "verify", "cached": false, "made": "2026-08-02T10:00:00Z", "seconds": 61.0,
              "parts": [{ "name": "boot", "seconds": 61.0 }] },
        ],
    });
    let file = place.path("data/machines/m/timings.json");
    fs::write(&file, timings.to_string()).unwrap();
    let shown = place.json(&["status", "--timings"]);
    assert_eq!(shown["stages"], timings["stages"]);
    let text = String::from_utf8(place.run(&["status", "--timings"]).stdout).unwrap();
    assert!(
        text.starts_with("the run that ended 2026-08-02T10:00:00Z took 1m40s\n"),
        "{text}"
    );
    // Of another disk, or damaged: what the checkpoints tell.
    for other in [
        timings.to_string().replace(&"2".repeat(64), &"1".repeat(64)),
        "{".to_owned(),
    ] {
        fs::write(&file, other).unwrap();
        let shown = place.json(&["status", "--timings"]);
        assert_eq!(shown["ended"], Value::Null);
        assert_eq!(shown["stages"][1]["stage"], "docker");
    }
}

#[test]
fn where_nothing_is_known_it_says_so() {
    let place = Place::new();
    let output = place.run(&["status", "--timings"]);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    place.remember(&Value::Null);
    let output = place.run(&["status", "--timings"]);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("hint: `provision create --name m`"),
        "{}",
        stderr(&output)
    );
}

/// A run that fails in its first stage: the checksum is another's.
#[test]
fn a_run_that_fails_leaves_its_trace_too() {
    let place = Place::new();
    let iso = place.path("some.iso");
    fs::write(&iso, vec![0; 1 << 20]).unwrap();
    let sum = "0".repeat(128);
    for command in ["create", "rebuild"] {
        let file = place.path("trace.json");
        let args = [command, "--iso", iso.to_str().unwrap(), "--iso-sha512", &sum, "--trace"];
        let output = place.run(&[&args[..], &[file.to_str().unwrap()]].concat());
        assert_eq!(output.status.code(), Some(5), "{}", stderr(&output));
        let events = trace(&file);
        let media = events
            .iter()
            .find(|event| event["name"] == "media")
            .expect("the stage that failed");
        assert_eq!(media["args"]["ended"], false);
        let run = &events[0];
        let end = |event: &Value| event["ts"].as_u64().unwrap() + event["dur"].as_u64().unwrap();
        assert!(run["ts"].as_u64() <= media["ts"].as_u64() && end(media) <= end(run));
        assert!(
            events
                .iter()
                .any(|event| event["cat"] == "part" && event["name"] == "check"),
            "{events:?}"
        );
        fs::remove_file(file).unwrap();
    }
    assert!(!place.path("cache/v1/history.json").exists(), "no stage has ended well");
}

/// Ctrl-C while a server lets the run wait.
#[test]
fn a_run_that_is_interrupted_leaves_its_trace_too() {
    let place = Place::new();
    let server = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let iso = format!("http://{}/some.iso", server.local_addr().unwrap());
    let file = place.path("trace.json");
    let sum = "0".repeat(128);
    let args = [
        "create",
        "--iso",
        &iso,
        "--iso-sha512",
        &sum,
        "--trace",
        file.to_str().unwrap(),
    ];
    let child = place.command(&args).stderr(Stdio::piped()).spawn().unwrap();
    let (_silent, _) = server.accept().unwrap();
    assert!(!file.exists(), "a trace is written at the end");
    let killed = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .unwrap();
    assert!(killed.success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", stderr(&output));
    let events = trace(&file);
    let media = events
        .iter()
        .find(|event| event["name"] == "media")
        .expect("the stage that was interrupted");
    assert_eq!(media["args"]["ended"], false);
    let files = fs::read_dir(place.0.path())
        .unwrap()
        .flatten()
        .map(|entry| entry.file_name());
    assert_eq!(
        files
            .filter(|name| name != "project" && name != "cache" && name != "data")
            .count(),
        1
    );
}

#[test]
fn a_trace_that_cannot_be_written_is_refused_before_the_run() {
    let place = Place::new();
    for command in ["create", "rebuild", "fetch"] {
        let output = place.run(&[command, "--trace", "nowhere/trace.json"]);
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        assert!(stderr(&output).contains("nowhere/trace.json"), "{}", stderr(&output));
    }
    assert!(!place.path("data").exists());
}
