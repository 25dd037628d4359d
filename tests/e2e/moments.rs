//! Back to how `create` left the machine, and to snapshots, with a guest that notices.

use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use super::machine::no_machine_runs;
use super::run::Ended;
use super::world::World;

/// How far the guest's clock may be from the host's: reaching an emulated guest on a busy host takes seconds.
const CLOCK: u64 = 30;

/// What was changed in the machine is gone, and it goes on where it was: it has not booted.
pub fn is_reset(world: &World) {
    let boot = boot_id(world);
    let renewed = || -> u32 {
        let told = world.guest("sudo dmesg | grep -c 'crng reseeded due to virtual machine fork' || true");
        told.trim().parse().unwrap()
    };
    // Since that moment nothing was renewed.
    let before = renewed();
    world.guest("echo changed > ~/data/changed && docker volume create changed && rm -rf ~/inception");
    let reset = run(world, &["reset"]);
    told(&reset, "going on from the kept memory");
    assert_eq!(warnings(&reset), Vec::<String>::new());
    println!(
        "  reset: SSH after {:.1} s, the site after {:.1} s",
        seconds_of(&reset, "SSH answers"),
        reset.seconds
    );
    assert_eq!(boot_id(world), boot, "it booted");
    assert_eq!(
        world.guest("ls ~/data/changed 2>&1 | grep -c No; ls ~/inception/Makefile | wc -l"),
        "1\n1\n"
    );
    assert_eq!(world.guest("docker volume ls --quiet --filter name=changed"), "");
    knows_the_time(world);
    assert_eq!(renewed(), before + 1, "its entropy is that of the moment");
    super::machine::shows_its_page(world);
}

/// With memory and without, while it runs; in the presence of the other commands. It does not run before.
pub fn keeps_snapshots(world: &World) {
    told(&run(world, &["reset"]), "going on from the kept memory");
    let boot = boot_id(world);
    world.guest(
        "echo one > ~/data/state; setsid sh -c 'echo $$ > /tmp/pid; exec sleep 100000' > /dev/null 2>&1 < /dev/null & \
         until [ -s /tmp/pid ]; do sleep 0.1; done",
    );
    // As if the moment were long ago.
    world.guest("sudo date -s '10 minutes ago'");
    world.text(&["snapshot", "one"]);
    world.guest("echo two > ~/data/state; kill $(cat /tmp/pid)");
    world.text(&["snapshot", "two", "--no-memory"]);
    let clash = world.output(&["snapshot", "two"]);
    assert_eq!(
        clash.status.code(),
        Some(2),
        "{}",
        String::from_utf8_lossy(&clash.stderr)
    );
    world.guest("echo three > ~/data/state");
    let listed = world.text(&["snapshots"]);
    assert!(
        listed.contains("memory and disk") && listed.contains("disk, while it ran"),
        "{listed}"
    );
    let shown = world.text(&["--json", "snapshots"]);
    assert_eq!(shown.lines().count(), 2, "{shown}");

    let restored = run(world, &["restore", "one"]);
    println!("  restore with memory: {:.1} s", restored.seconds);
    assert_eq!(world.guest("cat ~/data/state"), "one\n");
    // The very process runs on.
    assert_eq!(world.guest("ps -o comm= -p $(cat /tmp/pid)"), "sleep\n");
    assert_eq!(boot_id(world), boot);
    knows_the_time(world);
}

/// One whose memory does not fit begins to boot, and says why. One without a memory boots from its own disk, though another
/// lies under it that goes. Whoever stops these then still has the disk. Leaves the machine off, with the second.
pub fn boot_where_no_memory_fits(world: &World) {
    is_another_qemus(world, "one");
    let mut restored = world.run(&["restore", "one"]);
    assert!(restored.until(|event| event["text"] == "booting"), "it does not boot");
    restored.signal("INT");
    let restored = restored.end();
    assert_eq!(restored.code, Some(130));
    let warned = warnings(&restored);
    assert!(
        warned.iter().any(|text| text.contains("it was kept by QEMU 0.")),
        "{warned:?}"
    );
    world.text(&["snapshot", "rm", "one"]);
    let mut restored = world.run(&["restore", "two"]);
    assert!(restored.until(|event| event["text"] == "booting"), "it does not boot");
    restored.kill();
    no_machine_runs(world);
}

/// What the snapshot without a memory holds is there, once it has booted.
pub fn are_what_they_were(world: &World) {
    assert_eq!(world.guest("cat ~/data/state"), "two\n");
    assert_eq!(
        world.guest("ps -o comm= -p $(cat /tmp/pid 2> /dev/null) || echo none"),
        "none\n"
    );
}

/// A machine that is off comes back as that; and from off it comes to how `create` left it.
pub fn come_back_from_off(world: &World) {
    world.text(&["stop"]);
    world.text(&["snapshot", "off"]);
    world.text(&["restore", "off"]);
    let listed = world.text(&["list"]);
    let ours = listed.lines().find(|line| line.starts_with(world.login())).unwrap();
    assert!(ours.contains("stopped"), "it was off: {listed}");
    for name in ["two", "off"] {
        world.text(&["snapshot", "rm", name]);
    }
    let gone = world.output(&["restore", "off"]);
    assert_eq!(gone.status.code(), Some(2));
    let reset = run(world, &["reset"]);
    told(&reset, "going on from the kept memory");
    assert_eq!(world.guest("cat ~/data/state 2> /dev/null || echo none"), "none\n");
}

/// Makes the memory of a snapshot one that another QEMU has kept.
fn is_another_qemus(world: &World, name: &str) {
    let moments = world.machine_dir(world.login()).join("moments");
    let manifest = moments.join(name).join("memory.json");
    let text = fs::read_to_string(&manifest).unwrap();
    fs::write(&manifest, text.replacen("\"qemu\": \"", "\"qemu\": \"0.", 1)).unwrap();
}

fn run(world: &World, args: &[&str]) -> Ended {
    world.run(args).end().succeeded()
}

fn boot_id(world: &World) -> String {
    world.guest("cat /proc/sys/kernel/random/boot_id")
}

fn knows_the_time(world: &World) {
    let theirs: u64 = world.guest("date +%s").trim().parse().unwrap();
    let ours = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    assert!(
        ours.abs_diff(theirs) <= CLOCK,
        "the guest's clock says {theirs}, the host's {ours}"
    );
}

fn warnings(ended: &Ended) -> Vec<String> {
    let warnings = ended.events.iter().filter(|event| event["event"] == "warning");
    warnings.map(|event| event["text"].to_string()).collect()
}

#[track_caller]
fn told(ended: &Ended, text: &str) {
    let is_it = |event: &Value| event["text"] == text;
    assert!(ended.events.iter().any(is_it), "{:?}", ended.events);
}

/// When, after the first event, `text` was told.
fn seconds_of(ended: &Ended, text: &str) -> f64 {
    let time = |event: &Value| event["time"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    let first = time(&ended.events[0]);
    let told = ended.events.iter().find(|event| event["text"] == text).unwrap();
    Duration::try_from(time(told) - first).unwrap_or_default().as_secs_f64()
}
