//! Faults that need a real installer or QEMU.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::run::Run;
use super::world::World;

/// A medium that holds the installer's kernel but nothing to install stops it at a question that no seed answers. It takes
/// a minute to get there, and the question has to stand for half a minute: other steps have both.
pub fn an_installer_asks(world: &World) -> Run {
    let (content, iso) = (world.path("content"), world.path("empty.iso"));
    fs::create_dir(&content).unwrap();
    let xorriso = |command: &mut Command| {
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    let mut extract = Command::new("xorriso");
    extract
        .args(["-osirrox", "on", "-indev"])
        .arg(world.iso())
        .args(["-extract", "/install.amd"]);
    xorriso(extract.arg(content.join("install.amd")));
    xorriso(
        Command::new("xorriso")
            .args(["-as", "mkisofs", "-quiet", "-r", "-o"])
            .arg(&iso)
            .arg(&content),
    );

    let mut run = world.run(&["create", "--name", "asks", "--iso", iso.to_str().unwrap()]);
    // From here on its QEMU is there, for whoever counts them.
    let shows = |event: &Value| event["event"] == "progress" && event["stage"] == "install";
    assert!(run.until(shows), "the installer never began");
    run
}

/// The question at which the installer stopped is told.
pub fn a_question_is_quoted(world: &World, asking: Run) {
    let ended = asking.end();
    assert_eq!(ended.code, Some(7), "{}", ended.stderr);
    let error = ended
        .events
        .iter()
        .find(|event| event["event"] == "error")
        .expect("an error event");
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("Incorrect installation media"), "{message}");
    let bundle = fs::read_dir(world.machine_dir("asks")).unwrap().flatten();
    let bundle = bundle
        .map(|entry| entry.path())
        .find(|path| path.to_string_lossy().contains("failure-"));
    let screen = fs::read(bundle.expect("a failure bundle").join("screen.png")).unwrap();
    assert!(screen.starts_with(b"\x89PNG"));
    world.text(&["destroy", "--name", "asks", "--yes"]);
}

/// An installer whose guest was stopped.
pub struct Standstill {
    run: Run,
    since: jiff::Timestamp,
    /// The last line of its console.
    said: String,
}

/// QEMU's own `stop` makes an installer stand still, which does not show before a minute has passed: other steps have it.
pub fn an_installer_is_stopped(world: &World) -> Standstill {
    // An installer that works beside another one may be silent for half a minute.
    let mut run = world.run(&["create", "--name", "stalls", "--disk", "22G", "--stall-timeout", "60s"]);
    // Its kernel has said something by then.
    let shows = |event: &Value| event["event"] == "progress" && event["stage"] == "install";
    assert!(run.until(shows), "the installer never began");
    let folder = world.machine_dir("stalls").join("work/install");
    stop_guest(&folder.join("qmp.sock"));
    let since = jiff::Timestamp::now();
    let console = fs::read(folder.join("console.log")).unwrap();
    let said = String::from_utf8_lossy(&console)
        .trim_end()
        .lines()
        .last()
        .unwrap()
        .to_owned();
    Standstill { run, since, said }
}

/// A guest that does nothing more is told by the limit on time without progress, not by one on the whole; its console's
/// last lines are quoted.
pub fn a_standstill_is_quoted(world: &World, standstill: Standstill) {
    let ended = standstill.run.end();
    assert_eq!(ended.code, Some(8), "{}", ended.stderr);
    let error = ended.events.iter().find(|event| event["event"] == "error");
    let error = error.expect("an error event");
    // A limit on the whole would be many minutes.
    let told: jiff::Timestamp = error["time"].as_str().unwrap().parse().unwrap();
    let took = (told - standstill.since).get_seconds();
    assert!((30..150).contains(&took), "it took {took} s");
    let message = error["message"].as_str().unwrap();
    assert!(
        message.contains("stands still") && message.contains(&standstill.said),
        "{message} {}",
        standstill.said
    );
    assert!(error["hint"].as_str().unwrap().contains("--stall-timeout"), "{error}");
    world.text(&["destroy", "--name", "stalls", "--yes"]);
}

/// Pauses the guest through QEMU's control socket (QEMU's QMP specification).
fn stop_guest(socket: &Path) {
    let mut stream = UnixStream::connect(socket).unwrap();
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
    lines.next().unwrap().unwrap();
    for command in ["qmp_capabilities", "stop"] {
        writeln!(stream, "{{\"execute\": \"{command}\"}}").unwrap();
        let is_answer = |line: &String| line.contains("\"return\"");
        assert!(lines.by_ref().map_while(Result::ok).any(|line| is_answer(&line)));
    }
}

/// More memory than the processor has addresses for: QEMU refuses by itself.
pub fn a_dying_qemu_is_quoted(world: &World) {
    let ended = world
        .run(&["create", "--name", "dies", "--disk", "22G", "--memory", "16T"])
        .end();
    assert_eq!(ended.code, Some(13), "{}", ended.stderr);
    let error = ended
        .events
        .iter()
        .find(|event| event["event"] == "error")
        .expect("an error event");
    assert!(
        error["message"].as_str().unwrap().contains("qemu-system-x86_64:"),
        "{error}"
    );
    assert!(ended.seconds < 20.0, "it took {} s to tell", ended.seconds);
    world.text(&["destroy", "--name", "dies", "--yes"]);
}
