//! What killed runs leave is found and removed, and what only looks like it stays.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::json;

use super::store::Place;
use super::support::{alive, eventually};

/// A kernel that QEMU boots, which then does nothing for ever: two sectors by the x86 boot protocol (`HdrS`).
fn kernel() -> Vec<u8> {
    let mut image = vec![0; 4096];
    image[0x1f1] = 1;
    image[0x1fe..0x200].copy_from_slice(&[0x55, 0xaa]);
    image[0x200..0x202].copy_from_slice(&[0xeb, 0x7e]);
    // At 0x280: cli; hlt; jmp to hlt
    image[0x280..0x284].copy_from_slice(&[0xfa, 0xf4, 0xeb, 0xfd]);
    image[0x202..0x206].copy_from_slice(b"HdrS");
    image[0x206..0x208].copy_from_slice(&[0x06, 0x02]);
    // Loaded high, as an installer's kernel is.
    image[0x211] = 1;
    // How high the initrd may lie.
    image[0x22c..0x230].copy_from_slice(&0x37ff_ffff_u32.to_le_bytes());
    image
}

/// An ISO on which an installer's kernel and initrd seem to be.
fn iso(place: &Place) -> PathBuf {
    let (content, iso) = (place.path("content"), place.path("installer.iso"));
    let folder = content.join("install.amd");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("vmlinuz"), kernel()).unwrap();
    let pack = "cd \"$0\" && echo ./none | cpio -o -H newc --quiet | gzip -n > initrd.gz";
    fs::write(folder.join("none"), "").unwrap();
    assert!(
        Command::new("sh")
            .args(["-c", pack])
            .arg(&folder)
            .status()
            .unwrap()
            .success()
    );
    let made = Command::new("xorriso")
        .args(["-as", "mkisofs", "-quiet", "-r", "-o"])
        .arg(&iso)
        .arg(&content)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    iso
}

/// A `create` that is at the installation, with the PID of its QEMU.
fn installing(place: &Place, name: &str) -> (Child, u32) {
    let iso = if place.path("installer.iso").exists() {
        place.path("installer.iso")
    } else {
        iso(place)
    };
    let project = place.path("project");
    fs::create_dir_all(project.join("srcs")).unwrap();
    fs::write(project.join("Makefile"), "all:\n").unwrap();
    let args = [
        "create",
        "--name",
        name,
        "--login",
        "jdoe",
        "--accelerator",
        "tcg",
        "--memory",
        "1G",
        "--iso",
    ];
    let create = place
        .command(&args)
        .arg(&iso)
        .current_dir(&project)
        .stdout(Stdio::null())
        .stderr(fs::File::create(place.path("said")).unwrap())
        .spawn()
        .unwrap();
    let file = place.path("data/machines").join(name).join("work/install/machine.pid");
    let pid = || fs::read_to_string(&file).ok().and_then(|pid| pid.parse().ok());
    eventually("the installation runs", || {
        let said = fs::read_to_string(place.path("said")).unwrap();
        assert!(!said.contains("error:"), "{said}");
        // The console's file comes after the disk is open.
        pid().is_some_and(alive) && file.with_file_name("qmp.sock").exists()
    });
    (create, pid().unwrap())
}

/// Kills the starter and the guardian before that can end its machine.
fn kill_with_guardian(mut create: Child, qemu: u32) {
    let status = fs::read_to_string(format!("/proc/{qemu}/status")).unwrap();
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap();
    let guardian = parent.trim().parse().unwrap();
    kill("STOP", guardian);
    create.kill().unwrap();
    create.wait().unwrap();
    kill("KILL", guardian);
}

fn kill(signal: &str, pid: u32) {
    let killed = Command::new("kill")
        .args([&format!("-{signal}"), &pid.to_string()])
        .status();
    assert!(killed.unwrap().success());
}

/// Every path in a folder, with what is in the files.
fn tree(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let kind = entry.file_type().unwrap();
            let content = if kind.is_file() {
                fs::read(entry.path()).unwrap()
            } else {
                Vec::new()
            };
            all.insert(entry.path(), content);
            if kind.is_dir() {
                folders.push(entry.path());
            }
        }
    }
    all
}

fn names(found: &[serde_json::Value]) -> Vec<String> {
    let name = |leftover: &serde_json::Value| format!("{}: {}", leftover["kind"], leftover["name"]);
    found.iter().map(name).collect()
}

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

