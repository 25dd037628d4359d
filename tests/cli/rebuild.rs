//! `rebuild`, `status --manifest`, `lock` and `create --locked`, as far as they need no guest.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::{Value, json};

use super::support::program;

const ISO: &str = "sha256:1111111111111111111111111111111111111111111111111111111111111111";

/// A project folder, with the machine `m` in the records.
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

    fn project(&self) -> PathBuf {
        self.0.path().join("project")
    }

    fn lock(&self) -> PathBuf {
        self.project().join("provision.lock")
    }

    fn dir(&self) -> PathBuf {
        self.0.path().join("data/machines/m")
    }

    /// The machine as `create` would have left it.
    fn remember(&self, manifest: Option<&Value>) {
        fs::create_dir_all(self.dir()).unwrap();
        let record = json!({
            "login": "jdoe", "guest": "debian-13", "made": "2026-01-01T00:00:00Z", "phase": "made",
            "layer": { "key": "aa", "id": "1" }, "https_port": 8443, "ssh_port": 2222, "cpus": 1, "memory_mib": 64,
            "accelerator": "tcg", "project": self.project(),
        });
        fs::write(self.dir().join("machine.json"), record.to_string()).unwrap();
        if let Some(manifest) = manifest {
            fs::write(self.dir().join("manifest.json"), manifest.to_string()).unwrap();
        }
    }

    fn run(&self, args: &[&str]) -> Output {
        let mut command = Command::new(program());
        command
            .args(args)
            .current_dir(self.project())
            .env("PROVISION_CACHE_DIR", self.0.path().join("cache"))
            .env("PROVISION_DATA_DIR", self.0.path().join("data"));
        command.output().unwrap()
    }

    #[track_caller]
    fn json(&self, args: &[&str]) -> Value {
        let output = self.run(&[&["--json"], args].concat());
        assert!(output.status.success(), "{}", stderr(&output));
        let text = String::from_utf8(output.stdout).unwrap();
        serde_json::from_str(text.lines().last().unwrap()).unwrap()
    }
}

fn manifest(version: &str) -> Value {
    let made = |stage: &str, inputs: Value| {
        json!({ "stage": stage, "key": "aa", "id": "1", "inputs": inputs, "made": "2026-08-01T09:30:00.5Z",
                "seconds": 61.5, "tool": "0.1.0" })
    };
    json!({
        "login": "jdoe", "guest": "debian-13", "machine": "qemu", "made": "2026-08-01T10:00:00Z", "tool": "0.1.0",
        "layer": { "key": "aa", "id": "1" },
        "iso": { "name": "debian.iso", "digest": ISO, "origin": { "signed": { "fingerprint": "DF9B9C49" } } },
        "stages": [made("install", json!({ "iso": ISO })), made("docker", json!({ "docker.sh": "22" }))],
        "packages": [
            { "name": "adduser", "version": "3.152", "stage": "install", "source": "iso" },
            { "name": "docker.io", "version": version, "stage": "docker",
              "source": { "archive": { "address": "http://deb.example.org/debian", "suite": "trixie/main" } } },
        ],
        "images": [{ "name": "docker.io/library/debian:bookworm", "digest": ISO }, { "name": "nginx:1", "id": "sha256:33" }],
    })
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_manifest_is_shown_to_people_and_programs() {
    let place = Place::new();
    place.remember(None);
    let output = place.run(&["status", "--manifest"]);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("provision create --name m"),
        "{}",
        stderr(&output)
    );

    place.remember(Some(&manifest("26.1.5")));
    let shown = place.json(&["status", "--manifest"]);
    assert_eq!(shown["iso"]["origin"]["signed"]["fingerprint"], "DF9B9C49");
    assert_eq!(shown["packages"][1]["source"]["archive"]["suite"], "trixie/main");
    assert_eq!(shown["stages"][1]["inputs"]["docker.sh"], "22");
    let text = String::from_utf8(place.run(&["status", "--manifest"]).stdout).unwrap();
    for part in [
        "signed by DF9B9C49",
        ISO,
        "docker.io  26.1.5   docker   http://deb.example.org/debian trixie/main",
        "built here: sha256:33",
        "docker.sh: 22",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

/// Between two disks, or after a kill there, the manifest is another disk's.
#[test]
fn the_manifest_of_another_disk_is_not_shown() {
    let place = Place::new();
    let mut manifest = manifest("26.1.5");
    manifest["layer"]["id"] = "2".into();
    place.remember(Some(&manifest));
    assert_eq!(place.run(&["status", "--manifest"]).status.code(), Some(2));
    assert_eq!(place.run(&["lock"]).status.code(), Some(2));
    assert!(!place.lock().exists());
}

#[test]
fn a_lock_is_written_beside_the_configuration_and_says_what_changed() {
    let place = Place::new();
    place.remember(Some(&manifest("26.1.5")));
    let shown = place.json(&["lock"]);
    assert_eq!(shown["packages"], 2);
    assert_eq!(shown["images"], 1, "what is built is not pinned");
    let lock: toml::Table = fs::read_to_string(place.lock()).unwrap().parse().unwrap();
    assert_eq!(lock["snapshot"].as_str(), Some("20260801T093000Z"));
    assert_eq!(lock["iso"]["digest"].as_str(), Some(ISO));
    assert_eq!(lock["packages"]["docker"]["docker.io"].as_str(), Some("26.1.5"));

    place.remember(Some(&manifest("27.0")));
    let shown = place.json(&["lock"]);
    assert_eq!(shown["changed"], json!(["- docker.io 26.1.5", "+ docker.io 27.0"]));

    // Too little is known of a machine that an older version made; what is pinned stays.
    let before = fs::read_to_string(place.lock()).unwrap();
    let mut bare = manifest("27.0");
    bare["packages"] = json!([]);
    place.remember(Some(&bare));
    let output = place.run(&["lock"]);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("provision rebuild --from docker"),
        "{}",
        stderr(&output)
    );
    assert_eq!(fs::read_to_string(place.lock()).unwrap(), before);
}

#[test]
fn what_is_not_locked_is_refused_before_anything_is_made() {
    let place = Place::new();
    for command in ["create", "rebuild"] {
        let output = place.run(&[command, "--locked"]);
        assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
        assert!(stderr(&output).contains("`provision lock`"), "{}", stderr(&output));
    }
    fs::write(place.lock(), "version = 1\n").unwrap();
    let output = place.run(&["create", "--locked"]);
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    assert!(!place.dir().exists());

    place.remember(Some(&manifest("26.1.5")));
    place.json(&["lock"]);
    fs::remove_dir_all(place.dir()).unwrap();
    let iso = place.0.path().join("other.iso");
    fs::write(&iso, "no medium at all").unwrap();
    let output = place.run(&["create", "--locked", "--iso", iso.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(5), "{}", stderr(&output));
    let said = stderr(&output);
    assert!(
        said.contains(&format!("- debian.iso {ISO}")) && said.contains("+ other.iso sha256:"),
        "{said}"
    );
    let layers = fs::read_dir(place.0.path().join("cache/v1/layers")).unwrap().flatten();
    assert_eq!(layers.filter(|entry| entry.path().is_dir()).count(), 0);
}

#[test]
fn only_stages_that_leave_checkpoints_can_be_made_anew() {
    let place = Place::new();
    for stage in ["media", "verify", "seal"] {
        let output = place.run(&["rebuild", "--from", stage]);
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        assert!(
            stderr(&output).contains("install, docker, account, project"),
            "{}",
            stderr(&output)
        );
    }
}
