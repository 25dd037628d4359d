//! What killed runs leave is found and removed.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::json;

use super::place::Place;
use super::support::{alive, eventually, program, tree};

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
pub fn iso(place: &Place) -> PathBuf {
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
        pid().is_some_and(alive) && answers(&file.with_file_name("qmp.sock"))
    });
    (create, pid().unwrap())
}

/// Whether QEMU is past its beginning: it ends where a disk, the kernel or the initrd is gone when it comes to read them.
/// A thread of its own greets long before that; commands are answered by the main loop, which runs after it.
fn answers(socket: &Path) -> bool {
    let asked = || -> std::io::Result<bool> {
        let mut stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        stream.write_all(b"{\"execute\":\"qmp_capabilities\"}\n")?;
        let mut lines = BufReader::new(stream).lines();
        let greeting = lines.next().transpose()?;
        let answer = lines.next().transpose()?;
        Ok(greeting.is_some() && answer.is_some_and(|line| line.contains("return")))
    };
    asked().unwrap_or(false)
}

/// Kills the starter and the guardian before that can end its machine.
fn kill_with_guardian(mut create: Child, qemu: u32) {
    let status = fs::read_to_string(format!("/proc/{qemu}/status")).unwrap();
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap();
    let guardian = parent.trim().parse().unwrap();
    kill("STOP", guardian);
    // Its threads stop when they come to run the next time.
    eventually("the guardian stands still", || {
        let tasks = fs::read_dir(format!("/proc/{guardian}/task")).unwrap();
        tasks
            .map(|task| fs::read_to_string(task.unwrap().path().join("stat")).unwrap())
            .all(|stat| stat.contains(") T "))
    });
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

fn names(found: &[serde_json::Value]) -> Vec<String> {
    let name = |leftover: &serde_json::Value| format!("{}: {}", leftover["kind"], leftover["name"]);
    found.iter().map(name).collect()
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
fn what_gc_cannot_look_into_is_not_empty() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let output = Command::new(program())
        .arg("gc")
        .env("PROVISION_CACHE_DIR", folder.path().join("cache"))
        .env("PROVISION_DATA_DIR", &file)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("hint:"), "{said}");
}
