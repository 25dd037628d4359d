//! Machines made without a network.

use std::process::{Command, Output};

use serde_json::Value;

use super::programs::free_port;
use super::world::World;

/// The login and name of the machine whose builds fetch what is kept.
const ONLINE: &str = "online";

/// What makes that machine.
const ONLINE_MACHINE: [&str; 4] = ["--name", ONLINE, "--login", ONLINE];

/// Without a cache there is nothing to make a machine of, which is said before anything begins.
pub fn names_what_is_missing(world: &World) {
    let empty = world.path("empty-cache");
    let mut command = world.command(&["--json", "create", "--offline", "--name", "nothing"]);
    let output = without_network(command.env("PROVISION_CACHE_DIR", &empty), "");
    assert_eq!(output.status.code(), Some(6), "{output:?}");
    let events = events(&output);
    let error = events
        .iter()
        .find(|event| event["event"] == "error")
        .expect("an error event");
    let message = error["message"].as_str().unwrap();
    for thing in [
        "the ISO of test",
        "Docker's packages",
        "the image debian:bookworm",
        "project's builds",
    ] {
        assert!(message.contains(thing), "{message}");
    }
    assert!(error["hint"].as_str().unwrap().contains("provision fetch"), "{error}");
    let begun = events.iter().any(|event| event["event"] == "stage_started");
    assert!(!begun, "{events:?}");
    assert!(!world.text(&["list"]).contains("nothing"));
}

/// What the project's builds fetch is kept, since they ran with a network for a machine of another login: in this run, or
/// in an earlier one.
pub fn keeps_what_is_fetched(world: &World) {
    if is_all_kept(world) {
        return;
    }
    // A checkpoint would fetch nothing.
    forget(world, &ONLINE_MACHINE);
    let port = free_port().to_string();
    let create = [&["create", "--https-port", &port], &ONLINE_MACHINE[..]].concat();
    world.run(&create).end().succeeded();
    world.text(&["destroy", "--name", ONLINE, "--yes"]);
    forget(world, &ONLINE_MACHINE);
    assert!(
        is_all_kept(world),
        "a build with a network leaves what one without it needs"
    );
}

/// Whether a machine of the project can be made without a network.
pub fn is_all_kept(world: &World) -> bool {
    let plan = world.output(&["plan", "--offline"]);
    let said = String::from_utf8_lossy(&plan.stderr);
    plan.status.success() && !said.contains("not built with this cache yet")
}

/// `fetch` asks for all of it again, and leaves no machine.
pub fn is_fetched_again(world: &World) {
    let fetched = world.run(&["fetch"]).end().succeeded();
    let warned: Vec<_> = fetched
        .events
        .iter()
        .filter(|event| event["event"] == "warning")
        .collect();
    assert!(
        warned
            .iter()
            .all(|event| !event["text"].to_string().contains("not to be had")),
        "{warned:?}"
    );
    assert!(!world.text(&["list"]).contains("provision-fetch"));
    assert!(is_all_kept(world));
}

/// Removes the checkpoints that are a login's own, so that their stages run.
fn forget(world: &World, machine: &[&str]) {
    let plan = world.json(&[&["plan"], machine].concat());
    let stages = plan["stages"].as_array().unwrap().iter();
    for line in stages.filter(|line| line["stage"] == "account" || line["stage"] == "project") {
        // It is not known before the login has its keys.
        if let Some(key) = line["key"].as_str() {
            world.forget_layer(key);
        }
    }
}

/// Destroys the machine, and with it the checkpoints that are its own: the next run makes others.
pub fn is_forgotten(world: &World) {
    let keys = ["account", "project"].map(|stage| world.key_of(stage));
    super::machine::is_destroyed(world);
    for key in keys {
        world.forget_layer(&key);
    }
}

/// A machine is made for a login that is new here: its account and its project are made, in a network name space in
/// which there is nothing but itself; the tests' registry and mirror are out of reach, too. It stays, with something in
/// its logs and on its disk that sealing has to remove.
pub fn makes_a_machine(world: &World) {
    let words = ["--json", "rebuild", "--from", "account", "--offline"];
    // What the guest is asked is asked in the same name space, since its ports are there.
    let look = "nft=$(\"$0\" exec -- sudo nft list tables) &&
         engine=$(\"$0\" exec -- cat /etc/docker/daemon.json) &&
         traces=$(\"$0\" exec -- sudo grep -rIlE 'provision_[k]eeper|192\\.0\\.2\\.80' /etc /home /root /usr/local /var/log /var/spool /var/tmp /tmp || true) &&
         journal=$(\"$0\" exec -- sudo journalctl --no-pager --quiet) &&
         [ -n \"$journal\" ] &&
         ! printf '%s\\n' \"$journal\" | grep -E 'provision_[k]eeper' >&2 &&
         \"$0\" exec -- sudo sh -c 'logger sealed-away; echo sealed-away > /var/log/apt/sealed-away.log;
             head -c 64M /dev/urandom > /root/noise; sync; rm /root/noise' &&
         printf '%s\\n' \"nft: $nft\" \"engine: $engine\" \"traces: $traces\" >&2";
    let output = without_network(&mut world.command(&words), look);
    let said = String::from_utf8_lossy(&output.stderr);
    let events = events(&output);
    assert!(output.status.success(), "{said}\n{events:?}");
    let ran: Vec<_> = events
        .iter()
        .filter(|event| event["event"] == "stage_done")
        .filter_map(|event| event["stage"].as_str())
        .collect();
    assert_eq!(ran, ["media", "account", "project", "verify"]);
    let failed = events
        .iter()
        .any(|event| event["event"] == "check" && event["passed"] == false);
    assert!(!failed, "{events:?}");
    assert!(!said.contains("provision_keeper"), "{said}");
    assert!(said.contains("traces: \n") || said.ends_with("traces: "), "{said}");
    let engine = said.split("engine: ").nth(1).unwrap().split("traces: ").next().unwrap();
    let engine: Value = serde_json::from_str(engine).unwrap();
    assert_eq!(engine["registry-mirrors"].as_array().unwrap().len(), 1);
    assert!(
        engine["registry-mirrors"][0].as_str().unwrap().ends_with(":25000"),
        "{engine}"
    );
}

/// Runs the program in a network name space of its own, and then, if it succeeds, the shell's `and_then`, in which `$0`
/// is the program.
fn without_network(program: &mut Command, and_then: &str) -> Output {
    let user: &[&str] = if rustix::process::geteuid().is_root() {
        &[]
    } else {
        &["--user", "--map-root-user"]
    };
    let and_then = if and_then.is_empty() {
        ""
    } else {
        &format!(" && {{ {and_then}; }}")
    };
    let script = format!("ip link set lo up && \"$0\" \"$@\"{and_then}");
    let mut command = Command::new("unshare");
    command.args(user).args(["--net", "sh", "-c", &script]);
    command.arg(program.get_program()).args(program.get_args());
    for (name, value) in program.get_envs() {
        command.env(name, value.unwrap());
    }
    command
        .current_dir(program.get_current_dir().unwrap())
        .output()
        .unwrap()
}

fn events(output: &Output) -> Vec<Value> {
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}
