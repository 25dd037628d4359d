//! The remastered medium, which machines get that boot no kernel by themselves.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::offline;
use super::programs::free_port;
use super::run::Run;
use super::world::World;

/// What the installer's console shows once it has found its medium by itself, and goes on without a key.
const GOES_ON: &str = "Loading additional components";

/// The name of the machine that is installed from the medium.
const NAME: &str = "medium";

/// A machine installed from the medium by its BIOS boots from its own disk and answers on SSH. A CI ends its jobs by
/// SIGTERM, and nobody saw how far they were: so ends this one at first, in the stage `docker`. Then that stage runs to its
/// end without a network.
///
/// The checkpoints are kept, and with them all this is known of the next run of the tests: the machine stays from run to
/// run, or a `cache prune` would take them.
pub fn installs_by_bios(world: &World) {
    let machine = Kept::new(world);
    if !machine.is_terminated_in_docker() {
        return;
    }
    assert!(machine.is_cached("install"));
    machine.gets_docker_without_a_network();
    assert!(machine.is_cached("docker"));
}

/// The machine that is installed from the medium.
struct Kept<'a> {
    world: &'a World,
    data: PathBuf,
}

impl<'a> Kept<'a> {
    fn new(world: &'a World) -> Self {
        let data = world.kept("medium-data");
        Self { world, data }
    }

    fn folder(&self) -> PathBuf {
        self.data.join("machines").join(NAME)
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = self.world.command(words);
        command
            .args(["--name", NAME, "--installer", "medium"])
            .env("PROVISION_DATA_DIR", &self.data);
        command
    }

    fn create(&self, words: &[&str]) -> Run {
        forget_bundles(&self.folder());
        // The usual port is for the machine that comes.
        let port = free_port().to_string();
        let words = [&["--json", "create", "--https-port", &port], words].concat();
        Run::start(&mut self.command(&words), "image")
    }

    fn is_cached(&self, stage: &str) -> bool {
        let plan = self.command(&["--json", "plan"]).output().unwrap();
        let plan: Value = serde_json::from_slice(&plan.stdout).unwrap();
        let stages = plan["stages"].as_array().unwrap();
        let line = stages.iter().find(|line| line["stage"] == stage).unwrap();
        line["cached"] == true
    }

    /// `false` where that stage's checkpoint is there.
    fn is_terminated_in_docker(&self) -> bool {
        let mut run = self.create(&[]);
        let logged_in =
            |event: &Value| event["event"] == "step" && event["stage"] == "docker" && event["text"] != "booting";
        let output = |event: &Value| event["event"] == "output" && event["stage"] == "docker";
        let mut cached = false;
        let come = run.until(|event| {
            cached = event["event"] == "stage_cached" && event["stage"] == "docker";
            cached || logged_in(event) || output(event)
        });
        assert!(come, "it was not installed, or nobody could log in");
        run.signal("TERM");
        assert_eq!(run.end().code, Some(130));
        if cached {
            return false;
        }
        let [bundle] = &bundles(&self.folder())[..] else {
            panic!("{:?}", bundles(&self.folder()))
        };
        let error = fs::read_to_string(bundle.join("error.txt")).unwrap();
        assert!(error.starts_with("stage: docker\n"), "{error}");
        assert!(bundle.join("console.log").exists());
        true
    }

    fn gets_docker_without_a_network(&self) {
        // The other tests fetch what it needs.
        let start = Instant::now();
        while !offline::is_all_kept(self.world) {
            assert!(start.elapsed() < Duration::from_secs(3000), "nobody fetches it");
            std::thread::sleep(Duration::from_secs(2));
        }
        let mut run = self.create(&["--offline"]);
        let done = |event: &Value| event["event"] == "stage_done" && event["stage"] == "docker";
        let made = run.until(done);
        run.signal("INT");
        let ended = run.end();
        assert!(
            made,
            "Docker was not installed: {:?} {}",
            ended.events.last(),
            ended.stderr
        );
    }
}

/// What failed runs of the machine in `folder` have left.
fn bundles(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .filter(|path| path.to_string_lossy().contains("/failure-"))
        .collect()
}

fn forget_bundles(folder: &Path) {
    for bundle in bundles(folder) {
        fs::remove_dir_all(bundle).unwrap();
    }
}

/// The same medium starts the installer by UEFI, too.
pub fn starts_by_uefi(world: &World) {
    let medium = medium(world);
    let console = world.path("uefi-console");
    let mut machine = Uefi::start(&medium, &world.path("uefi-vars"), &console);
    let start = Instant::now();
    while !fs::read_to_string(&console).unwrap_or_default().contains(GOES_ON) {
        assert!(machine.0.try_wait().unwrap().is_none(), "QEMU has ended");
        let shown = fs::read(&console).unwrap_or_default();
        assert!(
            start.elapsed() < Duration::from_secs(400),
            "{}",
            String::from_utf8_lossy(&shown)
        );
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// The medium of a machine whose install was interrupted right after it was made. Another disk size gives another key,
/// so that the stage runs.
fn medium(world: &World) -> PathBuf {
    let args = ["create", "--name", "uefi", "--installer", "medium", "--disk", "21G"];
    let mut run = world.run(&args);
    let starts = |event: &Value| event["event"] == "step" && event["text"] == "booting the installer";
    assert!(run.until(starts), "the medium was not made");
    let work = world.machine_dir("uefi").join("work/install");
    // Nothing but the medium tells the machine what to boot.
    let command = work.join("command");
    let start = Instant::now();
    while !command.exists() {
        assert!(start.elapsed() < Duration::from_secs(60), "QEMU was not started");
        std::thread::sleep(Duration::from_millis(50));
    }
    let line = fs::read_to_string(command).unwrap();
    assert!(line.contains("medium.iso") && !line.contains("-kernel"), "{line}");
    let there = work.join("medium.iso");
    // It holds the guest's private host key.
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&there).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    let kept = world.path("medium.iso");
    fs::hard_link(&there, &kept).unwrap();
    run.signal("INT");
    assert_eq!(run.end().code, Some(130));
    world.text(&["destroy", "--name", "uefi", "--yes"]);
    kept
}

/// A machine with UEFI firmware and nothing but a CD drive.
struct Uefi(Child);

impl Uefi {
    fn start(medium: &Path, vars: &Path, console: &Path) -> Self {
        fs::copy("/usr/share/OVMF/OVMF_VARS_4M.fd", vars).unwrap();
        let drive = |options: &str, file: &Path| format!("{options},file={}", file.display());
        let firmware = Path::new("/usr/share/OVMF/OVMF_CODE_4M.fd");
        let child = Command::new("qemu-system-x86_64")
            .args([
                "-nodefaults",
                "-machine",
                "q35",
                "-accel",
                "tcg,thread=multi",
                "-cpu",
                "qemu64",
            ])
            .args(["-m", "1024", "-smp", "2", "-display", "none", "-device", "VGA"])
            .args(["-drive", &drive("if=pflash,format=raw,readonly=on", firmware)])
            .args(["-drive", &drive("if=pflash,format=raw", vars)])
            .args(["-drive", &drive("format=raw,media=cdrom,readonly=on", medium)])
            .args(["-serial", &format!("file:{}", console.display())])
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        Self(child)
    }
}

impl Drop for Uefi {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
