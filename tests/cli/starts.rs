//! What happens between the choice of a machine's hardware and its start. QEMU is real; what starts it is not QEMU alone.

use std::fs;
use std::net::TcpListener;

use serde_json::json;

use super::place::Place;
use super::support::{copy_program, program, write_program};
use super::timer;

/// What is in PATH before QEMU's own: the script `text` in its place.
fn in_place_of_qemu(place: &Place, text: &str) -> String {
    let bin = place.path("bin");
    fs::create_dir(&bin).unwrap();
    write_program(&bin.join("qemu-system-x86_64"), text);
    format!("{}:{}", bin.display(), std::env::var("PATH").unwrap())
}

/// Starts QEMU with the port `taken` in other hands the first time.
fn quicker(place: &Place, taken: u16) -> String {
    let script = format!(
        "#!/usr/bin/env python3\nimport os, socket, subprocess, sys\nqemu = ['/usr/bin/qemu-system-x86_64', *sys.argv[1:]]\n\
         if any(':{taken}-' in word for word in qemu) and not os.path.exists('{marker}'):\n    open('{marker}', 'w').close()\n    \
         taken = socket.create_server(('127.0.0.1', {taken}))\n    sys.exit(subprocess.call(qemu))\nos.execv(qemu[0], qemu)\n",
        marker = place.path("taken").display()
    );
    in_place_of_qemu(place, &script)
}

#[test]
fn another_port_is_taken_where_somebody_was_quicker() {
    let place = Place::new();
    timer::machine(&place, 0);
    // Below those that the kernel gives to others who want any.
    let first = 20000 + u16::try_from(std::process::id() % 10000).unwrap();
    let port = (first..32768)
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .unwrap();
    let file = place.path("data/machines/m/machine.json");
    let record = fs::read_to_string(&file).unwrap();
    fs::write(
        &file,
        record.replace("\"https_port\":0", &format!("\"https_port\":{port}")),
    )
    .unwrap();
    let path = quicker(&place, port);
    let output = place
        .command(&["start", "--name", "m"])
        .env("PATH", path)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(place.path("taken").exists(), "{said}");
    // Its guest ran: it powers off at once.
    assert_eq!(output.status.code(), Some(7), "{said}");
    assert!(said.contains("powered off while booting"), "{said}");
}

/// An upgrade replaces the program's file while it runs.
#[test]
fn a_program_that_was_removed_still_starts_machines() {
    let place = Place::new();
    timer::machine(&place, 0);
    let provision = place.path("provision");
    copy_program(&program(), &provision);
    // QEMU is asked for its version first.
    let script = format!(
        "#!/bin/sh\nrm -f '{}'\nexec /usr/bin/qemu-system-x86_64 \"$@\"\n",
        provision.display()
    );
    let path = in_place_of_qemu(&place, &script);
    let like = place.command(&["start", "--name", "m"]);
    let mut command = std::process::Command::new(&provision);
    command
        .args(like.get_args())
        .current_dir(like.get_current_dir().unwrap());
    for (name, value) in like.get_envs() {
        command.env(name, value.unwrap());
    }
    let output = command.env("PATH", path).output().unwrap();
    assert!(!provision.exists());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("powered off while booting"), "{said}");
}

#[test]
fn the_address_of_a_machine_that_is_off_comes_with_how_to_start_it() {
    let place = Place::new();
    place.layer("install", 'a', None, 30, &json!({}));
    place.machine("m", "jdoe", Some('a'));
    let output = place.run(&["url", "--name", "m"]);
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("https://jdoe.42.fr:1/"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("m is off: `provision start --name m` starts it"),
        "{said}"
    );
}
