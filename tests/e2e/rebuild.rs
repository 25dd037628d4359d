//! A clean machine again, from checkpoints.

use std::collections::BTreeMap;

use super::machine::no_other_runs;
use super::world::World;

/// SIGKILL in a stage that runs anew.
pub fn is_killed(world: &World) {
    let mut run = world.run(&["rebuild", "--from", "account"]);
    let at_work = |event: &serde_json::Value| event["event"] == "step" && event["stage"] == "account";
    assert!(run.until(at_work), "account never got going");
    run.kill();
    no_other_runs(world, &[]);
}

/// Nothing is left of what was written inside, and what `create` made is there.
pub fn makes_it_clean(world: &World) {
    world.guest("echo kept > ~/data/kept; sudo touch /etc/kept; sync");
    let (before, layers) = (world.json(&["status"]), world.own_layers());
    let rebuilt = world.run(&["rebuild"]).end().succeeded();
    world.say(&format!("rebuild took {:.1} s, with every check", rebuilt.seconds));
    assert_eq!(rebuilt.cached(), ["install", "docker", "account", "project"]);
    assert_eq!(rebuilt.ran(), ["media", "verify"]);
    let went_on = |event: &serde_json::Value| event["text"] == "going on from the kept memory";
    assert!(rebuilt.events.iter().any(went_on), "{:?}", rebuilt.events);
    assert_eq!(world.guest("ls /etc/kept ~/data/kept 2>/dev/null | wc -l"), "0\n");
    let after = world.json(&["status"]);
    for same in ["layer", "https_port", "ssh_port", "login"] {
        assert_eq!(after[same], before[same], "{same}");
    }
    are_still_there(world, &layers);
}

/// Every checkpoint of `before` is there, the very same; others may make and remove theirs meanwhile.
pub fn are_still_there(world: &World, before: &BTreeMap<String, String>) {
    let now = world.layers();
    for (key, id) in before {
        assert_eq!(now.get(key), Some(id), "{key}");
    }
}
