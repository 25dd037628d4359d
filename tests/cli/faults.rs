//! Bad input and a broken host: a clear error with the right exit code and a hint, and nothing lost.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use super::support::program;

/// A project folder with folders of its own for the program.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        fs::create_dir_all(place.project().join("srcs")).unwrap();
        fs::write(place.project().join("Makefile"), "all:\n").unwrap();
        place
    }

    fn project(&self) -> PathBuf {
        self.0.path().join("project")
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(program());
        command
            .args(args)
            .current_dir(self.project())
            .env("PROVISION_CACHE_DIR", self.0.path().join("cache"))
            .env("PROVISION_DATA_DIR", self.0.path().join("data"));
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// An ISO with one file on it.
    fn iso(&self) -> PathBuf {
        let (content, iso) = (self.0.path().join("content"), self.0.path().join("other.iso"));
        fs::create_dir(&content).unwrap();
        fs::write(content.join("readme.txt"), "no kernel here\n").unwrap();
        let made = Command::new("xorriso")
            .args(["-as", "mkisofs", "-quiet", "-r", "-o"])
            .arg(&iso)
            .arg(&content)
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        iso
    }
}

/// Fails unless the run ended with `code` and said each of `said`, a hint among them.
#[track_caller]
fn refused(output: &Output, code: i32, said: &[&str]) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    for text in said {
        assert!(stderr.contains(text), "{text:?} is missing in: {stderr}");
    }
    assert!(!stderr.contains("panicked"), "{stderr}");
}

#[test]
fn all_errors_of_the_configuration_are_told_at_once() {
    let place = Place::new();
    let text = "login = \"Root!\"\nguest = \"plan-9\"\n[machine]\ncpu = 2\nmemory = \"lots\"\n";
    fs::write(place.project().join("provision.toml"), text).unwrap();
    let said = [
        "provision.toml:1",
        "provision.toml:2",
        "plan-9",
        "provision.toml:4",
        "cpus",
        "provision.toml:5",
    ];
    refused(&place.run(&["create"]), 3, &said);
}

#[test]
fn a_folder_without_a_project_is_refused() {
    let place = Place::new();
    fs::remove_file(place.project().join("Makefile")).unwrap();
    refused(
        &place.run(&["create", "--login", "jdoe"]),
        3,
        &["Makefile", "hint:", "--project"],
    );
}

#[test]
fn what_fails_at_once_leaves_no_machine() {
    let place = Place::new();
    std::os::unix::fs::symlink("/etc/hosts", place.project().join("Makefile.new")).unwrap();
    fs::rename(place.project().join("Makefile.new"), place.project().join("Makefile")).unwrap();
    refused(
        &place.run(&["create", "--login", "jdoe", "--accelerator", "tcg"]),
        3,
        &["Makefile", "hint:"],
    );
    let machines = fs::read_dir(place.0.path().join("data/machines")).map_or(0, Iterator::count);
    assert_eq!(machines, 0);
}

