//! A checkpoint that one host made and another uses: `cache key`, `cache export`, `cache import`.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use super::place::sha256;
use super::support::{eventually, program, tree};

/// A project, and the folders of some hosts.
pub struct Hosts(tempfile::TempDir);

impl Hosts {
    pub fn new() -> Self {
        let hosts = Self(tempfile::tempdir().unwrap());
        fs::create_dir_all(hosts.path("project/srcs")).unwrap();
        fs::write(hosts.path("project/Makefile"), "all:\n").unwrap();
        fs::write(hosts.path("project/srcs/a"), "a\n").unwrap();
        // What is known of it needs no network.
        let settings = format!(
            "login = \"jdoe\"\n[machine]\nprogram = \"qemu\"\n[iso]\nurl = \"http://127.0.0.1:9/debian.iso\"\nsha512 = \"{}\"\n",
            "5".repeat(128)
        );
        fs::write(hosts.path("project/provision.toml"), settings).unwrap();
        hosts
    }

    pub fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    /// The program on the host `host`, in the project's folder.
    pub fn command(&self, host: &str, args: &[&str]) -> Command {
        let mut command = Command::new(program());
        command
            .args(args)
            .current_dir(self.path("project"))
            .env("PROVISION_CACHE_DIR", self.path(host).join("cache"))
            .env("PROVISION_DATA_DIR", self.path(host).join("data"))
            .stdin(Stdio::null());
        command
    }

    fn run(&self, host: &str, args: &[&str]) -> Output {
        self.command(host, args).output().unwrap()
    }

