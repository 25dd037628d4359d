//! The cache after a real `create`.

use std::fs;
use std::time::Instant;

use serde_json::Value;

use super::project::LOGIN;
use super::run::Run;
use super::world::World;

/// Every checkpoint is what it was when it was made, the machine's are known as needed, and runs have left nothing.
pub fn is_in_order(world: &World) {
    let checked = world.text(&["cache", "check"]);
    for stage in ["install", "docker", "account", "project"] {
        let is_sound = |line: &str| line.starts_with(stage) && line.contains("sound");
        assert!(checked.lines().any(is_sound), "{stage}: {checked}");
    }
    let shown = world.text(&["cache", "ls"]);
    for stage in ["install", "docker", "account", "project"] {
        // Others may need it, too.
        let is_needed = |line: &str| line.contains(&format!("{stage} ")) && line.contains(&format!(" {LOGIN}"));
        assert!(shown.lines().any(is_needed), "{stage}: {shown}");
    }
    assert!(shown.contains(&format!("machine {LOGIN}")), "{shown}");
    world.text(&["gc"]);
    assert_eq!(
        world.text(&["gc", "--dry-run"]).trim(),
        "interrupted runs have left nothing"
    );
}

/// Another host gets the checkpoint `docker` as a file: it plans with it, has no need of the ISO, and makes an account on it.
pub fn is_carried_to_another_host(world: &World) {
    let file = world.path("docker.provision");
    let there = |args: &[&str]| {
        let mut command = world.command(args);
        command
            .env("PROVISION_CACHE_DIR", world.path("elsewhere/cache"))
            .env("PROVISION_DATA_DIR", world.path("elsewhere/data"));
        command
    };
    let says = |args: &[&str]| {
        let output = there(args).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {stderr}");
        String::from_utf8(output.stdout).unwrap()
    };
    // A fresh host looks for it under the key under which this one would keep it.
    assert_eq!(says(&["cache", "key"]), world.text(&["cache", "key"]));
    let start = Instant::now();
    let told = world.json(&["cache", "export", "--with-memory", file.to_str().unwrap()]);
    let exported = start.elapsed();
    let imported = says(&["cache", "import", file.to_str().unwrap()]);
    assert_eq!(imported.matches("imported").count(), 2, "{imported}");
    world.say(&format!(
        "{} bytes of data became {} in {:.1} s, and checkpoints again in {:.1} s",
        told["data_bytes"],
        told["bytes"],
        exported.as_secs_f64(),
        start.elapsed().saturating_sub(exported).as_secs_f64()
    ));
    let plan = says(&["plan"]);
    for stage in ["install", "docker"] {
        let is_cached = |line: &str| line.starts_with(stage) && line.contains("cached");
        assert!(plan.lines().any(is_cached), "{stage}: {plan}");
    }
    assert_eq!(says(&["cache", "check"]).matches("sound").count(), 2);
    let mut run = Run::start(&mut there(&["--json", "create"]), "machine");
    let begins = |event: &Value| event["event"] == "stage_started" && event["stage"] == "project";
    assert!(run.until(begins), "the account was not made");
    run.signal("INT");
    let ended = run.end();
    assert_eq!(ended.code, Some(130), "{}", ended.stderr);
    assert_eq!(ended.cached(), ["install", "docker"]);
    let mut isos = fs::read_dir(world.path("elsewhere/cache/v1/iso")).unwrap().flatten();
    let is_iso = |name: &str| name.starts_with("sha");
    assert!(
        !isos.any(|entry| is_iso(&entry.file_name().to_string_lossy())),
        "an ISO was fetched"
    );
    fs::remove_dir_all(world.path("elsewhere")).unwrap();
    fs::remove_file(file).unwrap();
}
