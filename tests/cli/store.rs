//! The cache as a user sees it: what lies on what, what goes by which rule, what is damaged.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};

use super::place::{Place, sha256};
use super::support::{eventually, program};

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn the_cache_is_shown_as_a_tree_with_who_needs_what() {
    let place = Place::two_chains();
    let shown = text(&place.run(&["cache", "ls"]));
    let line = |start: &str| {
        shown
            .lines()
            .find(|line| line.starts_with(start))
            .unwrap_or_else(|| panic!("{start}: {shown}"))
    };
    assert!(line("install aaaaaaaaaaaa").contains("30 days") && line("install").ends_with("  m"));
    assert!(line("└─ docker bbbbbbbbbbbb").ends_with("  m"));
    assert!(line("   ├─ account cccccccccccc (jdoe)").ends_with("  m"));
    line("   │  └─ machine m");
    assert!(line("   └─ account dddddddddddd (marvin)").ends_with("5 days"));
    line("      └─ project eeeeeeeeeeee");
    assert!(line("identity jdoe").ends_with("  m") && line("identity zaphod").ends_with("just now"));
    line("total in the cache");

    let all = place.json(&["cache", "ls"]);
    let docker = all.iter().find(|thing| thing["kind"] == "docker").unwrap();
    assert_eq!(docker["needed_by"], json!(["m"]));
    assert_eq!(docker["lies_on"], json!(["install aaaaaaaaaaaa"]));
    assert!(docker["bytes"].as_u64().unwrap() > 0 && docker["age_seconds"].as_u64().unwrap() >= 20 * 86400);
}

#[test]
fn a_cache_that_may_not_be_written_can_be_looked_at() {
    let place = Place::two_chains();
    let before = text(&place.run(&["cache", "ls"]));
    let mut command = place.command(&["cache", "ls"]);
    if rustix::process::geteuid().is_root() {
        // root may write anywhere, but not where nobody may.
        let cache = place.path("cache");
        let script = "mount --bind \"$0\" \"$0\" && mount -o remount,bind,ro \"$0\" && ! touch \"$0/x\" && exec \"$@\"";
        let mut unshare = Command::new("unshare");
        unshare
            .args(["--mount", "sh", "-c", script])
            .arg(cache)
            .arg(program())
            .args(["cache", "ls"]);
        for (name, value) in command.get_envs() {
            unshare.env(name, value.unwrap());
        }
        command = unshare;
    } else {
        fs::set_permissions(place.path("cache/v1"), fs::Permissions::from_mode(0o500)).unwrap();
        fs::set_permissions(place.layers(), fs::Permissions::from_mode(0o500)).unwrap();
    }
    let output = command.output().unwrap();
    assert_eq!(text(&output), before, "{}", stderr(&output));
    // One that is not there is empty, and stays away.
    let nowhere = Place::new();
    let output = nowhere.run(&["cache", "ls"]);
    assert!(
        output.status.success() && text(&output).contains("total"),
        "{}",
        stderr(&output)
    );
    assert!(!nowhere.path("cache").exists());
}

