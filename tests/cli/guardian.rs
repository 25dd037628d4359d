//! The guardian ends a machine when its starter goes, however it goes, unless it was released.

use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::support::{alive, eventually, program};

fn guard(run_dir: &Path, line: &[&str]) -> Child {
    let mut command = Command::new(program());
    command.arg("guard").arg(run_dir).arg("--").args(line);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.spawn().unwrap()
}

fn pid_of(run_dir: &Path) -> u32 {
    let file = run_dir.join("machine.pid");
    let read = || std::fs::read_to_string(&file).ok().and_then(|text| text.parse().ok());
    eventually("the PID is written down", || read().is_some());
    read().unwrap()
}

#[test]
fn a_closed_pipe_ends_the_machine() {
    let folder = tempfile::tempdir().unwrap();
    let mut guardian = guard(folder.path(), &["sleep", "600"]);
    let pid = pid_of(folder.path());
    assert!(alive(pid));
    drop(guardian.stdin.take());
    guardian.wait().unwrap();
    assert!(!alive(pid));
    assert!(!folder.path().join("machine.pid").exists());
}

#[test]
fn a_released_machine_outlives_its_starter() {
    let folder = tempfile::tempdir().unwrap();
    let stop = folder.path().join("stop");
    let wait = format!("while [ ! -e {} ]; do sleep 0.05; done", stop.display());
    let mut guardian = guard(folder.path(), &["sh", "-c", &wait]);
    let pid = pid_of(folder.path());
    guardian.stdin.as_mut().unwrap().write_all(b"r").unwrap();
    drop(guardian.stdin.take());
    // A guardian that took the closed pipe for an order would kill within milliseconds; this sees a quarter second.
    std::thread::sleep(std::time::Duration::from_millis(250));
    assert!(alive(pid));
    std::fs::write(&stop, "").unwrap();
    assert!(guardian.wait().unwrap().success());
}

#[test]
fn the_exit_code_and_the_last_words_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let mut guardian = guard(folder.path(), &["sh", "-c", "echo no such device >&2; exit 3"]);
    // `Child::wait` closes standard input first, which is the order to kill: without this the shell may not get to
    // its last words.
    let pipe = guardian.stdin.take();
    assert_eq!(guardian.wait().unwrap().code(), Some(3));
    drop(pipe);
    let log = std::fs::read_to_string(folder.path().join("machine.log")).unwrap();
    assert_eq!(log, "no such device\n");
}

#[test]
fn a_program_that_is_not_there_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let mut guardian = guard(folder.path(), &["/nowhere/qemu"]);
    assert!(!guardian.wait().unwrap().success());
    let log = std::fs::read_to_string(folder.path().join("machine.log")).unwrap();
    assert!(log.contains("/nowhere/qemu"), "{log}");
}

/// A full disk shows just so: the program runs, and its PID cannot be written down.
#[test]
fn a_process_whose_pid_cannot_be_kept_is_ended() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("machine.pid")).unwrap();
    let mut guardian = guard(folder.path(), &["sleep", "600"]);
    let pipe = guardian.stdin.take();
    assert!(!guardian.wait().unwrap().success());
    drop(pipe);
    let place = std::fs::canonicalize(folder.path()).unwrap();
    let works_there =
        |process: std::fs::DirEntry| std::fs::read_link(process.path().join("cwd")).is_ok_and(|at| at == place);
    assert!(!std::fs::read_dir("/proc").unwrap().flatten().any(works_there));
    let log = std::fs::read_to_string(folder.path().join("machine.log")).unwrap();
    assert!(log.contains("machine.pid"), "{log}");
}

/// `pkill -9 provision` goes by this name and must leave the guardian, which then ends the machine.
#[test]
fn the_process_list_does_not_call_it_provision() {
    let folder = tempfile::tempdir().unwrap();
    let mut guardian = guard(folder.path(), &["sleep", "600"]);
    pid_of(folder.path());
    let name = std::fs::read_to_string(format!("/proc/{}/comm", guardian.id())).unwrap();
    drop(guardian.stdin.take());
    guardian.wait().unwrap();
    assert_eq!(name, "qemu-guardian\n");
}