#[test]
fn a_target_that_nothing_makes_is_told_before_anything_is_done() {
    let place = Place::new();
    let planned = |target: &str| {
        let output = place.run(&["plan", "--login", "jdoe", "--target", target]);
        assert_eq!(output.status.code(), Some(0));
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(planned("bonus").contains("`make bonus` will fail"));
    assert!(!planned("all").contains("will fail"));
}

#[test]
fn a_full_disk_of_the_output_is_not_taken_for_the_caches() {
    let place = Place::new();
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = place.command(&["guests"]).stdout(full).output().unwrap();
    refused(&output, 12, &["writing the output", "hint: `df -h`"]);
    assert!(!String::from_utf8_lossy(&output.stderr).contains("prune"));
}

#[test]
fn a_login_of_the_system_is_refused() {
    refused(&Place::new().run(&["create", "--login", "root"]), 3, &["root"]);
}

#[test]
fn an_address_without_a_checksum_is_refused() {
    let args = ["create", "--login", "jdoe", "--iso", "https://example.org/debian.iso"];
    refused(&Place::new().run(&args), 3, &["checksum"]);
}

#[test]
fn a_host_without_certificates_is_told_what_to_install() {
    let place = Place::new();
    let (sum, none) = ("0".repeat(64), place.0.path().join("none"));
    let args = [
        "create",
        "--login=jdoe",
        "--accelerator=tcg",
        "--iso=https://127.0.0.1:9/debian.iso",
        "--iso-sha256",
        &sum,
    ];
    let output = place
        .command(&args)
        .env("SSL_CERT_FILE", &none)
        .env("SSL_CERT_DIR", &none)
        .output()
        .unwrap();
    refused(&output, 6, &["hint:", "ca-certificates"]);
}

#[test]
fn an_iso_with_another_checksum_is_refused() {
    let place = Place::new();
    let iso = place.iso();
    let (iso, sum) = (iso.to_str().unwrap(), "0".repeat(64));
    let args = [
        "create",
        "--login",
        "jdoe",
        "--accelerator",
        "tcg",
        "--iso",
        iso,
        "--iso-sha256",
        &sum,
    ];
    refused(&place.run(&args), 5, &["other.iso", "hint:"]);
    let fetch = [&["fetch"], &args[1..]].concat();
    refused(&place.run(&fetch), 5, &["other.iso", "hint:"]);
    assert!(!place.0.path().join("data/machines/provision-fetch").exists());
}

#[test]
fn an_iso_without_a_kernel_is_refused() {
    let place = Place::new();
    let iso = place.iso();
    let args = [
        "create",
        "--login",
        "jdoe",
        "--accelerator",
        "tcg",
        "--iso",
        iso.to_str().unwrap(),
    ];
    // Without a checksum it is taken, with a warning; it lacks the installer then.
    refused(
        &place.run(&args),
        3,
        &["warning", "/install.amd/vmlinuz", "hint:", "failure-"],
    );
    refused(
        &place.run(&["logs", "--name", "jdoe"]),
        2,
        &[
            "nothing was logged",
            "hint: what happened when it failed last is in ",
            "failure-",
        ],
    );
}

#[test]
fn a_missing_qemu_is_named_with_the_command_that_installs_it() {
    let place = Place::new();
    let bin = place.0.path().join("bin");
    fs::create_dir(&bin).unwrap();
    let output = place
        .command(&["create", "--login", "jdoe"])
        .env("PATH", &bin)
        .output()
        .unwrap();
    refused(&output, 4, &["qemu-system-x86_64", "ssh missing", "hint:"]);
    let doctor = place.command(&["doctor"]).env("PATH", &bin).output().unwrap();
    let text = String::from_utf8(doctor.stdout).unwrap();
    assert!(
        text.lines()
            .any(|line| line.contains(" ssh ") && line.contains("missing")),
        "{text}"
    );
}

#[test]
fn emulation_is_explained_with_the_way_to_more() {
    let place = Place::new();
    let doctor = place.run(&["--json", "doctor"]);
    let doctor = String::from_utf8(doctor.stdout).unwrap();
    let found: serde_json::Value = serde_json::from_str(doctor.lines().next().unwrap()).unwrap();
    if found["accelerator"]["state"] == "works" {
        println!("guests run on this host's processor");
        return;
    }
    let plain = String::from_utf8(place.run(&["doctor"]).stdout).unwrap();
    let reason = plain
        .lines()
        .find_map(|line| line.split_once("none: "))
        .unwrap()
        .1
        .to_owned();
    let iso = place.iso();
    let args = ["create", "--login", "jdoe", "--iso", iso.to_str().unwrap()];
    let note = format!("the processor is emulated ({reason}; `provision doctor` tells what helps)");
    refused(&place.run(&args), 3, &[&note]);
    // Who insists on it is told the same, with what mends it.
    let hint = found["accelerator"]["hint"].as_str().unwrap();
    let insists = [&args[..], &["--accelerator", "kvm"]].concat();
    refused(&place.run(&insists), 4, &[&reason, hint, "`--accelerator auto`"]);
}

#[test]
fn a_taken_port_is_named() {
    let place = Place::new();
    let socket = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = socket.local_addr().unwrap().port().to_string();
    let iso = place.iso();
    let args = [
        "create",
        "--login",
        "jdoe",
        "--accelerator",
        "tcg",
        "--iso",
        iso.to_str().unwrap(),
        "--https-port",
        &port,
    ];
    let output = place.run(&args);
    refused(&output, 11, &[&port, "hint:"]);
    // Not after a download.
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!stderr.contains("media"), "{stderr}");
}

#[test]
fn a_machine_that_is_not_there_is_named() {
    for command in ["status", "start", "stop", "url", "credentials", "logs"] {
        refused(
            &Place::new().run(&[command, "--name", "nobody"]),
            2,
            &["nobody", "hint:"],
        );
    }
}

#[test]
fn errors_are_json_for_programs() {
    let output = Place::new().run(&["--json", "status", "--name", "nobody"]);
    let line = String::from_utf8(output.stdout).unwrap();
    let event: serde_json::Value = serde_json::from_str(line.trim()).unwrap();
    assert_eq!(event["event"], "error");
    assert_eq!(event["exit_code"], 2);
}

#[test]
fn wrong_usage_is_json_for_programs() {
    for args in [&["--json", "status", "--nonsense"][..], &["--json", "nonsense"]] {
        let output = Place::new().run(args);
        assert_eq!(output.status.code(), Some(2));
        let event: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(event["event"], "error");
        let message = event["message"].as_str().unwrap();
        assert!(
            message.contains("nonsense") && !message.starts_with("error"),
            "{message}"
        );
        assert!(output.stderr.is_empty());
    }
}

