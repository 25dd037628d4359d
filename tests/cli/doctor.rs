//! What `doctor` says of hosts that lack something of their virtualisation: this one, with other files under its feet, in
//! a mount name space of its own.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use super::place::Place;
use super::support::{copy_program, program};

fn result(output: &Output) -> Value {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    let mut lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.find(|line| line["event"] == "result").unwrap_or_else(|| {
        panic!("no result: {text}{}", String::from_utf8_lossy(&output.stderr));
    })
}

/// A host of these files: what `/proc/cpuinfo` says of the processor, the loaded modules, the modules on the disk.
struct Pretended<'a> {
    flags: &'a str,
    loaded: &'a [&'a str],
    shipped: Option<&'a str>,
}

impl Pretended<'_> {
    /// `doctor` on it. Nothing is changed outside of the name space.
    fn doctor(&self, place: &Place) -> Output {
        let file = |name: &str, text: &str| {
            let path = place.path("host").join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
        };
        file("cpuinfo", &format!("flags\t\t: fpu {}\n", self.flags));
        fs::create_dir_all(place.path("host/module")).unwrap();
        for module in self.loaded {
            fs::create_dir_all(place.path("host/module").join(module)).unwrap();
        }
        fs::create_dir_all(place.path("host/modules")).unwrap();
        if let Some(list) = self.shipped {
            let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
            file(&format!("modules/{kernel}/modules.dep"), list);
        }
        let script = "set -e; host=$1; shift
            mount --bind \"$host/cpuinfo\" /proc/cpuinfo
            mount --bind \"$host/module\" /sys/module
            if [ ! -d /lib/modules ]; then
                lib=$(realpath /lib); mkdir \"$host/over\"; mount -t tmpfs none \"$host/over\"
                mkdir -p \"$host/over/up/modules\" \"$host/over/work\"
                mount -t overlay -o \"lowerdir=$lib,upperdir=$host/over/up,workdir=$host/over/work\" none \"$lib\"
            fi
            mount --bind \"$host/modules\" /lib/modules
            mkdir \"$host/dev\"; mount -t tmpfs none \"$host/dev\"
            for node in null zero random urandom; do : > \"$host/dev/$node\"; mount --bind /dev/$node \"$host/dev/$node\"; done
            mount --rbind \"$host/dev\" /dev
            exec \"$@\"";
        let mut command = Command::new("unshare");
        if !rustix::process::geteuid().is_root() {
            command.arg("--map-root-user");
        }
        command.args(["--mount", "--propagation", "private", "sh", "-c", script, "sh"]);
        command
            .arg(place.path("host"))
            .arg(program())
            .args(["doctor", "--json"]);
        command
            .env("PROVISION_CACHE_DIR", place.path("cache"))
            .env("PROVISION_DATA_DIR", place.path("data"));
        let output = command.stdin(Stdio::null()).output().unwrap();
        fs::remove_dir_all(place.path("host")).unwrap();
        output
    }
}

#[test]
fn what_a_host_lacks_is_told_apart() {
    let intel = "kernel/arch/x86/kvm/kvm-intel.ko: kernel/arch/x86/kvm/kvm.ko\n";
    for (flags, loaded, shipped, state) in [
        ("sse", &[][..], None, "no_cpu_flag"),
        ("sse hypervisor", &[], Some(intel), "no_cpu_flag"),
        ("vmx", &[], Some(intel), "module_missing"),
        ("svm", &["kvm"], None, "module_missing"),
        ("svm", &[], Some(intel), "module_unavailable"),
        ("svm", &["kvm", "kvm_amd"], None, "device_missing"),
        ("vmx", &["kvm", "kvm_intel"], Some(intel), "device_missing"),
        ("sse", &["kvm", "kvm_pvm"], None, "device_missing"),
    ] {
        let place = Place::new();
        let host = Pretended { flags, loaded, shipped };
        let output = host.doctor(&place);
        let found = result(&output);
        let accelerator = &found["accelerator"];
        assert_eq!(accelerator["state"], state, "{flags} {loaded:?}: {accelerator}");
        let hint = accelerator["hint"].as_str().unwrap();
        assert!(hint.contains('`') || hint.contains("container"), "{hint}");
        // Emulation serves, and nothing else is missing.
        assert_eq!((found["ok"].as_bool(), output.status.code()), (Some(true), Some(0)));
    }
}

