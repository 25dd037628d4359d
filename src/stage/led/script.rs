//! The script in a network name space, with a real firewall.

use std::path::Path;
use std::process::{Command, Output};

use super::SCRIPT;

/// Runs a program as root in a network, and a world of mounts, of its own.
fn unshared(program: &mut Command) -> Output {
    let mut command = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command.args(["--net", "--mount"]);
    command.arg(program.get_program()).args(program.get_args());
    command.output().unwrap()
}

/// What a guest reaches, led with these options.
fn reached(options: &[&str]) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new(root.join("tests/support/led-guest"));
    command.arg(root.join("provision/debian/lead.sh")).args(options);
    let output = unshared(&mut command);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
fn assert_has(said: &str, lines: &[&str]) {
    for line in lines {
        assert!(said.lines().any(|said| said == *line), "{line}, in:\n{said}");
    }
}

const WITHOUT: [&str; 6] = [
    "mirror: refused",
    "keeper: led",
    "service: own",
    "service by UDP: own",
    "service by IPv6: own",
    "session: answered",
];

#[test]
fn a_guest_without_a_network_reaches_the_keeper_and_nothing_else() {
    let said = reached(&["--names", "5353", "--mirror", "1"]);
    for when in ["before", "after"] {
        assert_has(
            &said,
            &WITHOUT
                .map(|line| format!("{when} {line}"))
                .each_ref()
                .map(String::as_str),
        );
    }
    assert_has(
        &said,
        &[
            "led keeper: led",
            "led mirror: led",
            "led service: refused",
            "led service by UDP: refused",
            "led service by IPv6: refused",
            "led web: led",
            "led HTTPS: refused",
            "led name server: name",
            "led name server on the host: name",
            "led session: answered",
        ],
    );
}

#[test]
fn a_guest_with_a_network_reaches_the_rest_as_ever() {
    let said = reached(&[]);
    assert_has(
        &said,
        &WITHOUT.map(|line| format!("led {line}")).each_ref().map(String::as_str),
    );
    assert_has(&said, &["led web: led"]);
}

/// A guest whose disk is full: its keeper answers, and its engine's folder has no room.
const FULL: &str = r#"
ip link set lo up
ip link add eth0 type veth peer name gw0
ip link set gw0 up
ip addr add 10.0.2.2/24 dev eth0
ip link set eth0 up
ip route add default dev eth0
mkdir -p "$2/docker"
mount -t tmpfs -o size=20k none "$2/docker"
echo '{"before": true}' > "$2/docker/daemon.json"
{ printf 'set -- begin --gateway 10.0.2.2 --port 4000 --probe 192.0.2.80 --engine %s\nasked() { echo led; }\n' "$3"; cat "$1"; } | sh -s
echo "status $?"
ls "$2/docker"
cat "$2/docker/daemon.json"
nft list tables
"#;

#[test]
fn a_full_disk_gets_no_half_of_a_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().display().to_string();
    // Only the question whether the keeper is reached is left out: there is none.
    let (head, rest) = SCRIPT.split_once("\nasked() {\n").unwrap();
    let (_, rest) = rest.split_once("\n}\n").unwrap();
    let script = format!("{head}\n{rest}").replace("/etc/docker/", &format!("{at}/docker/"));
    let script = script.replace("/run/provision", &format!("{at}/provision"));
    // What would be asked of an engine if the script went on.
    let script = script.replace("systemctl reload docker", "echo reloaded");
    let script = script.replace("--unix-socket /run/docker.sock", "--unix-socket /nowhere");
    std::fs::write(folder.path().join("lead.sh"), script).unwrap();
    let large = "x".repeat(10_000);
    let mut command = Command::new("sh");
    command
        .args(["-c", FULL, "sh"])
        .arg(folder.path().join("lead.sh"))
        .args([&at, &large]);
    let output = unshared(&mut command);
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(said, "status 1\ndaemon.json\n{\"before\": true}\n", "{errors}");
    // dash and bash say it differently.
    assert!(
        errors.contains("I/O error") || errors.contains("No space left"),
        "{errors}"
    );
}
