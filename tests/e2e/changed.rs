//! A project that changes: it is built again, in the machine of its former build.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use super::machine::{no_machine_runs, shows_its_page};
use super::timings;
use super::world::World;

/// SIGKILL while `make` runs for a changed project. The change is taken back.
pub fn is_killed_while_it_is_built(world: &World) {
    let (text, _) = change(world);
    let plan = world.text(&["plan"]);
    assert!(plan.contains("srcs/docker-compose.yml changed"), "{plan}");
    assert!(plan.contains("made anew"), "{plan}");
    let mut run = world.run(&["create"]);
    let making = |event: &Value| event["event"] == "output" && event["stage"] == "project";
    assert!(run.until(making), "make never printed anything");
    run.kill();
    no_machine_runs(world);
    fs::write(compose(world), text).unwrap();
}

/// Ctrl-C once the machine as it was has been powered off: it stays so, and whoever has interrupted hears of it.
fn is_told_that_it_is_off(world: &World) {
    let mut run = world.run(&["create"]);
    let begun = |event: &Value| event["event"] == "step" && event["text"] == "taking back the former build";
    assert!(run.until(begun), "the former build was not taken back");
    run.signal("INT");
    let ended = run.end();
    assert_eq!(ended.code, Some(130), "{}", ended.stderr);
    no_machine_runs(world);
    let told = |event: &Value| {
        event["text"]
            .as_str()
            .is_some_and(|text| text.contains("but off: `provision start"))
    };
    assert!(ended.events.iter().any(told), "{:?}", ended.events);
}

pub fn is_made_anew_from_the_change_on(world: &World) {
    let (_, nonce) = change(world);
    let began = world.guest("date +%s");
    is_told_that_it_is_off(world);
    let trace = world.path("changed.json");
    let created = world
        .run(&["create", "--trace", trace.to_str().unwrap()])
        .end()
        .succeeded();
    world.say(&format!("a changed file took {:.1} s", created.seconds));
    timings::add_up(world, &created, &trace);
    assert_eq!(created.cached(), ["install", "docker", "account"]);
    assert_eq!(created.ran(), ["media", "project", "verify"]);
    is_built_on_the_former_build(world, &created.events, &began);
    let there = world.guest("head -n 1 inception/srcs/docker-compose.yml");
    assert_eq!(there, nonce);
    shows_its_page(world);
}

/// Changes the project. Gives the file's former text, and the line that is new in it.
fn change(world: &World) -> (String, String) {
    let nonce = format!("# changed by the tests at {:?}\n", std::time::SystemTime::now());
    let text = fs::read_to_string(compose(world)).unwrap();
    fs::write(compose(world), nonce.clone() + &text).unwrap();
    (text, nonce)
}

fn compose(world: &World) -> PathBuf {
    world.project().join("srcs/docker-compose.yml")
}

/// Only what Docker kept of the former build was there: its data is gone, and the checkpoint lies on the account.
fn is_built_on_the_former_build(world: &World, events: &[Value], began: &str) {
    let told = |what: &str| events.iter().any(|event| event["text"] == what);
    assert!(told("taking back the former build"), "{events:?}");
    let doubts = |event: &&Value| event["text"].as_str().is_some_and(|text| text.contains("a clean"));
    assert_eq!(events.iter().find(doubts), None);
    let reused = |event: &Value| event["line"].as_str().is_some_and(|line| line.contains("CACHED"));
    assert!(events.iter().any(reused), "every image was built from nothing");
    let made = world.guest("sudo find ~/data -mindepth 1 -maxdepth 1 | xargs sudo stat -c %W | sort -n | head -n 1");
    let seconds = |text: &str| text.trim().parse::<u64>().unwrap();
    assert!(
        seconds(&made) >= seconds(began),
        "{made} < {began}: data of the former build"
    );
    let (key, account) = (world.key_of("project"), world.key_of("account"));
    let chain = world.backing_of_layer(&key);
    assert!(chain.contains(&account), "{chain}");
}
