//! Images that become machines under the real VirtualBox, as far as it goes without its kernel driver: to the start of a
//! machine.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use super::images::{Place, noise, qemu_img, same};
use super::support::{eventually, write_program};

/// A VirtualBox with a home and a service of its own, and folders for the program under test.
struct World {
    place: Place,
    id: String,
}

impl World {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let id = format!("cli-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let mut place = Place::new();
        let programs = place.path("bin");
        fs::create_dir(&programs).unwrap();
        std::os::unix::fs::symlink(real("VBoxManage"), programs.join("VBoxManage")).unwrap();
        std::os::unix::fs::symlink(real("VBoxHeadless"), programs.join("VBoxHeadless")).unwrap();
        let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
        place.environment = vec![
            ("PATH", path.into()),
            ("VBOX_USER_HOME", place.path("home").into()),
            ("VBOX_IPC_SOCKETID", id.clone().into()),
        ];
        Self { place, id }
    }

    /// The machine `m`, made of `image`.
    fn import(&self, image: &Path) {
        let file = image.to_str().unwrap();
        let args = [
            "import",
            file,
            "--name",
            "m",
            "--login",
            "jdoe",
            "--machine",
            "virtualbox",
        ];
        self.place.succeeds(&args);
    }

    /// Where the machine `m` lies.
    fn folder(&self) -> PathBuf {
        self.place.path("data/machines/m/virtualbox")
    }

    /// What VirtualBox knows: machines, disks and media.
    fn knows(&self) -> String {
        let list = |kind: &str| {
            let mut command = Command::new(real("VBoxManage"));
            let listed = command
                .args(["list", kind])
                .envs(self.place.environment.iter().map(|(name, value)| (name, value)));
            String::from_utf8(listed.output().unwrap().stdout).unwrap()
        };
        ["vms", "hdds", "dvds"].map(list).concat()
    }

    /// The processes of this VirtualBox's service.
    fn service(&self) -> Vec<u32> {
        let mark = format!("VBOX_IPC_SOCKETID={}\0", self.id);
        let is_ours = |pid: &u32| {
            let read = |file: &str| fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
            read("comm").starts_with(b"VBoxSVC")
                && read("environ").windows(mark.len()).any(|part| part == mark.as_bytes())
        };
        let entries = fs::read_dir("/proc").unwrap().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.filter(is_ours).collect()
    }

    fn signal(&self, signal: &str) {
        for pid in self.service() {
            let _ = Command::new("kill").args([signal, &pid.to_string()]).status();
        }
    }

    /// Ends the service: the next starts with what was written down.
    fn restart(&self) {
        self.signal("-TERM");
        eventually("VirtualBox's service to end", || self.service().is_empty());
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.signal("-KILL");
        let _ = fs::remove_dir_all(format!("/tmp/.vbox-{}-ipc", self.id));
    }
}

/// A program that tests/support/virtualbox makes.
fn real(name: &str) -> PathBuf {
    let cache = std::env::var_os("PROVISION_TEST_CACHE").map_or_else(
        || {
            let home = PathBuf::from(std::env::var_os("HOME").unwrap());
            let caches = std::env::var_os("XDG_CACHE_HOME").map_or_else(|| home.join(".cache"), PathBuf::from);
            caches.join("provision-tests")
        },
        PathBuf::from,
    );
    let program = cache.join("virtualbox/bin").join(name);
    assert!(
        program.exists(),
        "{}: `tests/support/virtualbox` makes it",
        program.display()
    );
    program
}

/// The disk of the machine in `folder`.
fn vdi(folder: &Path) -> PathBuf {
    let machine = fs::read_dir(folder)
        .unwrap()
        .flatten()
        .find(|entry| entry.path().is_dir());
    machine.unwrap().path().join("disk.vdi")
}

#[test]
fn an_image_becomes_a_machine_of_virtualbox_and_comes_back() {
    let world = World::new();
    let image = world.place.image("a.qcow2", &noise(3 << 20));
    world.import(&image);
    same(&vdi(&world.folder()), "vdi", &image);
    assert!(world.knows().contains("\"provision-m-"), "{}", world.knows());
    let status = world.place.succeeds(&["status", "--name", "m"]);
    assert!(status.contains("VirtualBox"), "{status}");
    world.place.succeeds(&["export", "--name", "m", "--format", "qcow2"]);
    same(&world.place.path("out/m.qcow2"), "qcow2", &image);
    assert_eq!(world.place.out(), ["m.qcow2"]);

    // Another takes its place, under QEMU, and one under VirtualBox the place of that.
    let (other, file) = (world.place.image("b.qcow2", b"b"), world.place.path("b.qcow2"));
    let again = [
        "import",
        file.to_str().unwrap(),
        "--name",
        "m",
        "--login",
        "jdoe",
        "--force",
    ];
    world.place.succeeds(&[&again[..], &["--machine", "qemu"]].concat());
    assert!(!world.folder().exists());
    assert_eq!(world.knows(), "");
    for _ in 0..2 {
        world
            .place
            .succeeds(&[&again[..], &["--machine", "virtualbox"]].concat());
        same(&vdi(&world.folder()), "vdi", &other);
        assert_eq!(world.knows().matches("provision-m-").count(), 2, "{}", world.knows());
    }
    world.place.succeeds(&["destroy", "--name", "m", "--yes"]);
    assert_eq!(world.knows(), "");
}

