//! `export` and `import` with real images, small ones: no guest is needed to move a disk.

use std::ffi::OsString;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use super::support::{alive, eventually, program};

const MIB: usize = 1 << 20;

/// Folders for the program under test, and a disk.
pub struct Place {
    folder: tempfile::TempDir,
    /// What the program is given besides.
    pub environment: Vec<(&'static str, OsString)>,
}

impl Place {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("out")).unwrap();
        Self {
            folder,
            environment: Vec::new(),
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(program());
        command
            .args(args)
            .current_dir(self.path("out"))
            .env("PROVISION_CACHE_DIR", self.path("cache"))
            .env("PROVISION_DATA_DIR", self.path("data"))
            .envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    #[track_caller]
    pub fn succeeds(&self, args: &[&str]) -> String {
        let output = self.run(args);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {stderr}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// The lines of a run with `--json`.
    #[track_caller]
    fn events(&self, args: &[&str]) -> Vec<Value> {
        let text = self.succeeds(&[&["--json"], args].concat());
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The last line of a run with `--json`.
    #[track_caller]
    pub fn json(&self, args: &[&str]) -> Value {
        self.events(args).pop().unwrap()
    }

    #[track_caller]
    pub fn fails(&self, args: &[&str], code: i32, said: &str) {
        let output = self.run(args);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {stderr}");
        assert!(stderr.contains(said), "{args:?}: {stderr}");
    }

    /// A qcow2 image `name` with `content` in it, at 1 MiB and at its end.
    pub fn image(&self, name: &str, content: &[u8]) -> PathBuf {
        let raw = self.path("raw");
        let mut disk = vec![0; 64 * MIB + content.len()];
        disk[MIB..MIB + content.len()].copy_from_slice(content);
        let end = disk.len() - 512;
        disk[end..].fill(7);
        fs::write(&raw, disk).unwrap();
        let image = self.path(name);
        qemu_img(&format!(
            "convert -f raw -O qcow2 {} {}",
            raw.display(),
            image.display()
        ));
        fs::remove_file(raw).unwrap();
        image
    }

    /// The machine `m`, made of an image.
    fn with_machine(content: &[u8]) -> Self {
        let place = Self::new();
        let image = place.image("a.qcow2", content);
        place.succeeds(&["import", image.to_str().unwrap(), "--name", "m", "--login", "jdoe"]);
        place
    }

    fn disk(&self, machine: &str) -> PathBuf {
        self.path("data/machines").join(machine).join("disk.qcow2")
    }

    /// What lies in the folder of exports.
    pub fn out(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path("out")).unwrap().flatten();
        let mut names: Vec<_> = entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

#[track_caller]
pub fn qemu_img(arguments: &str) {
    let output = Command::new("qemu-img").args(arguments.split(' ')).output().unwrap();
    assert!(
        output.status.success(),
        "{arguments}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Fails the test unless both hold the same disk.
#[track_caller]
pub fn same(one: &Path, format: &str, other: &Path) {
    qemu_img(&format!(
        "compare -f {format} -F qcow2 {} {}",
        one.display(),
        other.display()
    ));
}

/// Bytes that do not compress.
pub fn noise(count: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = || {
        // Xorshift (Marsaglia, 2003).
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(next).take(count / 8).flatten().collect()
}

#[test]
fn a_disk_stays_the_same_through_every_format() {
    let place = Place::with_machine(&noise(3 * MIB));
    let disk = place.disk("m");
    same(&place.path("a.qcow2"), "qcow2", &disk);
    for (format, file, driver) in [
        ("qcow2", "m.qcow2", "qcow2"),
        ("raw", "m.img", "raw"),
        ("vdi", "m.vdi", "vdi"),
        ("vmdk", "m.vmdk", "vmdk"),
        ("vhdx", "m.vhdx", "vhdx"),
    ] {
        let events = place.events(&["export", "--name", "m", "--format", format]);
        tells_its_progress(&events, "export");
        let result = events.last().unwrap();
        let file = place.path("out").join(file);
        assert_eq!(result["file"], file.to_str().unwrap());
        assert_eq!(result["disk_bytes"], 67 * MIB);
        let bytes = result["bytes"].as_u64().unwrap();
        assert!(bytes < 8 * MIB as u64, "{format} is not sparse: {bytes}");
        same(&file, driver, &disk);
    }
    for format in ["qcow2", "vdi", "vmdk", "vhdx"] {
        qemu_img(&format!(
            "check -q -f {format} {}",
            place.path("out").join(format!("m.{format}")).display()
        ));
    }
    let info = Command::new("qemu-img")
        .args(["info", "--output=json"])
        .arg(place.path("out/m.qcow2"))
        .output()
        .unwrap();
    let info: Value = serde_json::from_slice(&info.stdout).unwrap();
    assert_eq!(info["format-specific"]["data"]["compression-type"], "zstd");
    assert!(info["backing-filename"].is_null());

    for (file, name) in [("m.vdi", "vdi"), ("m.qcow2", "qcow2")] {
        let events = place.events(&["import", file, "--name", name, "--login", "jdoe"]);
        tells_its_progress(&events, "import");
        same(&place.disk(name), "qcow2", &disk);
    }
}

/// How many bytes of how many are done, to the last.
#[track_caller]
fn tells_its_progress(events: &[Value], stage: &str) {
    let told: Vec<_> = events
        .iter()
        .filter(|event| event["event"] == "progress" && event["stage"] == stage)
        .collect();
    let last = told.last().unwrap();
    assert!(told.iter().all(|event| event["unit"] == "bytes"), "{told:?}");
    assert!(
        last["total"].as_u64().unwrap() > 0 && last["done"] == last["total"],
        "{last}"
    );
}

#[test]
fn an_ova_tells_its_machine() {
    let place = Place::with_machine(&noise(MIB));
    place.succeeds(&["export", "--name", "m", "--format", "ova"]);
    let result = place.json(&["import", "m.ova", "--name", "n"]);
    assert_eq!(result["login"], "jdoe");
    assert_eq!(
        (result["cpus"].as_u64(), result["memory_mib"].as_u64()),
        (Some(2), Some(4096))
    );
    same(&place.disk("n"), "qcow2", &place.disk("m"));
    let told = [
        "import",
        "m.ova",
        "--name",
        "o",
        "--login",
        "anna",
        "--cpus",
        "1",
        "--memory",
        "1G",
        "--ssh-port",
        "24022",
    ];
    let result = place.json(&told);
    assert_eq!(
        (&result["login"], &result["memory_mib"], &result["ssh_port"]),
        (&"anna".into(), &1024.into(), &24022.into())
    );
    let record: Value = serde_json::from_slice(&fs::read(place.path("data/machines/o/machine.json")).unwrap()).unwrap();
    assert_eq!(record["imported"], true);

    // One changed byte, in the middle of the disk.
    let ova = place.path("out/m.ova");
    let mut bytes = fs::read(&ova).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&ova, bytes).unwrap();
    place.fails(&["import", "m.ova", "--name", "p"], 5, "is damaged");
    assert!(!place.path("data/machines/p").exists());
}

#[test]
fn skopeo_takes_a_containerdisk() {
    let place = Place::with_machine(&noise(MIB));
    for (output, transport) in [("disk", "oci:disk:latest"), ("disk.tar", "oci-archive:disk.tar:latest")] {
        let result = place.json(&[
            "export",
            "--name",
            "m",
            "--format",
            "containerdisk",
            "--output",
            output,
            "--image",
            "registry.example.org/m:1",
        ]);
        let manifest = fs::read_to_string(result["manifest"].as_str().unwrap()).unwrap();
        assert!(manifest.contains("image: \"registry.example.org/m:1\""), "{manifest}");
        let copied = format!("dir:{}", place.path(&format!("copy-{output}")).display());
        let skopeo = Command::new("skopeo")
            .args(["copy", "--quiet", "--insecure-policy", transport, &copied])
            .current_dir(place.path("out"))
            .output()
            .unwrap();
        assert!(skopeo.status.success(), "{}", String::from_utf8_lossy(&skopeo.stderr));
        let manifest = fs::read(place.path(&format!("copy-{output}/manifest.json"))).unwrap();
        let manifest: Value = serde_json::from_slice(&manifest).unwrap();
        let digest = manifest["layers"][0]["digest"].as_str().unwrap().replace("sha256:", "");
        let layer = fs::File::open(place.path(&format!("copy-{output}")).join(digest)).unwrap();
        let mut layer = tar::Archive::new(layer);
        let mut entries = layer.entries().unwrap();
        entries.next().unwrap().unwrap();
        let mut disk = entries.next().unwrap().unwrap();
        assert_eq!(disk.path().unwrap().to_str(), Some("disk/m.qcow2"));
        assert_eq!((disk.header().uid().unwrap(), disk.header().gid().unwrap()), (107, 107));
        let unpacked = place.path("unpacked.qcow2");
        disk.unpack(&unpacked).unwrap();
        same(&unpacked, "qcow2", &place.disk("m"));
    }
    // A folder of the same kind is replaced as a whole.
    let again = ["export", "--name", "m", "--format", "containerdisk", "--output", "disk"];
    place.fails(&again, 2, "is there already");
    place.succeeds(&[&again[..], &["--force"]].concat());
    assert_eq!(place.out(), ["disk", "disk.tar", "disk.tar.yaml", "disk.yaml"]);
}

#[test]
fn what_is_there_stays() {
    let place = Place::with_machine(b"old");
    fs::write(place.path("out/m.qcow2"), "mine").unwrap();
    let export = ["export", "--name", "m", "--format", "qcow2"];
    place.fails(&export, 2, "--force");
    assert_eq!(fs::read(place.path("out/m.qcow2")).unwrap(), b"mine");
    place.succeeds(&[&export[..], &["--force"]].concat());
    same(&place.path("out/m.qcow2"), "qcow2", &place.disk("m"));
    place.fails(
        &["export", "--name", "m", "--format", "raw", "--output", "none/m.img"],
        2,
        "no folder",
    );

    let other = place.image("b.qcow2", b"new");
    let import = ["import", other.to_str().unwrap(), "--name", "m", "--login", "jdoe"];
    place.fails(&import, 2, "--force");
    same(&place.path("a.qcow2"), "qcow2", &place.disk("m"));
    place.succeeds(&[&import[..], &["--force"]].concat());
    same(&place.path("b.qcow2"), "qcow2", &place.disk("m"));
}

#[test]
fn exports_spare_what_is_no_plain_file_and_the_machines() {
    let place = Place::with_machine(b"x");
    let disk = place.disk("m");
    let before = fs::read(&disk).unwrap();
    let export = |output: &str| {
        let args = [
            "export", "--force", "--name", "m", "--format", "raw", "--output", output,
        ];
        args.map(str::to_owned)
    };
    std::os::unix::fs::symlink(&disk, place.path("out/link")).unwrap();
    let fifo = Command::new("mkfifo").arg(place.path("out/fifo")).status().unwrap();
    assert!(fifo.success());
    for (output, said) in [
        ("link", "no plain file"),
        ("fifo", "no plain file"),
        (disk.to_str().unwrap(), "own"),
        (place.path("cache/v1/m.img").to_str().unwrap(), "own"),
    ] {
        let args = export(output);
        place.fails(&args.each_ref().map(String::as_str), 2, said);
    }
    assert_eq!(fs::read(&disk).unwrap(), before);
    assert_eq!(place.out(), ["fifo", "link"]);
}

#[test]
fn keys_that_cannot_be_used_are_told_before_anything_is_made() {
    let place = Place::new();
    let image = place.image("a.qcow2", b"x");
    fs::create_dir(place.path("empty")).unwrap();
    fs::create_dir(place.path("half")).unwrap();
    fs::write(place.path("half/id_ed25519"), "x").unwrap();
    for (folder, said) in [
        ("none", "there is no folder"),
        ("empty", "holds no keys"),
        ("half", "cannot be used"),
    ] {
        let folder = place.path(folder);
        let args = [
            "import",
            image.to_str().unwrap(),
            "--name",
            "m",
            "--login",
            "jdoe",
            "--identity",
            folder.to_str().unwrap(),
        ];
        place.fails(&args, 2, said);
        assert!(!place.path("data").exists() && folder.exists() == (said != "there is no folder"));
    }
}

#[test]
fn images_that_would_read_other_files_are_refused() {
    let place = Place::new();
    let base = place.image("base.qcow2", &noise(MIB));
    let overlay = place.path("overlay.qcow2");
    qemu_img(&format!(
        "create -f qcow2 -F qcow2 -b {} {}",
        base.display(),
        overlay.display()
    ));
    let split = place.path("split.qcow2");
    let data = place.path("data.raw");
    qemu_img(&format!(
        "create -f qcow2 -o data_file={} {} 1M",
        data.display(),
        split.display()
    ));
    let text = place.path("text.vdi");
    fs::write(&text, "root:x:0:0").unwrap();
    for (file, said) in [(&overlay, "backing file"), (&split, "another file"), (&text, "no VDI")] {
        place.fails(
            &["import", file.to_str().unwrap(), "--name", "m", "--login", "jdoe"],
            5,
            said,
        );
        assert!(!place.path("data/machines/m").exists());
    }
    place.fails(&["import", "none.ova", "--name", "m"], 2, "no file");
    place.fails(&["import", data.to_str().unwrap(), "--name", "m"], 2, ".qcow2");
    // QEMU itself reads zeros where an image was cut off.
    let whole = fs::read(&base).unwrap();
    for length in [200, whole.len() / 2, whole.len() - 70_000] {
        let cut = place.path("cut.qcow2");
        fs::write(&cut, &whole[..length]).unwrap();
        place.fails(
            &["import", cut.to_str().unwrap(), "--name", "m", "--login", "jdoe"],
            5,
            "damaged",
        );
    }
}

#[test]
fn a_full_disk_is_told_before_anything_is_written() {
    let place = Place::with_machine(&noise(8 * MIB));
    let small = place.path("small");
    fs::create_dir(&small).unwrap();
    let image = place.image("b.qcow2", &noise(8 * MIB));
    // A file system of its own: who is not root is so in a name space.
    let is_root = rustix::process::geteuid().is_root();
    let user: &[&str] = if is_root { &[] } else { &["--user", "--map-root-user"] };
    for command in [
        "export --name m --format ova --output $0/m.ova",
        &format!("--json import {} --name n --login jdoe", image.display()),
    ] {
        let script = format!(
            "mount -t tmpfs -o size=4m none \"$0\" && {} \"$1\" {command}; code=$?; ls -A \"$0\" >&2; exit $code",
            if command.contains("import") {
                "PROVISION_DATA_DIR=$0"
            } else {
                ""
            }
        );
        let output = place
            .command(&[])
            .get_envs()
            .fold(&mut Command::new("unshare"), |command, (name, value)| {
                command.env(name, value.unwrap())
            })
            .args(user)
            .args(["--mount", "sh", "-c", &script])
            .arg(&small)
            .arg(program())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(12), "{said}");
        assert!(said.contains("are needed"), "{said}");
        assert!(
            !said.contains("partial") && !said.lines().any(|line| line == "m.ova"),
            "{said}"
        );
    }
}

#[test]
fn an_interrupted_export_leaves_nothing_and_a_killed_one_is_swept() {
    let place = Place::with_machine(&noise(96 * MIB));
    for signal in ["-INT", "-KILL"] {
        let mut child = place
            .command(&["--json", "export", "--name", "m", "--format", "ova"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let begun = lines
            .map_while(Result::ok)
            .any(|line| line.contains("\"event\":\"progress\""));
        assert!(begun, "it never wrote");
        let pid = fs::read_to_string(place.path("out/.m.ova.partial/image/machine.pid")).unwrap();
        let pid: u32 = pid.trim().parse().unwrap();
        let status = Command::new("kill").args([signal, &child.id().to_string()]).status();
        assert!(status.unwrap().success());
        let code = child.wait().unwrap().code();
        assert_eq!(code, if signal == "-INT" { Some(130) } else { None });
        eventually("qemu-img ends with its starter", || !alive(pid));
        let left: &[&str] = if signal == "-INT" { &[] } else { &[".m.ova.partial"] };
        assert_eq!(place.out(), left, "{signal}");
    }
    place.succeeds(&["export", "--name", "m", "--format", "ova"]);
    assert_eq!(place.out(), ["m.ova"]);
}

#[test]
fn an_interrupted_import_says_so_and_begins_anew() {
    use std::os::unix::process::CommandExt as _;
    let place = Place::new();
    let image = place.image("a.qcow2", &noise(96 * MIB));
    for moment in ["becomes the machine", "converting"] {
        let mut child = place
            .command(&[
                "--json",
                "import",
                image.to_str().unwrap(),
                "--name",
                "m",
                "--login",
                "jdoe",
            ])
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap())
            .lines()
            .map_while(Result::ok);
        assert!(lines.any(|line| line.contains(moment)), "{moment} never came");
        // As a terminal does: what it has started gets the signal, too.
        let group = format!("-{}", child.id());
        let status = Command::new("kill").args(["-INT", "--", &group]).status();
        assert!(status.unwrap().success());
        let last = lines.last().unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(130), "{moment}: {last}");
        assert!(
            last.contains("begins anew") && !last.contains("goes on"),
            "{moment}: {last}"
        );
        assert!(!place.path("data/machines/m").exists());
    }
}

#[test]
fn a_killed_import_is_swept_by_the_next() {
    let place = Place::new();
    let image = place.image("a.qcow2", &noise(96 * MIB));
    let mut child = place
        .command(&[
            "--json",
            "import",
            image.to_str().unwrap(),
            "--name",
            "m",
            "--login",
            "jdoe",
        ])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.map_while(Result::ok).any(|line| line.contains("converting")));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(place.path("data/machines/m").exists());
    assert!(!place.succeeds(&["list"]).contains('m'));
    let small = place.image("b.qcow2", b"x");
    place.succeeds(&["import", small.to_str().unwrap(), "--name", "other", "--login", "jdoe"]);
    assert!(!place.path("data/machines/m").exists());
}

#[test]
fn arguments_that_cannot_be_meant_are_refused() {
    let place = Place::with_machine(b"x");
    let image = place.path("a.qcow2");
    let image = image.to_str().unwrap();
    fs::create_dir(place.path("out/dir.qcow2")).unwrap();
    let fifo = Command::new("mkfifo")
        .arg(place.path("out/fifo.qcow2"))
        .status()
        .unwrap();
    assert!(fifo.success());
    for (line, said) in [
        (
            &format!("import {image} --name n --https-port 2222 --ssh-port 2222")[..],
            "https already",
        ),
        (&format!("import {image} --name n --memory 17T"), "at most 16T"),
        ("import dir.qcow2 --name n", "no plain file"),
        ("import fifo.qcow2 --name n", "no plain file"),
        ("export --name m --format qcow2 --image a/b", "no manifest"),
        ("export --name m --format containerdisk --image A", "lower-case"),
        ("reset --name m", "was imported"),
        ("logs --name m", "logs its console alone"),
    ] {
        place.fails(&line.split(' ').collect::<Vec<_>>(), 2, said);
    }
    assert!(!place.path("data/machines/n").exists());
    let output = place.run(&["destroy", "--name", "m", "--yes"]);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(
        stderr.contains("m is deleted") && !stderr.contains("checkpoints"),
        "{stderr}"
    );
}

#[test]
fn a_damaged_record_is_listed_and_can_be_destroyed() {
    let place = Place::with_machine(b"x");
    place.succeeds(&[
        "import",
        place.path("a.qcow2").to_str().unwrap(),
        "--name",
        "n",
        "--login",
        "jdoe",
    ]);
    fs::write(place.path("data/machines/m/machine.json"), "{").unwrap();
    // Another import does not ask what it is.
    fs::create_dir_all(place.path("data/machines/m/work/import")).unwrap();
    place.succeeds(&[
        "import",
        place.path("a.qcow2").to_str().unwrap(),
        "--name",
        "o",
        "--login",
        "jdoe",
    ]);
    let listed = place.succeeds(&["list"]);
    let line = |name: &str| listed.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
    assert!(
        line("m ").contains("damaged") && line("n ").contains("stopped"),
        "{listed}"
    );
    let listed = place.succeeds(&["--json", "list"]);
    assert!(listed.contains(r#""state":"damaged""#), "{listed}");
    assert!(place.succeeds(&["cache", "ls"]).contains("machine n"));
    // While a command is at one.
    let lock = fs::File::open(place.path("data/machines/n/lock")).unwrap();
    lock.lock().unwrap();
    let listed = place.succeeds(&["list"]);
    assert!(
        listed
            .lines()
            .any(|line| line.starts_with("n ") && line.contains("busy")),
        "{listed}"
    );
    assert!(place.succeeds(&["status", "--name", "n"]).starts_with("n is busy"));
    place.fails(
        &["exec", "--name", "n", "--", "true"],
        11,
        "another provision command works on the machine n",
    );
    place.fails(
        &["start", "--name", "n"],
        11,
        "another provision command works on the machine n",
    );
    drop(lock);
    // A program that another test starts at the moment has the lock, too, until it is loaded.
    eventually("nobody is at it", || {
        place.succeeds(&["status", "--name", "n"]).starts_with("n is stopped")
    });
    for command in ["status", "start", "credentials"] {
        place.fails(&[command, "--name", "m"], 1, "provision destroy --name m");
    }
    // What it needs is not known.
    place.fails(&["cache", "prune"], 1, "damaged");
    place.succeeds(&["destroy", "--name", "m", "--yes"]);
    assert!(!place.path("data/machines/m").exists());
    place.succeeds(&["cache", "prune"]);
    place.fails(&["destroy", "--name", "m", "--yes"], 2, "no machine");
    assert!(!place.path("data/machines/m").exists());
    place.succeeds(&["destroy", "--name", "n", "--yes"]);
    place.succeeds(&["destroy", "--name", "o", "--yes"]);
    place.fails(&["status"], 2, "no machine yet");
}

#[test]
fn an_imported_machine_is_a_machine() {
    let place = Place::with_machine(b"x");
    assert!(place.succeeds(&["list"]).contains("imported"));
    let status = place.succeeds(&["status", "--name", "m"]);
    assert!(
        status.contains("image       ") && status.contains("a.qcow2"),
        "{status}"
    );
    assert!(place.succeeds(&["credentials", "--name", "m"]).contains("jdoe"));
    fs::create_dir(place.path("out/srcs")).unwrap();
    fs::write(place.path("out/Makefile"), "all:\n").unwrap();
    fs::write(place.path("out/srcs/docker-compose.yml"), "services: {}\n").unwrap();
    place.fails(&["create", "--name", "m", "--login", "jdoe"], 3, "was imported");
    place.succeeds(&["destroy", "--name", "m", "--yes"]);
    assert!(!place.path("data/machines/m").exists());
    place.fails(&["export", "--name", "m", "--format", "raw"], 2, "no machine");
    place.fails(
        &["export", "--checkpoint", "install", "--format", "raw"],
        2,
        "no checkpoint",
    );
}