#[test]
fn who_may_not_open_the_device_is_told_so() {
    let device = Path::new("/dev/kvm");
    let is_root = rustix::process::geteuid().is_root();
    let closed =
        fs::metadata(device).is_ok_and(|there| there.file_type().is_char_device() && there.mode() & 0o006 != 0o006);
    if !closed || !is_root {
        println!("needs root and a device that is closed to others");
        return;
    }
    let place = Place::new();
    let copy = place.path("provision");
    copy_program(&program(), &copy);
    for (path, mode) in [(place.path(""), 0o755), (copy.clone(), 0o755)] {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    let theirs = place.path("theirs");
    fs::create_dir(&theirs).unwrap();
    fs::set_permissions(&theirs, fs::Permissions::from_mode(0o777)).unwrap();
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(&copy)
        .args(["doctor", "--json"]);
    command
        .env("PROVISION_CACHE_DIR", theirs.join("cache"))
        .env("PROVISION_DATA_DIR", theirs.join("data"));
    let found = result(&command.current_dir(&theirs).stdin(Stdio::null()).output().unwrap());
    assert_eq!(found["accelerator"]["state"], "no_permission", "{found}");
    assert!(found["accelerator"]["hint"].as_str().unwrap().len() > 20, "{found}");
}

#[test]
fn this_host_is_told_as_it_is() {
    let place = Place::new();
    let output = place.run(&["--json", "doctor"]);
    let found = result(&output);
    assert_eq!(found["ok"].as_bool(), Some(output.status.success()));
    let accelerator = &found["accelerator"];
    let state = accelerator["state"].as_str().unwrap();
    assert_eq!(accelerator["hint"].is_string(), state != "works", "{accelerator}");
    // The device's own answer: whoever opens it is told of the guest that was tried, who does not of something else.
    let opens = fs::OpenOptions::new().read(true).write(true).open("/dev/kvm").is_ok();
    let tried = ["works", "busy", "limited", "runs_nothing", "refused"].contains(&state);
    assert_eq!(tried, opens, "{accelerator}");
    // A person is told in one line, without QEMU's own words; -v has them.
    let plain = place.run(&["doctor"]);
    let text = String::from_utf8(plain.stdout).unwrap();
    assert!(
        !text.contains("Assertion") && !text.contains("qemu-system-x86_64:"),
        "{text}"
    );
    if let Some(message) = accelerator["message"].as_str() {
        let verbose = place.run(&["doctor", "-v"]);
        let said = String::from_utf8(verbose.stderr).unwrap();
        let first = message.lines().next().unwrap();
        assert!(said.contains(first), "{said} does not tell {first}");
    }
    let hint = accelerator["hint"].as_str();
    assert!(hint.is_none_or(|hint| text.contains(hint)), "{text}");
}

#[test]
fn a_host_without_qemu_is_not_sound() {
    let place = Place::new();
    let bin = place.path("bin");
    fs::create_dir(&bin).unwrap();
    let output = place.command(&["doctor", "--json"]).env("PATH", &bin).output().unwrap();
    let found = result(&output);
    assert_eq!((found["ok"].as_bool(), output.status.code()), (Some(false), Some(4)));
    for program in found["programs"].as_array().unwrap() {
        assert_eq!(program["state"], "absent");
        assert!(program["hint"].as_str().unwrap().contains("--install-missing"));
    }
}

#[test]
fn folders_in_which_nothing_can_be_written_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let output = Command::new(program())
        .args(["--json", "doctor"])
        .env("PROVISION_CACHE_DIR", file.join("cache"))
        .env("PROVISION_DATA_DIR", folder.path().join("data"))
        .output()
        .unwrap();
    let said = result(&output);
    let rooms = said["room"].as_array().unwrap();
    let of = |holds: &str| rooms.iter().find(|room| room["holds"] == holds).unwrap();
    assert_eq!(of("cache")["state"], "closed", "{said}");
    assert!(
        of("cache")["hint"].as_str().unwrap().contains("PROVISION_CACHE_DIR"),
        "{said}"
    );
    assert_ne!(of("machines")["state"], "closed", "{said}");
}

#[test]
fn a_user_without_a_name_is_told_so() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: only root can become a user without a name");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("provision");
    copy_program(&program(), &copy);
    let run = |args: &[&str]| {
        Command::new("setpriv")
            .args(["--reuid", "12345", "--regid", "12345", "--clear-groups"])
            .arg(&copy)
            .args(args)
            .env("PROVISION_CACHE_DIR", folder.path().join("cache"))
            .env("PROVISION_DATA_DIR", folder.path().join("data"))
            .output()
            .unwrap()
    };
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let said = run(&["doctor"]);
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(
        said.contains("No user exists for uid 12345") && said.contains("/etc/passwd"),
        "{said}"
    );
}