/// Snapshots of a machine that does not run are VirtualBox's own.
#[test]
fn snapshots_are_virtualboxs_own() {
    let world = World::new();
    let image = world.place.image("a.qcow2", &noise(1 << 20));
    world.import(&image);
    let of_m = |words: &[&str]| world.place.succeeds(&[words, &["--name", "m"]].concat());
    let known = || {
        let settings = fs::read_dir(world.folder()).unwrap().flatten().next().unwrap().path();
        let machine = settings.file_name().unwrap().to_str().unwrap().to_owned();
        let mut command = Command::new(real("VBoxManage"));
        let listed = command
            .args(["snapshot", &machine, "list", "--machinereadable"])
            .envs(world.place.environment.iter().map(|(name, value)| (name, value)));
        let text = String::from_utf8(listed.output().unwrap().stdout).unwrap();
        text.lines().filter(|line| line.starts_with("SnapshotName")).count()
    };
    assert_eq!(known(), 0);
    of_m(&["snapshot", "a"]);
    of_m(&["snapshot", "b"]);
    assert_eq!(known(), 2);
    let listed = of_m(&["snapshots"]);
    assert!(listed.lines().any(|line| line.starts_with('a')), "{listed}");
    of_m(&["restore", "a"]);
    of_m(&["export", "--format", "qcow2"]);
    same(&world.place.path("out/m.qcow2"), "qcow2", &image);
    for name in ["a", "b"] {
        of_m(&["snapshot", "rm", name]);
    }
    assert_eq!(known(), 0);
    world.place.succeeds(&["destroy", "--name", "m", "--yes"]);
    assert_eq!(world.knows(), "");
}

/// What VirtualBox still lists of a machine whose files are gone.
#[test]
fn gc_lets_virtualbox_forget_what_is_gone() {
    let world = World::new();
    world.import(&world.place.image("a.qcow2", b"x"));
    // The service would write the settings again.
    world.restart();
    fs::remove_dir_all(world.place.path("data/machines/m")).unwrap();
    assert_ne!(world.knows(), "");
    let found = world.place.succeeds(&["gc", "--dry-run"]);
    assert!(found.to_lowercase().contains("virtualbox"), "{found}");
    assert_ne!(world.knows(), "");
    world.place.succeeds(&["gc"]);
    assert_eq!(world.knows(), "");
}

/// A `VBoxHeadless` that keeps what is in the drive before it becomes the real one.
fn keep_medium(world: &World, to: &Path) {
    let headless = world.place.path("bin/VBoxHeadless");
    fs::remove_file(&headless).unwrap();
    let text = format!(
        "#!/bin/sh\ncp --preserve=mode '{}/keys.iso' '{}'\nexec '{}' \"$@\"\n",
        world.folder().display(),
        to.display(),
        real("VBoxHeadless").display()
    );
    write_program(&headless, &text);
}

#[test]
fn this_hosts_keys_are_in_the_drive_while_it_starts_and_gone_when_that_fails() {
    assert!(
        !Path::new("/dev/vboxdrv").exists(),
        "this test is for hosts without VirtualBox's kernel driver"
    );
    let world = World::new();
    world.import(&world.place.image("a.qcow2", b"x"));
    let kept = world.place.path("keys.iso");
    keep_medium(&world, &kept);
    world
        .place
        .fails(&["start", "--name", "m"], 4, "Kernel driver not installed");
    assert!(!world.folder().join("keys.iso").exists());
    let known = world.knows();
    assert!(!known.contains("keys.iso"), "{known}");

    assert_eq!(fs::metadata(&kept).unwrap().permissions().mode() & 0o777, 0o600);
    let identity = world.place.path("data/machines/m/identity");
    for (name, of) in [
        ("AUTHORIZED_KEYS", "id_ed25519.pub"),
        ("HOST_KEY", "ssh_host_ed25519_key"),
        ("PASSWORD_HASH", "password.hash"),
    ] {
        let to = world.place.path(name);
        let extract = Command::new("xorriso")
            .args(["-osirrox", "on", "-indev"])
            .arg(&kept)
            .args(["-extract", &format!("/{name}")])
            .arg(&to)
            .output()
            .unwrap();
        assert!(extract.status.success(), "{}", String::from_utf8_lossy(&extract.stderr));
        assert_eq!(fs::read(to).unwrap(), fs::read(identity.join(of)).unwrap(), "{name}");
    }
    world.place.succeeds(&["destroy", "--name", "m", "--yes"]);
    assert_eq!(world.knows(), "");
}