#[test]
fn what_is_no_name_or_size_is_told_with_the_way_to_the_commands_help() {
    for (args, said) in [
        (
            &["destroy", "--name", "UP"][..],
            "'--name <NAME>': `UP` cannot be a machine's name",
        ),
        (
            &["cache", "prune", "--max-size", "foo"],
            "`foo` is not a size: write 4G or 512M",
        ),
        (
            &["cache", "prune", "--older-than", "foo"],
            "`foo` is not a time: write 30d or 12h",
        ),
    ] {
        refused(&Place::new().run(args), 2, &[said, "try '--help'"]);
    }
}

#[test]
fn nothing_is_deleted_without_a_yes() {
    let output = Place::new().run(&["destroy", "--name", "nobody"]);
    assert_eq!(output.status.code(), Some(2));
}

/// A machine as `create` remembers one; it does not run.
fn machine(place: &Place, name: &str) -> PathBuf {
    let folder = place.0.path().join("data/machines").join(name);
    fs::create_dir_all(&folder).unwrap();
    let record = format!(
        r#"{{"login":"{name}","guest":"debian-13","made":"2025-11-20T12:00:00Z","phase":"made","layer":null,
            "https_port":8443,"ssh_port":2222,"cpus":2,"memory_mib":4096,"accelerator":"tcg","project":"/x"}}"#
    );
    fs::write(folder.join("machine.json"), record).unwrap();
    folder
}