    #[track_caller]
    fn text(&self, host: &str, args: &[&str]) -> String {
        let output = self.run(host, args);
        assert!(output.status.success(), "{args:?}: {}", stderr(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    fn key(&self, host: &str, args: &[&str]) -> String {
        let key = self.text(host, &[&["cache", "key"], args].concat());
        let key = key.strip_suffix('\n').unwrap();
        assert!(
            key.len() == 64 && key.bytes().all(|byte| byte.is_ascii_hexdigit()),
            "{key}"
        );
        key.to_owned()
    }

    /// What a host plans, stage by stage.
    fn plan(&self, host: &str) -> Vec<Value> {
        let text = self.text(host, &["--json", "plan"]);
        let plan: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        plan["stages"].as_array().unwrap().clone()
    }

    /// The stages that a host has.
    fn cached(&self, host: &str) -> Vec<String> {
        let stages = self.plan(host).into_iter().filter(|line| line["cached"] == true);
        stages.map(|line| line["stage"].as_str().unwrap().to_owned()).collect()
    }

    fn layers(&self, host: &str) -> PathBuf {
        self.path(host).join("cache/v1/layers")
    }

    /// Gives a host all checkpoints that it plans, as real disks.
    fn make(&self, host: &str) {
        // Its keys are made by whatever needs them first.
        self.run(host, &["plan", "--offline"]);
        let mut parent: Option<Value> = None;
        for line in self.plan(host) {
            let Some(key) = line["key"].as_str() else { continue };
            let folder = self.layers(host).join(key);
            fs::create_dir_all(&folder).unwrap();
            let mut create = Command::new("qemu-img");
            create.args(["create", "-q", "-f", "qcow2"]).current_dir(&folder);
            match &parent {
                Some(parent) => {
                    let below = format!("../{}/disk.qcow2", parent["key"].as_str().unwrap());
                    create.args(["-F", "qcow2", "-b", &below, "disk.qcow2"])
                }
                None => create.args(["disk.qcow2", "8M"]),
            };
            assert!(create.status().unwrap().success());
            let disk = folder.join("disk.qcow2");
            let noise: Vec<u8> = (0..3_u32 << 20)
                .map(|at| (at.wrapping_mul(2_654_435_761) >> 13).to_le_bytes()[0])
                .collect();
            fs::OpenOptions::new()
                .append(true)
                .open(&disk)
                .unwrap()
                .write_all(&noise)
                .unwrap();
            let base = json!({ "key": key, "id": "00112233aabbccdd" });
            let manifest = json!({
                "format": 1, "stage": line["stage"], "key": key, "id": base["id"], "parent": parent,
                "inputs": line["inputs"], "made": "2026-11-01T10:00:00Z", "seconds": 1.0, "tool": "0",
                "digests": { "disk.qcow2": sha256(&disk) },
            });
            fs::write(folder.join("layer.json"), manifest.to_string()).unwrap();
            parent = Some(base);
        }
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_key_is_the_same_on_every_host_and_tells_what_changed() {
    let hosts = Hosts::new();
    let key = hosts.key("a", &[]);
    assert!(!hosts.path("a/cache/v1/identities").exists(), "no keys are made for it");
    hosts.make("b");
    assert_eq!(hosts.key("b", &[]), key, "on a host with keys and checkpoints too");
    assert_eq!(hosts.key("a", &["--stage", "docker"]), key);
    let shown = hosts.text("a", &["--json", "cache", "key"]);
    let shown: Value = serde_json::from_str(shown.lines().last().unwrap()).unwrap();
    assert_eq!(
        (&shown["event"], &shown["key"]),
        (&"result".into(), &key.clone().into())
    );
    assert_eq!(shown["iso_digest"], format!("sha512:{}", "5".repeat(128)));

    let stages = ["install", "docker", "account", "project"];
    let keys = |args: &[&str]| stages.map(|stage| hosts.key("a", &[&["--stage", stage], args].concat()));
    let before = keys(&[]);
    let same = |after: [String; 4]| {
        stages
            .iter()
            .zip(before.iter().zip(after))
            .filter(|(_, (a, b))| *a == b)
            .count()
    };
    assert_eq!(same(keys(&["--disk", "21G"])), 0);
    assert_eq!(same(keys(&["--dns", "10.0.2.3"])), 1);
    assert_eq!(same(keys(&["--login", "anna"])), 2);
    fs::write(hosts.path("project/srcs/a"), "b\n").unwrap();
    assert_eq!(same(keys(&[])), 3);
    fs::write(hosts.path("project/srcs/a"), "a\n").unwrap();
    // What CPUs, memory and ports a machine has changes no disk; what may be secret is in no key.
    fs::write(hosts.path("project/srcs/.env"), "PASSWORD=x\n").unwrap();
    assert_eq!(same(keys(&["--cpus", "1", "--memory", "1G", "--ssh-port", "2222"])), 4);

    for wrong in ["media", "verify", "nonsense"] {
        assert_eq!(
            hosts.run("a", &["cache", "key", "--stage", wrong]).status.code(),
            Some(2)
        );
    }
}

#[test]
fn a_key_says_when_no_mirror_tells_the_iso() {
    let hosts = Hosts::new();
    fs::create_dir(hosts.path("project/vm")).unwrap();
    let definition = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("vm/debian-13.toml")).unwrap();
    let mut table: toml::Table = definition.parse().unwrap();
    table["iso"]["directories"] = vec!["http://127.0.0.1:9/".to_owned()].into();
    fs::write(hosts.path("project/vm/nowhere.toml"), table.to_string()).unwrap();
    fs::write(
        hosts.path("project/provision.toml"),
        "login = \"jdoe\"\nguest = \"nowhere\"\n",
    )
    .unwrap();
    let output = hosts.run("a", &["cache", "key"]);
    assert_eq!(output.status.code(), Some(6), "{}", stderr(&output));
    assert!(output.stdout.is_empty());
}

#[test]
fn what_one_host_made_is_cached_on_another() {
    let hosts = Hosts::new();
    hosts.make("a");
    assert_eq!(hosts.cached("a"), ["install", "docker", "account", "project"]);
    let file = hosts.path("docker.provision");
    let told = hosts.text("a", &["cache", "export", file.to_str().unwrap()]);
    assert!(told.contains("checkpoint  docker"), "{told}");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);

    let media = || hosts.plan("b")[0]["reason"].clone();
    assert_eq!(media(), "the ISO is downloaded");
    let imported = hosts.text("b", &["cache", "import", file.to_str().unwrap()]);
    assert!(
        imported.contains("install") && imported.matches("imported").count() == 2,
        "{imported}"
    );
    assert_eq!(hosts.cached("b"), ["install", "docker"]);
    assert_eq!(media(), "the ISO is not in the cache, and nobody has to read it");
    let sound = hosts.text("b", &["cache", "check"]);
    assert_eq!(sound.matches("sound").count(), 2, "{sound}");
    let again = hosts.text("b", &["cache", "import", file.to_str().unwrap()]);
    assert_eq!(again.matches("was here already").count(), 2, "{again}");
    // All the way: what is there stays, the rest comes.
    let all = hosts.path("project.provision");
    hosts.text("a", &["cache", "export", "--stage", "project", all.to_str().unwrap()]);
    let events = hosts.text("b", &["--json", "cache", "import", all.to_str().unwrap()]);
    let events: Vec<Value> = events.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let states: Vec<_> = events.last().unwrap()["checkpoints"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| &it["state"])
        .collect();
    assert_eq!(states, ["there", "there", "imported", "imported"]);
    let progress = events.iter().rfind(|event| event["event"] == "progress").unwrap();
    assert_eq!(progress["done"], progress["total"]);
    assert_eq!(hosts.cached("b"), ["install", "docker", "account", "project"]);
}

#[test]
fn an_iso_that_nobody_reads_is_not_hashed() {
    let hosts = Hosts::new();
    let folder = hosts.path("a/cache/v1/iso").join(format!("sha512-{}", "5".repeat(32)));
    fs::create_dir_all(&folder).unwrap();
    // Whoever hashed it would see that it is another.
    fs::write(folder.join("debian.iso"), "damaged").unwrap();
    let media = || hosts.plan("a")[0]["reason"].clone();
    assert_eq!(media(), "the ISO is checked");
    let file = hosts.path("events");
    // What it says until it has said `last`, however slowly.
    let create = |last: &str| {
        let mut create = hosts.command("a", &["--json", "create", "--accelerator", "tcg"]);
        let mut create = create.stdout(fs::File::create(&file).unwrap()).spawn().unwrap();
        let said = || fs::read_to_string(&file).unwrap();
        eventually(&format!("`create` says {last}"), || said().contains(last));
        Command::new("kill")
            .args(["-INT", &create.id().to_string()])
            .status()
            .unwrap();
        create.wait().unwrap();
        said()
    };
    let said = create("is damaged");
    assert!(said.contains("checking debian.iso"), "{said}");

    fs::write(folder.join("debian.iso"), "damaged").unwrap();
    hosts.make("a");
    assert_eq!(media(), "nobody has to read the ISO");
    // It boots a disk on which is nothing.
    let said = create("\"text\":\"booting\"");
    assert!(
        said.contains("debian.iso is not needed: its installation is cached"),
        "{said}"
    );
    assert!(!said.contains("checking debian.iso"), "{said}");
    hosts.text("a", &["destroy", "--name", "jdoe", "--yes"]);
}

#[test]
fn what_the_program_itself_keeps_in_the_project_is_none_of_it() {
    let hosts = Hosts::new();
    let command = |store: &str| {
        let mut command = hosts.command("a", &["cache", "key", "--stage", "project"]);
        let folder = hosts.path("project").join(store);
        command.env("PROVISION_CACHE_DIR", folder.join("cache"));
        command.env("PROVISION_DATA_DIR", folder.join("data"));
        command
    };
    let key = |store: &str| {
        let output = command(store).output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    let plain = key("");
    let machine = hosts.path("project/data/machines/m");
    fs::create_dir_all(&machine).unwrap();
    fs::write(machine.join("password"), "secret").unwrap();
    fs::create_dir_all(hosts.path("project/cache/v1/identities/jdoe")).unwrap();
    assert_eq!(key(""), plain);
    // Its own output, too.
    let log = hosts.path("project/key.log");
    let written = command("").stdout(fs::File::create(&log).unwrap()).status().unwrap();
    assert!(written.success());
    assert_eq!(fs::read_to_string(&log).unwrap(), plain);
    fs::remove_file(&log).unwrap();
    // A folder in which there is something else stays a part of the project.
    fs::write(hosts.path("project/data/mine"), "").unwrap();
    assert_ne!(key(""), plain);
}

#[test]
fn an_import_needs_no_program_and_keeps_keys_private() {
    let hosts = Hosts::new();
    hosts.make("a");
    let file = hosts.path("all.provision");
    hosts.text("a", &["cache", "export", "--stage", "project", file.to_str().unwrap()]);
    let mut import = hosts.command("b", &["cache", "import", file.to_str().unwrap()]);
    let imported = import.env("PATH", "/nonexistent").output().unwrap();
    assert!(imported.status.success(), "{}", stderr(&imported));
    assert_eq!(hosts.cached("b"), ["install", "docker", "account", "project"]);
    // The keys are private here, too.
    for login in ["_builder", "jdoe"] {
        let folder = hosts.path("b/cache/v1/identities").join(login);
        assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
        for entry in fs::read_dir(folder).unwrap() {
            assert_eq!(entry.unwrap().metadata().unwrap().permissions().mode() & 0o777, 0o600);
        }
    }
}

#[test]
fn it_goes_through_pipes() {
    let hosts = Hosts::new();
    hosts.make("a");
    let mut export = hosts
        .command("a", &["cache", "export", "-"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut import = hosts.command("b", &["cache", "import", "-"]);
    let imported = import.stdin(export.stdout.take().unwrap()).output().unwrap();
    assert!(export.wait().unwrap().success());
    assert!(imported.status.success(), "{}", stderr(&imported));
    assert_eq!(hosts.cached("b"), ["install", "docker"]);
    let both = hosts.run("a", &["--json", "cache", "export", "-"]);
    assert_eq!(both.status.code(), Some(2), "{}", stderr(&both));
    // A reader that goes away ends it.
    let mut export = hosts
        .command("a", &["cache", "export", "-"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    drop(export.stdout.take());
    assert!(!export.wait().unwrap().success());
}

#[test]
fn what_is_wrong_is_told_with_what_to_do() {
    let hosts = Hosts::new();
    let file = hosts.path("x.provision");
    let name = file.to_str().unwrap();
    let none = hosts.run("a", &["cache", "export", name]);
    assert_eq!(none.status.code(), Some(2), "{}", stderr(&none));
    assert!(stderr(&none).contains("provision create"), "{}", stderr(&none));
    assert!(!file.exists());
    hosts.make("a");
    hosts.text("a", &["cache", "export", name]);
    let there = hosts.run("a", &["cache", "export", name]);
    assert_eq!(there.status.code(), Some(2));
    assert!(stderr(&there).contains("--force"), "{}", stderr(&there));
    hosts.text("a", &["cache", "export", "--force", name]);

    let missing = hosts.run("b", &["cache", "import", "nothing"]);
    assert_eq!(missing.status.code(), Some(2), "{}", stderr(&missing));
    let mut bytes = fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    let damaged = hosts.path("damaged");
    fs::write(&damaged, &bytes).unwrap();
    let refused = hosts.run("b", &["cache", "import", damaged.to_str().unwrap()]);
    assert_eq!(refused.status.code(), Some(5), "{}", stderr(&refused));
    assert!(stderr(&refused).contains("hint:"), "{}", stderr(&refused));
    let keys = hosts.path("b/cache/v1/identities");
    assert!(!keys.exists() || fs::read_dir(keys).unwrap().count() == 0);
    assert!(hosts.cached("b").is_empty());

    // A host with checkpoints of its own.
    hosts.make("c");
    hosts.text("c", &["cache", "check"]);
    let before = tree(&hosts.layers("c"));
    let other = hosts.run("c", &["cache", "import", name]);
    assert_eq!(other.status.code(), Some(3), "{}", stderr(&other));
    assert!(stderr(&other).contains("other keys"), "{}", stderr(&other));
    assert!(tree(&hosts.layers("c")) == before, "something has changed");

    // In the project folder it would be a part of the project.
    let inside = hosts.run("a", &["cache", "export", "docker.provision"]);
    assert!(stderr(&inside).contains(".provisionignore"), "{}", stderr(&inside));
}

#[test]
fn a_killed_import_leaves_nothing_that_the_next_does_not_sweep() {
    let hosts = Hosts::new();
    hosts.make("a");
    let file = hosts.path("all.provision");
    hosts.text("a", &["cache", "export", "--stage", "project", file.to_str().unwrap()]);
    let bytes = fs::read(&file).unwrap();
    for (host, part) in [("b", bytes.len() / 3), ("d", bytes.len() / 2), ("e", bytes.len() - 1)] {
        let mut import = hosts
            .command(host, &["cache", "import", "-"])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let mut pipe = import.stdin.take().unwrap();
        pipe.write_all(&bytes[..part]).unwrap();
        // It waits for more in the middle of its work.
        eventually("something is unpacked", || {
            let entries = fs::read_dir(hosts.layers(host));
            entries.is_ok_and(|entries| entries.flatten().any(|entry| entry.path().is_dir()))
        });
        import.kill().unwrap();
        import.wait().unwrap();
        drop(pipe);
        assert!(hosts.cached(host).is_empty());
        hosts.text(host, &["cache", "import", file.to_str().unwrap()]);
        let left = hosts.text(host, &["gc", "--dry-run"]);
        assert!(left.contains("left nothing"), "{left}");
        assert_eq!(hosts.cached(host), ["install", "docker", "account", "project"]);
    }
    // An interruption is told as one.
    let mut import = hosts
        .command("c", &["cache", "import", "-"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut pipe = import.stdin.take().unwrap();
    pipe.write_all(&bytes[..bytes.len() / 2]).unwrap();
    eventually("something is unpacked", || hosts.layers("c").join(".use").exists());
    let pid = rustix::process::Pid::from_raw(import.id().cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    drop(pipe);
    let ended = import.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(130), "{}", stderr(&ended));
    assert!(hosts.cached("c").is_empty());
}

#[test]
fn an_import_from_a_pipe_into_which_nobody_writes_ends_with_its_time() {
    let hosts = Hosts::new();
    let mut command = hosts.command("there", &["cache", "import", "-", "--timeout", "1s"]);
    let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let silent = child.stdin.take().unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(124), "{}", stderr(&output));
    assert!(stderr(&output).contains("nothing was imported"), "{}", stderr(&output));
    drop(silent);
    // So does one from a named pipe, which nobody opens.
    let pipe = hosts.path("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let output = hosts.run("there", &["cache", "import", pipe.to_str().unwrap(), "--timeout", "1s"]);
    assert_eq!(output.status.code(), Some(124), "{}", stderr(&output));
}

#[test]
fn an_import_from_a_named_pipe_gets_all_of_it() {
    let hosts = Hosts::new();
    hosts.make("a");
    let pipe = hosts.path("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let mut import = hosts
        .command("b", &["cache", "import", pipe.to_str().unwrap()])
        .spawn()
        .unwrap();
    let into = fs::OpenOptions::new().write(true).open(&pipe).unwrap();
    let export = hosts
        .command("a", &["cache", "export", "-"])
        .stdout(into)
        .status()
        .unwrap();
    assert!(export.success() && import.wait().unwrap().success());
    assert_eq!(hosts.cached("b"), ["install", "docker"]);
}

#[test]
fn an_export_to_a_pipe_from_which_nobody_reads_ends_with_its_time() {
    let hosts = Hosts::new();
    hosts.make("a");
    let mut command = hosts.command("a", &["cache", "export", "-", "--timeout", "2s"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let deaf = child.stdout.take().unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(124), "{}", stderr(&output));
    drop(deaf);
}