#[test]
fn a_machine_that_virtualbox_has_forgotten_is_made_known_again() {
    let world = World::new();
    let image = world.place.image("a.qcow2", &noise(1 << 20));
    world.import(&image);
    for destroys in [false, true] {
        world.restart();
        fs::remove_dir_all(world.place.path("home")).unwrap();
        assert_eq!(world.knows(), "");
        if destroys {
            world.place.succeeds(&["destroy", "--name", "m", "--yes"]);
            assert_eq!(world.knows(), "");
            assert!(!world.folder().exists());
        } else {
            world
                .place
                .fails(&["start", "--name", "m"], 4, "Kernel driver not installed");
            world.place.succeeds(&["export", "--name", "m", "--format", "qcow2"]);
            same(&world.place.path("out/m.qcow2"), "qcow2", &image);
        }
    }
}

/// An export whose copy by VirtualBox stands still half-way. One that was done before it could be stopped is begun again.
fn caught_half_way(world: &World, whole: &Path) -> Child {
    for _ in 0..50 {
        let mut child = world
            .place
            .command(&["--json", "export", "--name", "m", "--format", "qcow2", "--force"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let length = || fs::metadata(whole).map_or(0, |data| data.len());
        while length() == 0 && child.try_wait().unwrap().is_none() {
            std::thread::yield_now();
        }
        // It stands still while whoever asked goes.
        world.signal("-STOP");
        if (1..390 << 20).contains(&length()) {
            return child;
        }
        world.signal("-CONT");
        child.wait().unwrap();
    }
    panic!("VirtualBox was never seen at its copy");
}

#[test]
fn a_copy_by_virtualbox_ends_with_who_asked_for_it() {
    let world = World::new();
    let raw = world.place.path("raw");
    fs::write(&raw, vec![7; 400 << 20]).unwrap();
    let image = world.place.path("a.qcow2");
    qemu_img(&format!(
        "convert -f raw -O qcow2 {} {}",
        raw.display(),
        image.display()
    ));
    fs::remove_file(raw).unwrap();
    world.import(&image);
    let whole = world.place.path("out/.m.qcow2.partial/whole/whole.vdi");
    for signal in ["-INT", "-KILL"] {
        let mut child = caught_half_way(&world, &whole);
        let status = Command::new("kill").args([signal, &child.id().to_string()]).status();
        assert!(status.unwrap().success());
        if signal == "-KILL" {
            child.wait().unwrap();
        }
        world.signal("-CONT");
        let code = child.wait().unwrap().code();
        assert_eq!(code, if signal == "-INT" { Some(130) } else { None });
        eventually("VirtualBox to remove what it had copied", || !whole.exists());
    }
    world
        .place
        .succeeds(&["export", "--name", "m", "--format", "qcow2", "--force"]);
    assert_eq!(world.place.out(), ["m.qcow2"]);
}

#[test]
fn a_checkpoint_that_virtualbox_knows_elsewhere_is_exported() {
    let world = World::new();
    let image = world.place.image("a.qcow2", &noise(1 << 20));
    world.import(&image);
    // As a stage leaves it: moved as a whole, after VirtualBox had it in another folder.
    let key = "0123456789abcdef".repeat(4);
    let layer = world.place.path("cache/v1/layers").join(&key);
    fs::create_dir_all(&layer).unwrap();
    fs::rename(world.folder(), layer.join("virtualbox")).unwrap();
    let manifest = serde_json::json!({
        "format": 1, "stage": "install", "key": key, "id": "0011223344556677", "parent": null,
        "inputs": {}, "made": "2026-11-21T10:00:00Z", "seconds": 1.0, "tool": "0.1.0",
    });
    fs::write(layer.join("layer.json"), manifest.to_string()).unwrap();
    let export = [
        "export",
        "--checkpoint",
        "install",
        "--format",
        "qcow2",
        "--output",
        "c.qcow2",
    ];
    world.place.succeeds(&export);
    same(&world.place.path("out/c.qcow2"), "qcow2", &image);
}
