//! The scripts that run the tests, on machines other than this one.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use super::support::{alive, eventually, write_program};

/// A folder with programs that stand in for this machine's own.
fn programs(scripts: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, script) in scripts {
        write_program(&folder.path().join(name), &format!("#!/bin/sh\n{script}\n"));
    }
    folder
}

/// One of the project's scripts, with `programs` before this machine's own.
fn script(path: &str, programs: &Path) -> Command {
    // Whoever starts the tests in the background, as continuous integration may, starts them with SIGINT ignored, and a
    // shell cannot take that back (POSIX, trap).
    let mut command = Command::new("env");
    command
        .arg("--default-signal=INT")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join(path));
    let own = std::env::var("PATH").unwrap();
    command
        .env("PATH", format!("{}:{own}", programs.display()))
        .env_remove("DEBIAN_MIRROR");
    command
}

/// What the script says that looks for a Debian mirror, where apt's indexes are these and `DEBIAN_MIRROR` is that.
fn mirror(targets: &str, variable: Option<&str>) -> Output {
    // The format asks for origin and label first, or for the address alone.
    let lines = format!("cat <<'X' | if [ \"$3\" = '$(REPO_URI)' ]; then sed 's/.* //'; else cat; fi\n{targets}\nX");
    let programs = programs(&[("apt-get", &lines)]);
    let mut command = script("tests/support/mirror", programs.path());
    command.envs(variable.map(|text| ("DEBIAN_MIRROR", text)));
    command.output().unwrap()
}

#[test]
fn a_debian_mirror_is_found_in_apts_sources_or_asked_for() {
    let list = tempfile::NamedTempFile::new().unwrap();
    fs::write(list.path(), "# mine\nhttp://listed.test/debian/\tpriority:1\n").unwrap();
    let by_list = format!("Debian Debian mirror+file:{}", list.path().display());
    let ubuntu = "Ubuntu Ubuntu http://mirror.test/ubuntu/";
    for (targets, variable, found) in [
        ("Debian Debian http://a.test/x/", None, Some("http://a.test/x")),
        ("  http://a.test/debian/", None, Some("http://a.test/debian")),
        (
            "Other Other http://b.test/debian\nDebian Debian http://a.test/debian/",
            None,
            Some("http://a.test/debian"),
        ),
        (&by_list, None, Some("http://listed.test/debian")),
        (ubuntu, Some("http://c.test/debian//"), Some("http://c.test/debian")),
        (ubuntu, None, None),
        (ubuntu, Some("c.test/debian"), None),
        ("", None, None),
    ] {
        let output = mirror(targets, variable);
        let (stdout, stderr) = (
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        assert_eq!(output.status.success(), found.is_some(), "{targets}: {stderr}");
        assert_eq!(stdout.trim(), found.unwrap_or_default(), "{targets}");
        if found.is_none() {
            assert!(stderr.contains("hint:") && stderr.contains("DEBIAN_MIRROR"), "{stderr}");
        }
    }
}

#[test]
fn builders_of_test_media_say_what_is_missing() {
    let folder = programs(&[("apt-get", "echo http://mirror.test/ubuntu/")]);
    let out = folder.path().join("out");
    for (path, first) in [
        ("tests/media/debian-netinst.sh", None),
        ("tests/media/docker-hub-standin.sh", Some("fill")),
    ] {
        let output = script(path, folder.path()).args(first).arg(&out).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(
            !output.status.success() && stderr.contains("DEBIAN_MIRROR"),
            "{path}: {stderr}"
        );
    }
}

#[test]
fn what_root_made_is_handed_back_to_who_called_sudo() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("screenshot.png");
    fs::write(&file, "").unwrap();
    if fs::metadata(&file).unwrap().uid() != 0 {
        return; // Only root makes files that are root's.
    }
    let code = "import sys, pathlib, packages; packages.hand_back(*map(pathlib.Path, sys.argv[1:]))";
    let run = |user: Option<&str>| {
        let mut command = Command::new("python3");
        command.args(["-B", "-c", code]).args([folder.path(), &file]).env(
            "PYTHONPATH",
            Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/project"),
        );
        for name in ["SUDO_UID", "SUDO_GID"] {
            command.env_remove(name).envs(user.map(|id| (name, id)));
        }
        assert!(command.status().unwrap().success());
        [folder.path(), &file].map(|path| fs::metadata(path).unwrap().uid())
    };
    assert_eq!(run(None), [0, 0]);
    assert_eq!(run(Some("1234")), [1234, 1234]);
}

/// What it puts into place needs nothing of this folder.
#[test]
fn cargo_installs_the_program() {
    let root = tempfile::tempdir().unwrap();
    let installed = Command::new(env!("CARGO"))
        .args(["install", "--quiet", "--debug", "--locked", "--offline"])
        .args(["--path", env!("CARGO_MANIFEST_DIR"), "--root"])
        .arg(root.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&installed.stderr);
    assert!(installed.status.success(), "{said}");
    let version = Command::new(root.path().join("bin/provision"))
        .arg("--version")
        .current_dir("/")
        .output()
        .unwrap();
    let expected = format!("provision {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(String::from_utf8_lossy(&version.stdout), expected);
}

#[test]
fn an_interrupted_test_run_leaves_nothing_running() {
    // One that dies of the signal, and one that ends as if nothing had been.
    for ending in ["exec sleep 60", "trap 'kill $!; exit 0' INT; sleep 60 & wait"] {
        let folder = programs(&[("cargo", &format!("echo $$ >> \"${{0%/*}}/pids\"\n{ending}"))]);
        let pids = folder.path().join("pids");
        let mut run = script("tests/run", folder.path())
            .args(["unit", "unit"])
            .env("PROVISION_TEST_CACHE", folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .unwrap();
        let started = || fs::read_to_string(&pids).unwrap_or_default();
        eventually("cargo runs", || started().ends_with('\n'));
        let pid: u32 = started().trim().parse().unwrap();
        // The script may not be waiting yet, and the shell that stands in for cargo not have set its trap.
        std::thread::sleep(Duration::from_millis(200));
        // What the terminal does on Ctrl-C.
        let group = rustix::process::Pid::from_raw(i32::try_from(run.id()).unwrap()).unwrap();
        rustix::process::kill_process_group(group, rustix::process::Signal::INT).unwrap();
        eventually("cargo ends", || !alive(pid));
        assert_eq!(run.wait().unwrap().code(), Some(130));
        assert_eq!(started().lines().count(), 1, "the next step ran");
    }
}