#[test]
fn pruning_goes_by_rules_and_spares_what_machines_need() {
    let table: [(&[&str], &str, &[&str]); 8] = [
        (&[], "abc", &["_builder", "jdoe"]),
        // The newest account is marvin's, of keys all but one go.
        (&["--keep-last", "1"], "abcde", &["_builder", "jdoe", "marvin"]),
        (&["--older-than", "30d"], "abcde", &["_builder", "jdoe", "marvin"]),
        (&["--older-than", "3d"], "abc", &["_builder", "jdoe", "marvin"]),
        (
            &["--max-size", "1GiB"],
            "abcde",
            &["_builder", "jdoe", "marvin", "zaphod"],
        ),
        (&["--max-size", "1B"], "abc", &["_builder", "jdoe"]),
        (
            &["--max-size", "1B", "--older-than", "30d"],
            "abcde",
            &["_builder", "jdoe", "marvin"],
        ),
        (&["--keep-last", "0", "--max-size", "1B"], "abc", &["_builder", "jdoe"]),
    ];
    for (rules, layers, identities) in table {
        let place = Place::two_chains();
        // Of the keys, zaphod's are the oldest.
        let old = ["-d", "2020-01-01"].map(str::to_owned);
        let touched = Command::new("touch")
            .args(old)
            .arg(place.path("cache/v1/identities/zaphod"))
            .status();
        assert!(touched.unwrap().success());
        let (all, keys) = (place.there(), place.identities());
        let told = place.run(&[&["cache", "prune", "--dry-run"], rules].concat());
        assert!(told.status.success(), "{rules:?}: {}", stderr(&told));
        assert_eq!(
            (place.there(), place.identities()),
            (all, keys),
            "{rules:?}: {}",
            text(&told)
        );
        let output = place.run(&[&["cache", "prune"], rules].concat());
        assert!(output.status.success(), "{rules:?}: {}", stderr(&output));
        let words = |of: &Output| {
            text(of)
                .split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert_eq!(
            words(&told).replace("to be deleted", "deleted"),
            words(&output),
            "{rules:?}"
        );
        assert_eq!(place.there(), layers, "{rules:?}: {}", text(&output));
        let sum = text(&output).lines().last().unwrap().to_owned();
        assert!(sum.starts_with("deleted "), "{sum}");
        if rules != ["--keep-last", "1"] {
            assert_eq!(place.identities(), identities, "{rules:?}: {}", text(&output));
        }
        if rules == ["--max-size", "1B"] {
            assert!(stderr(&output).contains("more than 1 B"), "{}", stderr(&output));
        }
    }
}

#[test]
fn what_guests_fetched_goes_before_checkpoints_when_the_cache_is_too_large() {
    let place = Place::two_chains();
    let blobs = place.path("cache/v1/kept/blobs");
    fs::create_dir_all(&blobs).unwrap();
    fs::write(blobs.join("7".repeat(64)), vec![7; 4 << 20]).unwrap();
    let output = place.run(&["cache", "prune", "--max-size", "3MiB"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(place.there(), "abcde", "{}", text(&output));
    assert_eq!(fs::read_dir(&blobs).unwrap().count(), 0);
}

#[test]
fn pruning_knows_machines_of_other_data_folders_and_of_runs_at_work() {
    let place = Place::two_chains();
    fs::rename(place.path("data"), place.path("elsewhere")).unwrap();
    let users = place.path("cache/v1/users");
    fs::create_dir_all(&users).unwrap();
    fs::write(users.join("other"), place.path("elsewhere/machines").to_str().unwrap()).unwrap();
    assert!(text(&place.run(&["cache", "ls"])).contains("machine m in "));
    place.run(&["cache", "prune"]);
    assert_eq!(place.there(), "abc");
    // While another process shares the store nothing goes.
    fs::remove_dir_all(place.path("elsewhere")).unwrap();
    let using = fs::File::create(place.layers().join(".use")).unwrap();
    using.lock_shared().unwrap();
    let refused = place.run(&["cache", "prune"]);
    assert_eq!(refused.status.code(), Some(11), "{}", stderr(&refused));
    assert_eq!(place.there(), "abc");
    drop(using);
    // A process that another test starts at this moment has the lock's file until it is a program of its own.
    eventually("nobody to use the store", || {
        place.run(&["cache", "prune"]).status.code() == Some(0)
    });
    assert_eq!(place.there(), "");
    assert_eq!(place.identities(), Vec::<String>::new());
}

#[test]
fn nothing_goes_while_machines_are_on_a_disk_that_is_not_mounted() {
    let place = Place::two_chains();
    fs::rename(place.path("data"), place.path("unmounted")).unwrap();
    let users = place.path("cache/v1/users");
    fs::create_dir_all(&users).unwrap();
    let machines = place.path("disk/machines");
    fs::write(users.join("other.elsewhere"), machines.to_str().unwrap()).unwrap();
    let looked = place.run(&["cache", "ls"]);
    assert!(looked.status.success(), "{}", stderr(&looked));
    assert!(stderr(&looked).contains("disk/machines"), "{}", stderr(&looked));
    for more in [&["--dry-run"][..], &[]] {
        let refused = place.run(&[&["cache", "prune"], more].concat());
        assert_eq!(refused.status.code(), Some(2), "{}", stderr(&refused));
        assert!(stderr(&refused).contains("mount the disk"), "{}", stderr(&refused));
        assert_eq!(place.there(), "abcde");
    }
    fs::rename(place.path("unmounted"), place.path("disk")).unwrap();
    let output = place.run(&["cache", "prune"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(place.there(), "abc");
}

#[test]
fn a_damaged_snapshot_hides_nothing_but_keeps_everything() {
    let place = Place::two_chains();
    let damaged = place.path("data/machines/m/moments/broken");
    fs::create_dir_all(&damaged).unwrap();
    fs::write(damaged.join("moment.json"), "{").unwrap();
    let output = place.run(&["cache", "ls"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(text(&output).contains("machine m"), "{}", text(&output));
    assert!(stderr(&output).contains("broken"), "{}", stderr(&output));
    let output = place.run(&["cache", "prune"]);
    assert!(!output.status.success());
    let hint = "`provision snapshot rm broken --name m`";
    assert!(stderr(&output).contains(hint), "{}", stderr(&output));
    assert_eq!(place.there(), "abcde");
}

#[test]
fn a_checkpoint_that_cannot_be_read_is_damaged() {
    let place = Place::two_chains();
    let of = |letter: &str| place.layers().join(letter.repeat(64));
    // Somebody wanted the room that a memory takes.
    fs::write(of("d").join("memory.json"), "{}").unwrap();
    let copy = place.path("copy");
    let copied = |from: &Path, to: &Path| {
        let status = Command::new("cp").arg("-r").args([from, to]).status();
        assert!(status.unwrap().success());
    };
    copied(&of("d"), &copy);
    // The second time what was set aside is in the way.
    for _ in 0..2 {
        let told = place.run(&["cache", "check"]);
        assert_eq!(told.status.code(), Some(5), "{}", stderr(&told));
        assert_eq!(text(&told).matches("sound").count(), 4, "{}", text(&told));
        assert!(text(&told).contains("reading memory.json"), "{}", text(&told));
        assert_eq!(place.there(), "abce");
        copied(&copy, &of("d"));
    }
}

#[test]
fn a_damaged_checkpoint_is_told_and_set_aside() {
    let place = Place::two_chains();
    let sound = place.run(&["cache", "check"]);
    assert!(sound.status.success(), "{}", stderr(&sound));
    assert_eq!(text(&sound).matches("sound").count(), 5, "{}", text(&sound));
    let disk = place.layers().join("d".repeat(64)).join("disk.qcow2");
    let mut bytes = fs::read(&disk).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&disk, bytes).unwrap();
    // One that lies on another than it should: only its header tells.
    let c = place.layers().join("c".repeat(64));
    let rebased = Command::new("qemu-img")
        .args([
            "rebase",
            "-u",
            "-f",
            "qcow2",
            "-F",
            "qcow2",
            "-b",
            &format!("../{}/disk.qcow2", "a".repeat(64)),
        ])
        .arg(c.join("disk.qcow2"))
        .status();
    assert!(rebased.unwrap().success());
    let manifest = fs::read_to_string(c.join("layer.json")).unwrap();
    let mut manifest: Value = serde_json::from_str(&manifest).unwrap();
    manifest["digests"]["disk.qcow2"] = sha256(&c.join("disk.qcow2")).into();
    fs::write(c.join("layer.json"), manifest.to_string()).unwrap();

    let using = fs::File::create(place.layers().join(".use")).unwrap();
    using.lock_shared().unwrap();
    let told = place.run(&["cache", "check"]);
    assert_eq!(told.status.code(), Some(5), "{}", stderr(&told));
    assert_eq!(place.there(), "abcde", "another process uses them");
    drop(using);

    let told = place.run(&["cache", "check"]);
    assert_eq!(told.status.code(), Some(5));
    assert!(stderr(&told).contains("2 checkpoints are damaged") && stderr(&told).contains("provision create"));
    assert!(text(&told).contains("changed since it was made") && text(&told).contains("it lies on ../aaaa"));
    assert_eq!(place.there(), "abe");
    let damaged = fs::read_dir(place.path("cache/v1/damaged")).unwrap().count();
    assert_eq!(damaged, 2);
    assert!(text(&place.run(&["cache", "ls"])).contains("damaged dddddddddddd-d0"));
    let rest = place.run(&["cache", "check"]);
    assert!(rest.status.success(), "{}", stderr(&rest));
    assert!(
        text(&rest).contains("of no use"),
        "what lies on the damaged one: {}",
        text(&rest)
    );
    // They go when the user says so.
    place.run(&["cache", "prune"]);
    assert_eq!(fs::read_dir(place.path("cache/v1/damaged")).unwrap().count(), 0);
}

#[test]
fn nothing_goes_while_a_machine_cannot_be_looked_into() {
    if !rustix::process::geteuid().is_root() {
        println!("needs root, to become another user");
        return;
    }
    let place = Place::two_chains();
    let copy = place.path("provision");
    fs::copy(program(), &copy).unwrap();
    let own = Command::new("chown").args(["-R", "65534"]).arg(place.path("")).status();
    assert!(own.unwrap().success());
    let closed = ["data/machines/m", "data/machines", "data"];
    for folder in closed {
        let mode = |mode| fs::set_permissions(place.path(folder), fs::Permissions::from_mode(mode)).unwrap();
        mode(0o000);
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid=65534", "--clear-groups"])
            .arg(&copy)
            .args(["cache", "prune"]);
        for (name, value) in place.command(&[]).get_envs() {
            command.env(name, value.unwrap());
        }
        let output = command.current_dir(place.path("")).output().unwrap();
        mode(0o700);
        assert_eq!(output.status.code(), Some(1), "{folder}: {}", stderr(&output));
        let shown = text(&place.run(&["cache", "ls"]));
        assert!(shown.contains("identity zaphod"), "{folder}: {shown}");
    }
}
