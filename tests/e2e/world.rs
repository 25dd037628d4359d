//! What the steps share: servers, folders and the project that is deployed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};
use std::time::Instant;

use serde_json::Value;

use super::layout::{copy, definition, mirror, sign};
use super::project::Project;
use super::run::Run;
use super::servers::Server;

/// When the tests began.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// The registry that all worlds share: its port is part of a checkpoint's key.
static REGISTRY: Mutex<Weak<Server>> = Mutex::new(Weak::new());

/// Everything around the program under test.
pub struct World {
    name: &'static str,
    deployed: Project,
    folder: tempfile::TempDir,
    cache: PathBuf,
    /// Where gpg keeps the key that signs the ISO's checksums.
    pub signing: PathBuf,
    _mirror: Server,
    _registry: Arc<Server>,
}

impl World {
    /// Starts the servers and lays out a copy of `deployed` with a guest definition of its own, whose ISO is on the
    /// mirror and signed by a key made here. `name` is for the output.
    pub fn new(name: &'static str, deployed: Project) -> Self {
        let kept =
            PathBuf::from(std::env::var_os("PROVISION_TEST_CACHE").expect("tests/run sets PROVISION_TEST_CACHE"));
        let folder = tempfile::Builder::new().prefix("provision-e2e-").tempdir().unwrap();
        let mirror_dir = folder.path().join("mirror");
        let project = folder.path().join("project");
        mirror(&kept.join("media/iso"), &mirror_dir);
        fs::create_dir_all(project.join("vm")).unwrap();
        sign(
            &kept.join("signing"),
            &mirror_dir.join("SHA512SUMS"),
            &project.join("vm/test.asc"),
        );
        let mirror = Server::files(&mirror_dir);
        let registry = registry(&kept.join("media/registry"));
        let definition = definition(mirror.port);
        fs::write(project.join("vm/test.toml"), definition).unwrap();
        let settings = format!(
            "login = \"{}\"\nguest = \"test\"\n[machine]\nmemory = \"2G\"\n[docker]\nregistry_mirror = \"http://10.0.2.2:{}\"\n",
            deployed.login, registry.port
        );
        fs::write(project.join("provision.toml"), settings).unwrap();
        fs::write(
            project.join(".provisionignore"),
            "/vm/\nprovision.toml\n.provisionignore\n",
        )
        .unwrap();
        for part in ["srcs", "Makefile"] {
            copy(&deployed.source().join(part), &project.join(part));
        }
        Self {
            name,
            deployed,
            cache: kept.join("cache"),
            signing: kept.join("signing"),
            folder,
            _mirror: mirror,
            _registry: registry,
        }
    }

    /// Says what comes next.
    pub fn step(&self, text: &str) {
        self.say(text);
    }

    /// A line of the tests' output.
    pub fn say(&self, text: &str) {
        println!("{:>5} s {:<7} {text}", START.elapsed().as_secs(), self.name);
    }

