//! The commands for a machine that runs: QEMU and OpenSSH's server are real, only Debian is not there.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::programs::free_port;
use super::support::{alive, eventually, program};

/// The checkpoint on which its disk would lie.
const LAYER: &str = "1a2b3c4d5e6f";

/// A folder with the machine `m`.
struct Place {
    folder: tempfile::TempDir,
    children: Vec<Child>,
}

impl Place {
    fn new() -> Self {
        let place = Self {
            folder: tempfile::tempdir().unwrap(),
            children: Vec::new(),
        };
        fs::create_dir_all(place.dir().join("run")).unwrap();
        place.make_identity();
        place.remember(free_port());
        place
    }

    fn dir(&self) -> PathBuf {
        self.folder.path().join("data/machines/m")
    }

    fn make_identity(&self) {
        let dir = self.dir().join("identity");
        fs::create_dir_all(&dir).unwrap();
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o700)).unwrap();
        for name in ["id_ed25519", "ssh_host_ed25519_key"] {
            let mut keygen = Command::new("ssh-keygen");
            done(keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(dir.join(name)));
        }
        for entry in fs::read_dir(&dir).unwrap() {
            fs::set_permissions(entry.unwrap().path(), fs::Permissions::from_mode(0o600)).unwrap();
        }
    }

    fn remember(&self, ssh_port: u16) {
        let record = serde_json::json!({
            "login": login(), "guest": "debian", "made": "2026-01-01T00:00:00Z", "phase": "made",
            "layer": { "key": LAYER, "id": "1" }, "https_port": free_port(), "ssh_port": ssh_port, "cpus": 1, "memory_mib": 64,
            "accelerator": "tcg", "project": "/nowhere",
        });
        fs::write(self.dir().join("machine.json"), record.to_string()).unwrap();
    }

    /// The checkpoint, of which nothing but the manifest counts here.
    fn make_layer(&self) {
        let dir = self.folder.path().join("cache/v1/layers").join(LAYER);
        fs::create_dir_all(&dir).unwrap();
        let manifest = serde_json::json!({
            "format": 1, "stage": "project", "key": LAYER, "id": "1", "parent": null, "inputs": {},
            "made": "2026-01-01T00:00:00Z", "seconds": 1.0, "tool": "0",
        });
        fs::write(dir.join("layer.json"), manifest.to_string()).unwrap();
        fs::write(dir.join("disk.qcow2"), "").unwrap();
    }

    /// An SSH server with the machine's keys, and a QEMU without a guest beside it.
    fn run_machine(&mut self) {
        let (port, identity) = (free_port(), self.dir().join("identity"));
        self.remember(port);
        let config = [
            format!("ListenAddress 127.0.0.1:{port}"),
            format!("HostKey {}", identity.join("ssh_host_ed25519_key").display()),
            format!("AuthorizedKeysFile {}", identity.join("id_ed25519.pub").display()),
            "PidFile none\nPermitRootLogin yes\nStrictModes no\nUsePAM no\n".into(),
        ];
        let file = self.folder.path().join("sshd_config");
        fs::write(&file, config.join("\n")).unwrap();
        // Debian's server insists on this folder, which its service makes at boot.
        let _ = fs::create_dir("/run/sshd");
        let mut sshd = self.as_login("/usr/sbin/sshd");
        self.spawn(sshd.args(["-D", "-e", "-f"]).arg(file));
        let mut qemu = Command::new("qemu-system-x86_64");
        qemu.args(["-nodefaults", "-M", "none", "-display", "none", "-qmp"]);
        qemu.arg("unix:qmp.sock,server=on,wait=off");
        self.spawn(qemu.current_dir(self.dir().join("run")));
        eventually("the machine runs", || {
            let listens = std::net::TcpStream::connect(("127.0.0.1", port)).is_ok();
            listens && std::os::unix::net::UnixStream::connect(self.dir().join("run/qmp.sock")).is_ok()
        });
    }

    /// A program for which the login exists. Nobody may be called root in a guest, so that root needs another name, in a
    /// passwd(5) that only this program sees.
    fn as_login(&self, server: &str) -> Command {
        if !is_root() {
            return Command::new(server);
        }
        let passwd = self.folder.path().join("passwd");
        let other = format!("{}:x:0:0::/root:/bin/sh\n", login());
        fs::write(&passwd, other + &fs::read_to_string("/etc/passwd").unwrap()).unwrap();
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-c", "mount --bind \"$0\" /etc/passwd && exec \"$@\""]);
        command.arg(passwd).arg(server);
        command
    }

    fn spawn(&mut self, command: &mut Command) {
        let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.children.push(command.spawn().unwrap());
    }

    /// A shell in which `$P` is the program.
    fn shell(&self, script: &str) -> Command {
        let mut shell = Command::new("bash");
        shell.args(["-c", script]).env("P", program());
        shell.stdin(Stdio::null()).current_dir(self.folder.path());
        shell.env("PROVISION_DATA_DIR", self.folder.path().join("data"));
        shell.env("PROVISION_CACHE_DIR", self.folder.path().join("cache"));
        shell
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn done(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn is_root() -> bool {
    done(Command::new("id").arg("-u")).trim() == "0"
}

/// The guest's user, who is this host's.
fn login() -> String {
    let user = done(Command::new("id").arg("-un")).trim().to_owned();
    if is_root() { "tester".into() } else { user }
}

#[test]
fn a_reader_that_goes_ends_exec_and_logs() {
    let mut place = Place::new();
    place.run_machine();
    fs::write(place.dir().join("run/console.log"), "one\ntwo\n").unwrap();
    let table = [
        (
            "timeout 30 $P exec --name m -- yes | head -1; echo ${PIPESTATUS[0]}",
            "y\n141\n",
        ),
        (
            "timeout 30 $P logs --name m --follow | head -1; echo ${PIPESTATUS[0]}",
            "one\n0\n",
        ),
        (
            "timeout 30 $P --json exec --name m -- yes | head -1 | grep -c '\"line\":\"y\"'; echo ${PIPESTATUS[0]}",
            "1\n141\n",
        ),
        (
            "timeout 30 $P --json logs --name m --follow | head -1 | grep -c '\"text\":\"one\"'; echo ${PIPESTATUS[0]}",
            "1\n0\n",
        ),
        (
            "timeout 30 $P logs --name m --follow | true; echo ${PIPESTATUS[0]}",
            "0\n",
        ),
    ];
    for (script, said) in table {
        assert_eq!(done(&mut place.shell(script)), said, "{script}");
    }
    let quiet = place.shell("$P -q exec --name m -- yes | head -1").output().unwrap();
    assert_eq!(String::from_utf8_lossy(&quiet.stderr), "");
}

/// What a guest has logged is read by the runner as all that a step prints.
#[test]
fn logs_give_githubs_runner_no_commands() {
    let place = Place::new();
    fs::write(place.dir().join("run/console.log"), "one\r::error::x\r\n##[group]y\n").unwrap();
    for (script, said) in [
        ("$P logs --name m", "one\r::error::x\r\n##[group]y\n"),
        (
            "GITHUB_ACTIONS=true $P logs --name m",
            "one\r: :error::x\r\n## [group]y\n",
        ),
        (
            "GITHUB_ACTIONS=true timeout 30 $P logs --name m --follow | head -2",
            "one\r: :error::x\r\n## [group]y\n",
        ),
    ] {
        let mut shell = place.shell(script);
        assert_eq!(done(shell.env_remove("GITHUB_ACTIONS")), said, "{script}");
    }
}

#[test]
fn exec_tells_programs_lines_and_the_exit_code() {
    let mut place = Place::new();
    place.run_machine();
    let said = place
        .shell("$P --json exec --name m -- sh -c 'echo out; echo err >&2; printf end; exit 3'")
        .output()
        .unwrap();
    assert_eq!(said.status.code(), Some(3));
    let text = String::from_utf8(said.stdout).unwrap();
    let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(
        lines
            .iter()
            .all(|line| line["event"] == "result" && line["time"].is_string()),
        "{text}"
    );
    let of = |stream: &str| -> Vec<&str> {
        let lines = lines.iter().filter(|line| line["stream"] == stream);
        lines.map(|line| line["line"].as_str().unwrap()).collect()
    };
    assert_eq!((of("stdout"), of("stderr")), (vec!["out", "end"], vec!["err"]));
    assert_eq!(lines.last().unwrap()["exit_code"], 3);
}

#[test]
fn exec_passes_its_input_on() {
    let mut place = Place::new();
    place.run_machine();
    let content: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    fs::write(place.folder.path().join("in"), &content).unwrap();
    for script in [
        "$P exec --name m -- cat < in > out",
        "cat in | $P exec --name m -- cat > out",
    ] {
        done(&mut place.shell(script));
        assert!(
            fs::read(place.folder.path().join("out")).unwrap() == content,
            "{script}"
        );
    }
    // A command that reads nothing does not wait for an input that never ends.
    let mut deaf = place.shell("exec timeout 30 $P exec --name m -- echo hi");
    let mut deaf = deaf.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    // `Child::wait` would end the input.
    let input = deaf.stdin.take();
    assert!(deaf.wait().unwrap().success());
    drop(input);
}

#[test]
fn exec_tells_that_the_machine_has_died() {
    let mut place = Place::new();
    place.run_machine();
    fs::write(place.dir().join("run/machine.log"), "qemu: out of memory\n").unwrap();
    let mut exec = place.shell("exec $P exec --name m -- sh -c 'echo begun; sleep 60'");
    let exec = exec.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(Duration::from_secs(2));
    let begun = Instant::now();
    place.children[1].kill().unwrap();
    place.children[1].wait().unwrap();
    let output = exec.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(13), "{stderr}");
    assert!(stderr.contains("qemu: out of memory"), "{stderr}");
    assert!(begun.elapsed() < Duration::from_secs(20));
}

/// QEMU closes the user's disk itself: what it holds of the disk's tables is written.
#[test]
fn a_start_that_is_interrupted_lets_qemu_end() {
    let place = Place::new();
    place.make_layer();
    let disk = place.dir().join("disk.qcow2");
    done(
        Command::new("qemu-img")
            .args(["create", "-q", "-f", "qcow2"])
            .arg(&disk)
            .arg("8M"),
    );
    let start = place
        .shell("exec $P start --name m")
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (socket, pid) = (place.dir().join("run/qmp.sock"), place.dir().join("run/machine.pid"));
    eventually("QEMU runs", || {
        socket.exists() && fs::read_to_string(&pid).is_ok_and(|pid| !pid.is_empty())
    });
    let pid: u32 = fs::read_to_string(pid).unwrap().parse().unwrap();
    // A moment in which the start comes to wait for the guest, which has nothing to boot.
    std::thread::sleep(Duration::from_secs(1));
    done(Command::new("kill").args(["-INT", &start.id().to_string()]));
    let output = start.wait_with_output().unwrap();
    assert_eq!(
        output.status.code(),
        Some(130),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(!alive(pid));
    // A QEMU that ends by itself takes its socket away; one that is killed cannot.
    assert!(!socket.exists(), "QEMU was killed");
}

/// As after Ctrl-C: nothing goes on when the time of the run is over.
#[test]
fn a_start_whose_time_is_over_lets_qemu_end() {
    let place = Place::new();
    place.make_layer();
    let disk = place.dir().join("disk.qcow2");
    done(
        Command::new("qemu-img")
            .args(["create", "-q", "-f", "qcow2"])
            .arg(&disk)
            .arg("8M"),
    );
    let (socket, pid) = (place.dir().join("run/qmp.sock"), place.dir().join("run/machine.pid"));
    // A busy host may need some of the time before QEMU runs.
    let ran = ["3s", "12s", "48s"].into_iter().find_map(|limit| {
        let mut start = place.shell(&format!("exec $P start --name m --timeout {limit}"));
        let start = start.env("PROVISION_TIMEOUT", "1h").stderr(Stdio::piped()).spawn();
        let mut start = start.unwrap();
        let seen = std::cell::Cell::new(None);
        let over = std::cell::RefCell::new(&mut start);
        eventually("QEMU runs, or the time is over", || {
            let pid = fs::read_to_string(&pid).ok().and_then(|pid| pid.trim().parse().ok());
            seen.set(pid.filter(|_| socket.exists()));
            seen.get().is_some() || over.borrow_mut().try_wait().unwrap().is_some()
        });
        let output = start.wait_with_output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(124), "{stderr}");
        seen.get().map(|pid| (pid, limit, stderr))
    });
    let (pid, limit, stderr) = ran.expect("QEMU never ran");
    assert!(
        stderr.contains(&format!("`--timeout {limit}` was over in the stage verify: ")),
        "{stderr}"
    );
    assert!(!alive(pid));
    assert!(!socket.exists(), "QEMU was killed");
}
