//! Folders with checkpoints and machines. The checkpoints are real disks; only their content is not Debian.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use super::support::program;

/// Folders for the program, in which checkpoints and machines are put.
pub struct Place(tempfile::TempDir);

impl Place {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    pub fn layers(&self) -> PathBuf {
        self.path("cache/v1/layers")
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(program());
        command
            .args(args)
            .current_dir(self.0.path())
            .env("PROVISION_CACHE_DIR", self.path("cache"))
            .env("PROVISION_DATA_DIR", self.path("data"))
            .stdin(Stdio::null());
        command
    }

    pub fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    pub fn json(&self, args: &[&str]) -> Vec<Value> {
        let output = self.run(&[&["--json"], args].concat());
        let text = String::from_utf8(output.stdout).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
        lines.filter(|line: &Value| line["event"] == "result").collect()
    }

    /// A checkpoint `digit` on another, made some days ago.
    pub fn layer(&self, stage: &str, digit: char, parent: Option<char>, days: i64, inputs: &Value) {
        let key = |digit: char| digit.to_string().repeat(64);
        let base = |digit: char| json!({ "key": key(digit), "id": format!("{digit}0") });
        let dir = self.layers().join(key(digit));
        fs::create_dir_all(&dir).unwrap();
        let disk = dir.join("disk.qcow2");
        let mut create = Command::new("qemu-img");
        create.args(["create", "-q", "-f", "qcow2"]).current_dir(&dir);
        if let Some(parent) = parent {
            create.args(["-F", "qcow2", "-b", &format!("../{}/disk.qcow2", key(parent))]);
            create.arg("disk.qcow2");
        } else {
            create.args(["disk.qcow2", "8M"]);
        }
        assert!(create.status().unwrap().success());
        let made = std::time::SystemTime::now() - std::time::Duration::from_secs(86400 * days.unsigned_abs());
        let manifest = json!({
            "format": 1, "stage": stage, "key": key(digit), "id": format!("{digit}0"),
            "parent": parent.map(base), "inputs": inputs, "made": timestamp(made), "seconds": 1.0, "tool": "0",
            "digests": { "disk.qcow2": sha256(&disk) },
        });
        fs::write(dir.join("layer.json"), manifest.to_string()).unwrap();
    }

    /// A machine on the checkpoint `digit`.
    pub fn machine(&self, name: &str, login: &str, digit: Option<char>) {
        let dir = self.path("data/machines").join(name);
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("lock"), "").unwrap();
        fs::write(dir.join("disk.qcow2"), "a disk").unwrap();
        let layer = digit.map(|digit| json!({ "key": digit.to_string().repeat(64), "id": format!("{digit}0") }));
        let record = json!({
            "login": login, "guest": "debian", "made": "2026-01-01T00:00:00Z", "phase": "made", "layer": layer,
            "https_port": 1, "ssh_port": 2, "cpus": 1, "memory_mib": 64, "accelerator": "tcg", "project": "/nowhere",
        });
        fs::write(dir.join("machine.json"), record.to_string()).unwrap();
    }

    /// Two chains on one installation: the account of `jdoe` has a machine.
    pub fn two_chains() -> Self {
        let place = Self::new();
        place.layer("install", 'a', None, 30, &json!({ "iso": "sha512:00" }));
        place.layer("docker", 'b', Some('a'), 20, &json!({}));
        place.layer("account", 'c', Some('b'), 10, &json!({ "login": "jdoe" }));
        place.layer("account", 'd', Some('b'), 5, &json!({ "login": "marvin" }));
        place.layer("project", 'e', Some('d'), 4, &json!({}));
        place.machine("m", "jdoe", Some('c'));
        for login in ["_builder", "jdoe", "marvin", "zaphod"] {
            let dir = place.path("cache/v1/identities").join(login);
            fs::create_dir_all(&dir).unwrap();
            fs::write(dir.join("id_ed25519"), "a key").unwrap();
        }
        place
    }

    pub fn there(&self) -> String {
        let entries = fs::read_dir(self.layers()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.filter(|name| name.len() == 64).collect();
        names.sort();
        names.iter().map(|name| &name[..1]).collect()
    }

    pub fn identities(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path("cache/v1/identities")).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }
}

fn timestamp(time: std::time::SystemTime) -> String {
    let seconds = time.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let output = Command::new("date")
        .args(["-u", "+%Y-%m-%dT%H:%M:%SZ", "-d", &format!("@{seconds}")])
        .output();
    String::from_utf8(output.unwrap().stdout).unwrap().trim().to_owned()
}

pub fn sha256(file: &Path) -> String {
    let output = Command::new("sha256sum").arg(file).output().unwrap();
    String::from_utf8(output.stdout).unwrap()[..64].to_owned()
}