#[test]
fn ctrl_c_at_a_question_is_no_yes() {
    let place = Place::new();
    let kept = machine(&place, "jdoe");
    // script(1) gives the program a terminal, whose Ctrl-C is 0x03.
    let line = format!("{} destroy --name jdoe", program().display());
    let mut script = Command::new("script")
        .env("PROVISION_CACHE_DIR", place.0.path().join("cache"))
        .env("PROVISION_DATA_DIR", place.0.path().join("data"))
        .args(["--quiet", "--return", "--flush", "--command", &line, "/dev/null"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = script.stdout.take().unwrap();
    let mut said = Vec::new();
    while !String::from_utf8_lossy(&said).contains("[y/N]") {
        let mut bytes = [0; 256];
        let count = output.read(&mut bytes).unwrap();
        assert!(count > 0, "{}", String::from_utf8_lossy(&said));
        said.extend_from_slice(&bytes[..count]);
    }
    let mut input = script.stdin.take().unwrap();
    let start = Instant::now();
    input.write_all(b"\x03").unwrap();
    assert_eq!(script.wait().unwrap().code(), Some(130));
    assert!(start.elapsed() < Duration::from_secs(5));
    assert!(kept.exists());
}

#[test]
fn a_docker_that_the_guest_has_not_is_refused_before_anything_runs() {
    let place = Place::new();
    let bin = place.0.path().join("bin");
    fs::create_dir(&bin).unwrap();
    let args = ["create", "--login=jdoe", "--guest=debian-12", "--docker-source=debian"];
    let output = place.command(&args).env("PATH", &bin).output().unwrap();
    refused(&output, 3, &["bookworm", "`debian`", "hint:", "docker-ce"]);
    assert!(!place.0.path().join("data").exists());
    // No keys are made for a login that nobody has created yet.
    let cache = place.0.path().join("cache/v1");
    assert!(!cache.join("identities").exists() && !cache.join("layers").exists());
}

#[test]
fn the_configuration_is_looked_at_before_anything_is_installed() {
    let place = Place::new();
    fs::write(place.project().join("provision.toml"), "gest = \"debian-13\"\n").unwrap();
    let bin = place.0.path().join("bin");
    fs::create_dir(&bin).unwrap();
    let output = place
        .command(&["create", "--install-missing"])
        .env("PATH", &bin)
        .output()
        .unwrap();
    refused(&output, 3, &["provision.toml:1", "gest"]);
}

#[test]
fn guests_and_an_empty_host_are_listed() {
    let place = Place::new();
    let guests = place.run(&["guests"]);
    let text = String::from_utf8(guests.stdout).unwrap();
    assert!(text.contains("debian-13") && text.contains("debian-12"), "{text}");
    assert!(
        place.run(&["--json", "list"]).stdout.is_empty(),
        "a line for each machine"
    );
    let guests = place.run(&["--json", "guests"]).stdout;
    let guests = String::from_utf8(guests).unwrap();
    assert!(guests.lines().count() >= 2, "{guests}");
    for line in guests.lines() {
        let guest: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(guest["event"], "result");
        assert!(guest["name"].is_string() && guest["time"].is_string(), "{line}");
    }
    let cache = place.run(&["cache", "ls"]);
    assert!(cache.status.success());
}

#[test]
fn what_downloads_left_is_listed_and_pruned() {
    let place = Place::new();
    // The program makes its folders itself.
    place.run(&["cache", "ls"]);
    let folder = place.0.path().join("cache/v1/iso/sha512-00");
    fs::create_dir_all(&folder).unwrap();
    let part = folder.join("debian.iso.part");
    fs::write(&part, "half").unwrap();
    for action in ["ls", "prune"] {
        let output = place.run(&["cache", action]);
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(
            text.contains("debian.iso.part") && text.contains("4 B"),
            "{action}: {text}"
        );
    }
    assert!(!part.exists());
}

#[test]
fn what_guests_fetched_goes_by_rules_only() {
    let place = Place::new();
    let blobs = place.0.path().join("cache/v1/kept/blobs");
    fs::create_dir_all(&blobs).unwrap();
    let blob = |name: char| blobs.join(name.to_string().repeat(64));
    for name in ['a', 'b'] {
        fs::write(blob(name), [0; 1000]).unwrap();
    }
    // The first was not used for a long time.
    let status = Command::new("touch").args(["-d", "2 days ago"]).arg(blob('a')).status();
    assert!(status.unwrap().success());
    let listed = String::from_utf8(place.run(&["cache", "ls"]).stdout).unwrap();
    assert!(listed.contains("packages and images (2 files)"), "{listed}");
    assert!(place.run(&["cache", "prune"]).status.success());
    assert!(blob('a').exists() && blob('b').exists(), "no rule was given");
    assert!(place.run(&["cache", "prune", "--older-than", "1d"]).status.success());
    assert!(!blob('a').exists() && blob('b').exists());
    assert!(place.run(&["cache", "prune", "--max-size", "999B"]).status.success());
    assert!(!blob('b').exists());
}

#[test]
fn a_plan_needs_no_network_and_changes_nothing() {
    let place = Place::new();
    let output = place.run(&["plan", "--login", "jdoe"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success());
    assert!(
        text.contains("install") && text.contains("the ISO is not in the cache"),
        "{text}"
    );
    assert!(!place.0.path().join("data").exists());
}

#[test]
fn a_misspelt_name_makes_no_other_machine_the_one_that_is_meant() {
    let place = Place::new();
    machine(&place, "other");
    let there = || place.0.path().join("data/machines/other/machine.json").exists();
    for wrong in [
        "nmae = \"mine\"\n",
        "name = \"mine\"\n[machine\n",
        "name = \"mine\n",
        "login = \"other\"\nnmae = \"mine\"\n",
    ] {
        fs::write(place.project().join("provision.toml"), wrong).unwrap();
        for command in [&["destroy", "--yes"][..], &["status"], &["stop"], &["rebuild"]] {
            refused(&place.run(command), 3, &["provision.toml:", "hint:"]);
        }
        assert!(there(), "{wrong}");
    }
    // Whoever says which gets that one.
    let gone = place.run(&["destroy", "--yes", "--name", "other"]);
    assert!(
        gone.status.success() && !there(),
        "{}",
        String::from_utf8_lossy(&gone.stderr)
    );
}

#[test]
fn what_ends_never_is_not_read() {
    let place = Place::new();
    fs::create_dir(place.project().join("vm")).unwrap();
    let files = [
        ("provision.toml", &["plan", "--login", "jdoe"][..]),
        (".provisionignore", &["plan", "--login", "jdoe"]),
        ("srcs/.provisionignore", &["plan", "--login", "jdoe"]),
        ("provision.lock", &["create", "--locked", "--login", "jdoe"]),
        ("vm/own.toml", &["plan", "--login", "jdoe", "--guest", "own"]),
    ];
    for (name, command) in files {
        let file = place.project().join(name);
        assert!(Command::new("mkfifo").arg(&file).status().unwrap().success());
        refused(&place.run(command), 3, &[name, "is no plain file", "hint:"]);
        fs::remove_file(&file).unwrap();
        std::os::unix::fs::symlink("/dev/zero", &file).unwrap();
        refused(&place.run(command), 3, &[name, "is no plain file"]);
        fs::remove_file(&file).unwrap();
    }
}

#[test]
fn one_file_is_not_two_records() {
    let place = Place::new();
    let args = [
        "create",
        "--login",
        "jdoe",
        "--offline",
        "--junit",
        "out.xml",
        "--trace",
        "./out.xml",
    ];
    refused(&place.run(&args), 2, &["out.xml", "hint:"]);
}

#[test]
fn what_is_there_but_something_else_is_told_so() {
    let place = Place::new();
    let args = ["plan", "--login", "jdoe", "--project", "Makefile", "--env", "srcs"];
    refused(&place.run(&args), 3, &["Makefile is no folder", "srcs is no file"]);
}
