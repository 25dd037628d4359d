//! The cache after a real `create`.

use super::world::{LOGIN, World};

/// Every checkpoint is what it was when it was made, the machine's are known as needed, and runs have left nothing.
pub fn is_in_order(world: &World) {
    let checked = world.text(&["cache", "check"]);
    for stage in ["install", "docker", "account", "project"] {
        let is_sound = |line: &str| line.starts_with(stage) && line.contains("sound");
        assert!(checked.lines().any(is_sound), "{stage}: {checked}");
    }
    let shown = world.text(&["cache", "ls"]);
    for stage in ["install", "docker", "account", "project"] {
        let is_needed = |line: &str| line.contains(&format!("{stage} ")) && line.contains(&format!("  {LOGIN}"));
        assert!(shown.lines().any(is_needed), "{stage}: {shown}");
    }
    assert!(shown.contains(&format!("machine {LOGIN}")), "{shown}");
    world.text(&["gc"]);
    assert_eq!(
        world.text(&["gc", "--dry-run"]).trim(),
        "interrupted runs have left nothing"
    );
}
