//! What only looks like a leftover, or like a part of the machine that is destroyed, stays.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::json;

use super::place::Place;
use super::support::{alive, eventually, tree};

/// Processes that are killed with the test.
struct Others(Vec<Child>);

impl Drop for Others {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A machine without a guest.
fn qemu() -> Command {
    let mut qemu = Command::new("qemu-system-x86_64");
    qemu.args(["-nodefaults", "-M", "none", "-display", "none"]);
    qemu.args(["-qmp", "unix:qmp.sock,server=on,wait=off"]);
    qemu
}

#[test]
fn what_only_looks_left_stays() {
    let place = Place::new();
    place.layer("install", 'a', None, 30, &json!({}));
    for name in ["runs", "kept", "held", "reused"] {
        place.machine(name, "jdoe", Some('a'));
    }
    let machine = |name: &str| place.path("data/machines").join(name);
    let mut others = Others(Vec::new());
    let mut spawn = |command: &mut Command, folder: &Path| {
        fs::create_dir_all(folder).unwrap();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.current_dir(folder).spawn().unwrap();
        let pid = child.id();
        others.0.push(child);
        pid
    };
    let mut stay = Vec::new();
    // A machine that runs, one that was kept when make failed, one at which a command works.
    stay.push(spawn(&mut qemu(), &machine("runs").join("run")));
    stay.push(spawn(&mut qemu(), &machine("kept").join("work/project")));
    stay.push(spawn(&mut qemu(), &machine("held").join("work/project")));
    let held = fs::File::open(machine("held").join("lock")).unwrap();
    held.lock().unwrap();
    let mut record: serde_json::Value =
        serde_json::from_slice(&fs::read(machine("kept").join("machine.json")).unwrap()).unwrap();
    record["phase"] = "failed".into();
    record["stage"] = "project".into();
    fs::write(machine("kept").join("machine.json"), record.to_string()).unwrap();
    // A PID that somebody else has now, a shell in a stage's folder, QEMU in a folder that only begins so.
    let foreign = spawn(Command::new("sleep").arg("600"), &place.path("other"));
    stay.push(foreign);
    fs::create_dir_all(machine("reused").join("run")).unwrap();
    fs::write(machine("reused").join("run/machine.pid"), foreign.to_string()).unwrap();
    stay.push(spawn(
        Command::new("sleep").arg("600"),
        &machine("reused").join("work/docker"),
    ));
    stay.push(spawn(&mut qemu(), &place.path("data/machines-of-mine/m/work/install")));
    // Another user's process of that name.
    let is_root = rustix::process::geteuid().is_root();
    if is_root {
        let program = machine("reused").join("qemu-system-x86_64");
        fs::copy("/bin/sleep", &program).unwrap();
        let mut other = Command::new("setpriv");
        other.args(["--reuid=65534", "--clear-groups"]).arg(&program).arg("600");
        for folder in [
            place.path(""),
            place.path("data"),
            place.path("data/machines"),
            machine("reused"),
        ] {
            use std::os::unix::fs::PermissionsExt as _;
            fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
        }
        stay.push(spawn(&mut other, &machine("reused")));
    }
    // Files and folders that look alike.
    let near = [
        "machines/notes/todo.txt",
        "machines/notes/lock",
        "machines/a.tmpAb3dE6",
        "machines/runs/.tmp-notes",
    ];
    for file in near {
        let file = place.path("data").join(file);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, "mine").unwrap();
    }
    eventually("the machines run", || {
        let sockets = [machine("runs").join("run"), machine("kept").join("work/project")];
        sockets.iter().all(|dir| dir.join("qmp.sock").exists())
    });

    let before = tree(&place.path("data"));
    let output = place.run(&["gc"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let after = tree(&place.path("data"));
    for pid in stay {
        assert!(
            alive(pid),
            "{pid} was ended: {}",
            String::from_utf8_lossy(&output.stdout)
        );
    }
    let gone: Vec<&PathBuf> = before.keys().filter(|path| !after.contains_key(*path)).collect();
    let pid = machine("reused").join("run/machine.pid");
    let (work, stage) = (machine("reused").join("work"), machine("reused").join("work/docker"));
    assert_eq!(gone, [&pid, &stage], "{}", String::from_utf8_lossy(&output.stdout));
    assert!(
        work.exists()
            && before
                .iter()
                .all(|(path, content)| gone.contains(&path) || after[path] == *content)
    );
}

#[test]
fn destroying_a_machine_leaves_everything_else_as_it_was() {
    let place = Place::new();
    place.layer("install", 'a', None, 30, &json!({}));
    for name in ["m2", "m-2", "mm"] {
        place.machine(name, "jdoe", Some('a'));
    }
    fs::write(place.path("data/machines/m.bak"), "mine").unwrap();
    fs::create_dir_all(place.path("cache/v1/identities/jdoe")).unwrap();
    let before = tree(place.path("").as_path());
    place.machine("m", "jdoe", Some('a'));
    let dir = place.path("data/machines/m");
    for file in [
        "identity/id_ed25519",
        "logs/install/console.log",
        "failure-1/plan.json",
        "work/project/disk.qcow2",
    ] {
        let file = dir.join(file);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, "of m").unwrap();
    }
    // It runs, and a second QEMU of it does of which nothing is written down.
    let mut others = Others(Vec::new());
    for (run_dir, socket) in [("run", "unix:qmp.sock,server=on,wait=off"), ("work/docker", "none")] {
        fs::create_dir_all(dir.join(run_dir)).unwrap();
        let mut qemu = Command::new("qemu-system-x86_64");
        qemu.args(["-nodefaults", "-M", "none", "-display", "none"]);
        if socket != "none" {
            qemu.args(["-qmp", socket]);
        }
        qemu.current_dir(dir.join(run_dir))
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        others.0.push(qemu.spawn().unwrap());
    }
    eventually("it runs", || dir.join("run/qmp.sock").exists());
    let output = place.run(&["destroy", "--name", "m", "--yes"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for child in &mut others.0 {
        // The system takes a process's program from it a moment before it calls it dead.
        eventually("it has ended", || !alive(child.id()));
        child.wait().unwrap();
    }
    assert_eq!(tree(place.path("").as_path()), before);
}
