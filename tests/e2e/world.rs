//! What the steps share: servers, folders and the project that is deployed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};
use std::time::Instant;

use serde_json::Value;

use super::run::Run;
use super::servers::Server;

/// The login of the machines of the reference project.
pub const LOGIN: &str = "tlogin";

/// A project, and the login that it is deployed for.
#[derive(Clone, Copy)]
pub struct Project {
    /// Its folder in this repository.
    folder: &'static str,
    /// The login, which names its machine.
    login: &'static str,
    /// What only its page contains.
    mark: &'static str,
}

/// The repository's own, with three services.
pub const REFERENCE: Project = Project {
    folder: "",
    login: LOGIN,
    mark: "wp-content",
};

/// One small service, for steps that are about machines and not about what runs in them.
pub const SMALL: Project = Project {
    folder: "tests/fixtures/small",
    login: "cut-off",
    mark: "a volume of the small project",
};

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
            "login = \"{}\"\nguest = \"test\"\n[docker]\nregistry_mirror = \"http://10.0.2.2:{}\"\n",
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

impl Project {
    /// Its folder.
    fn source(&self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join(self.folder)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // A failed step may leave a machine that was released on purpose.
        let _ = self.output(&["destroy", "--yes"]);
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

/// Lays out the mirror's folder: the ISO and its checksums.
fn mirror(iso_dir: &Path, into: &Path) {
    fs::create_dir_all(into).unwrap();
    let iso_dir = fs::canonicalize(iso_dir).expect("tests/support/media has made the ISO");
    for entry in fs::read_dir(iso_dir).unwrap().flatten() {
        let name = entry.file_name();
        if name.to_string_lossy().ends_with(".iso") {
            std::os::unix::fs::symlink(entry.path(), into.join(name)).unwrap();
        } else if name == "SHA512SUMS" {
            fs::copy(entry.path(), into.join(name)).unwrap();
        }
    }
}

/// Signs `sums` with the tests' key, whose public half goes to `public`. It is kept for the next run, as the checkpoints are,
/// in which the ISO's signer is written.
fn sign(home: &Path, sums: &Path, public: &Path) {
    static MADE: Mutex<Option<[Vec<u8>; 2]>> = Mutex::new(None);
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    let [key, signature] = made.get_or_insert_with(|| key_and_signature(home, sums));
    fs::write(public, key).unwrap();
    fs::write(sums.with_file_name("SHA512SUMS.sign"), signature).unwrap();
}

/// The key, which is made if it is not there, and its signature of `sums`.
fn key_and_signature(home: &Path, sums: &Path) -> [Vec<u8>; 2] {
    fs::create_dir_all(home).unwrap();
    fs::set_permissions(home, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let gpg = |args: &[&str]| {
        let output = Command::new("gpg")
            .args(["--batch", "--quiet", "--pinentry-mode", "loopback", "--passphrase", ""])
            .args(args)
            .env("GNUPGHOME", home)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    if gpg(&["--list-secret-keys"]).is_empty() {
        gpg(&[
            "--quick-gen-key",
            "Test images <images@example.org>",
            "ed25519",
            "sign",
            "never",
        ]);
    }
    let key = gpg(&["--armor", "--export"]);
    let signature = gpg(&["--armor", "--output", "-", "--detach-sign", sums.to_str().unwrap()]);
    let _ = Command::new("gpgconf")
        .args(["--kill", "all"])
        .env("GNUPGHOME", home)
        .status();
    [key, signature]
}

/// Debian 13's definition with the tests' mirror and key.
fn definition(port: u16) -> String {
    let text = include_str!("../../vm/debian-13.toml");
    let mut table: toml::Table = text.parse().unwrap();
    let iso = table["iso"].as_table_mut().unwrap();
    iso.insert("directories".into(), vec![format!("http://127.0.0.1:{port}/")].into());
    iso.insert("key".into(), "test.asc".into());
    iso.remove("archive");
    toml::to_string(&table).unwrap()
}

/// Copies a folder with its links and modes.
fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(status.success());
}