#[test]
fn runs_that_were_killed_with_their_guardians_leave_nothing_after_gc() {
    let place = Place::new();
    place.layer("install", 'a', None, 30, &json!({}));
    place.machine("near", "jdoe", Some('a'));
    let (first, first_qemu) = installing(&place, "m");
    kill_with_guardian(first, first_qemu);
    // A second one, of which nothing is written down any more.
    let (second, second_qemu) = installing(&place, "gone");
    kill_with_guardian(second, second_qemu);
    fs::remove_dir_all(place.path("data/machines/gone")).unwrap();
    let (third, third_qemu) = installing(&place, "pidless");
    kill_with_guardian(third, third_qemu);
    fs::remove_file(place.path("data/machines/pidless/work/install/machine.pid")).unwrap();
    // And one that works.
    let (mut busy, busy_qemu) = installing(&place, "busy");
    let half = place.layers().join(".new-0123456789abcdef");
    fs::create_dir(&half).unwrap();
    let machines = [first_qemu, second_qemu, third_qemu, busy_qemu];
    assert_eq!(
        machines.map(alive),
        [true; 4],
        "{:?}",
        fs::read_to_string(place.path("said"))
    );

    let found = place.json(&["gc", "--dry-run"]);
    assert!(found.iter().all(|leftover| leftover["removed"] == false));
    let listed = names(&found);
    let mentions = |part: &str| listed.iter().any(|name| name.contains(part));
    assert!(
        mentions(&format!("process\": \"{second_qemu} (qemu-system")) || mentions(&second_qemu.to_string()),
        "{listed:?}"
    );
    assert!(
        mentions("machines/m/work/install") && mentions("pidless/work/install"),
        "{listed:?}"
    );
    assert!(
        !mentions("busy") && !mentions(".new-"),
        "a run uses the store: {listed:?}"
    );
    assert!(
        alive(first_qemu) && place.path("data/machines/m/work/install").exists(),
        "it only tells"
    );

    let output = place.run(&["gc"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for qemu in [first_qemu, second_qemu, third_qemu] {
        eventually("the left machine ends", || !alive(qemu));
    }
    assert!(!place.path("data/machines/m/work/install").exists());
    assert!(alive(busy_qemu) && place.path("data/machines/busy/work/install").exists());
    assert!(place.path("data/machines/near/machine.json").exists());
    kill("INT", busy.id());
    busy.wait().unwrap();
    eventually("the interrupted machine ends", || !alive(busy_qemu));
    place.run(&["gc"]);
    assert!(!half.exists());
    assert_eq!(names(&place.json(&["gc"])), Vec::<String>::new());
    // The machines are there still: what they are made from is known.
    assert!(place.path("data/machines/m/machine.json").exists());
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
fn half_made_things_go() {
    let place = Place::new();
    place.layer("install", 'a', None, 30, &json!({}));
    place.machine("m", "jdoe", Some('a'));
    // What it makes for itself.
    place.run(&["gc"]);
    let whole = tree(place.path("").as_path());
    let files = [
        "cache/v1/layers/.new-0123456789abcdef/disk.qcow2",
        &format!("cache/v1/layers/{}/disk.qcow2", "b".repeat(64)),
        &format!("cache/v1/layers/{}.lock", "b".repeat(64)),
        "cache/v1/identities/.identity-Ab3dE6/new/id_ed25519",
        "cache/v1/users/.tmpAb3dE6",
        "data/machines/m/.tmpAb3dE6",
        "data/machines/m/work/docker/disk.qcow2",
        "data/machines/m/run/qmp.sock",
        "data/machines/begun/lock",
        "data/machines/begun/work/install/disk.qcow2",
        "data/machines/imported/lock",
        "data/machines/imported/work/import/disk.vmdk",
        "data/machines/imported/disk.qcow2",
    ];
    for file in files {
        let file = place.path(file);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, "half").unwrap();
    }
    let told = place.json(&["gc", "--dry-run"]);
    assert_eq!(told.len(), 10, "{:?}", names(&told));
    let removed = place.json(&["gc"]);
    assert_eq!(removed.len(), 10);
    assert!(
        removed.iter().all(|leftover| leftover["removed"] == true),
        "{removed:?}"
    );
    let after = tree(place.path("").as_path());
    let left: Vec<&PathBuf> = after.keys().filter(|path| !whole.contains_key(*path)).collect();
    let folders = [
        "cache/v1/identities",
        "cache/v1/users",
        "data/machines/m/run",
        "data/machines/m/work",
    ];
    assert_eq!(
        left,
        folders.map(|folder| place.path(folder)).iter().collect::<Vec<_>>()
    );
    assert!(whole.keys().all(|path| after.contains_key(path)));
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