    /// The login of the machine, which is its name, too.
    pub fn login(&self) -> &'static str {
        self.deployed.login
    }

    /// What only the project's page contains.
    pub fn mark(&self) -> &'static str {
        self.deployed.mark
    }

    /// The project's folder.
    pub fn project(&self) -> PathBuf {
        self.folder.path().join("project")
    }

    /// A file or folder of the tests' own.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A folder of the tests' own that stays for the next run.
    pub fn kept(&self, name: &str) -> PathBuf {
        self.cache.with_file_name(name)
    }

    /// The ISO on the mirror.
    pub fn iso(&self) -> PathBuf {
        let mut entries = fs::read_dir(self.path("mirror"))
            .unwrap()
            .flatten()
            .map(|entry| entry.path());
        entries
            .find(|path| path.extension().is_some_and(|ending| ending == "iso"))
            .unwrap()
    }

    /// Whether the project is no longer what it was at first.
    pub fn is_changed(&self) -> bool {
        let text = |folder: &Path| fs::read_to_string(folder.join("srcs/docker-compose.yml")).unwrap();
        text(&self.project()) != text(&self.deployed.source())
    }

    /// Removes a checkpoint from the cache that is kept for the next run.
    pub fn forget_layer(&self, key: &str) {
        // The other test may have pruned the cache since nobody needs it.
        match fs::remove_dir_all(self.cache.join("v1/layers").join(key)) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            removed => removed.unwrap(),
        }
    }

    /// The checkpoints that the machine was made from, as its manifest has them.
    pub fn own_layers(&self) -> BTreeMap<String, String> {
        let manifest = self.json(&["status", "--manifest"]);
        let made = manifest["stages"].as_array().unwrap().iter();
        made.map(|made| (made["key"].to_string(), made["id"].to_string()))
            .collect()
    }

    /// The checkpoints in the cache: for each key which making of it is there.
    pub fn layers(&self) -> BTreeMap<String, String> {
        let folders = fs::read_dir(self.cache.join("v1/layers")).unwrap().flatten();
        let manifests = folders.filter_map(|entry| fs::read(entry.path().join("layer.json")).ok());
        let manifests = manifests.map(|bytes| serde_json::from_slice::<Value>(&bytes).unwrap());
        let named = manifests.map(|manifest| (manifest["key"].to_string(), manifest["id"].to_string()));
        named.collect()
    }

    /// The key of the checkpoint that a stage of the machine has left.
    pub fn key_of(&self, stage: &str) -> String {
        let manifest = self.json(&["status", "--manifest"]);
        let stages = manifest["stages"].as_array().unwrap();
        let made = stages.iter().find(|made| made["stage"] == stage).unwrap();
        made["key"].as_str().unwrap().to_owned()
    }

    /// The disk of a checkpoint.
    pub fn disk_of_layer(&self, key: &str) -> PathBuf {
        self.cache.join("v1/layers").join(key).join("disk.qcow2")
    }

    /// What the disk of a checkpoint names as the file that it lies on.
    pub fn backing_of_layer(&self, key: &str) -> String {
        let output = Command::new("qemu-img")
            .args(["info", "--output=json"])
            .arg(self.disk_of_layer(key))
            .output()
            .unwrap();
        let told: Value = serde_json::from_slice(&output.stdout).unwrap();
        told["backing-filename"].as_str().unwrap().to_owned()
    }

    /// The folder of the machine `name`.
    pub fn machine_dir(&self, name: &str) -> PathBuf {
        self.folder.path().join("data/machines").join(name)
    }

    /// The disk that the machine `name` writes to.
    pub fn disk(&self, name: &str) -> PathBuf {
        let folder = self.machine_dir(name);
        fs::canonicalize(folder.join("disk")).unwrap_or_else(|_| folder.join("disk.qcow2"))
    }

    /// The program with the tests' folders.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_provision"));
        command
            .args(args)
            .current_dir(self.project())
            .env("PROVISION_CACHE_DIR", &self.cache)
            .env("PROVISION_DATA_DIR", self.folder.path().join("data"));
        command
    }

    /// Starts the program with `--json`.
    pub fn run(&self, args: &[&str]) -> Run {
        let mut words = vec!["--json"];
        words.extend(args);
        Run::start(&mut self.command(&words), self.name)
    }

    /// Runs the program to its end as a person would, without a terminal.
    pub fn output(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Runs the program, which must succeed, and returns its standard output.
    #[track_caller]
    pub fn text(&self, args: &[&str]) -> String {
        let output = self.output(args);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {stderr}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// The result of a command for programs.
    #[track_caller]
    pub fn json(&self, args: &[&str]) -> Value {
        let mut words = vec!["--json"];
        words.extend(args);
        let text = self.text(&words);
        let last = text.lines().last().expect("a result");
        let result: Value = serde_json::from_str(last).unwrap();
        assert_eq!(result["event"], "result");
        result
    }

    /// Runs a shell command in the guest and returns its output.
    #[track_caller]
    pub fn guest(&self, script: &str) -> String {
        self.text(&["exec", "--", "sh", "-c", script])
    }

    /// The PIDs of the QEMU processes of these tests.
    pub fn machines(&self) -> Vec<u32> {
        let ours = self.folder.path().as_os_str().as_encoded_bytes();
        let processes = fs::read_dir("/proc").unwrap().flatten();
        let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.filter(|pid| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let program = line.split(|byte| *byte == 0).next().unwrap_or_default();
            program.ends_with(b"qemu-system-x86_64") && line.windows(ours.len()).any(|part| part == ours)
        })
        .collect()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // A failed step may leave machines that were released on purpose.
        let machines = fs::read_dir(self.path("data/machines")).into_iter().flatten().flatten();
        for machine in machines {
            let _ = self
                .command(&["destroy", "--yes", "--name"])
                .arg(machine.file_name())
                .output();
        }
    }
}

fn registry(folder: &Path) -> Arc<Server> {
    let mut shared = REGISTRY.lock().unwrap_or_else(PoisonError::into_inner);
    shared.upgrade().unwrap_or_else(|| {
        let server = Arc::new(Server::registry(folder));
        *shared = Arc::downgrade(&server);
        server
    })
}
