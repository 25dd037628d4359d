//! Tests of what is known under the lock.

use super::*;
use crate::fault::{Cause, Fault};

fn instance(folder: &Path) -> Instance {
    let paths = Paths {
        cache: folder.join("cache"),
        machines: folder.join("machines"),
    };
    Instance::new(&paths, &"eval".parse().unwrap())
}

#[test]
fn locking_a_machine_that_is_gone_leaves_no_folder() {
    let folder = tempfile::tempdir().unwrap();
    let instance = instance(folder.path());
    // It was there, and another command has destroyed it until it could be locked.
    for locked in [instance.lock_seen(), instance.lock_made()] {
        assert_eq!(Fault::of(&locked.unwrap_err()).unwrap().cause, Cause::Usage);
        assert!(!instance.dir().exists());
    }
}

#[test]
fn a_machine_is_of_the_guest_of_which_its_disk_was_made() {
    let mut record: Record = serde_json::from_value(serde_json::json!({
        "login": "jdoe", "guest": "debian-13", "made": "2026-01-01T00:00:00Z", "phase": "made",
        "layer": { "key": "0".repeat(64), "id": "00" }, "https_port": 1, "ssh_port": 2, "cpus": 1, "memory_mib": 64,
        "accelerator": "tcg", "project": "/p",
    }))
    .unwrap();
    record.follow_guest("debian-12");
    assert_eq!(record.guest, "debian-13");
    record.layer = None;
    record.follow_guest("debian-12");
    assert_eq!(record.guest, "debian-12");
}

#[test]
fn what_is_missing_of_a_machine_is_made_by_who_works_on_it() {
    let folder = tempfile::tempdir().unwrap();
    let instance = instance(folder.path());
    assert_eq!(instance.to_be_made(), "`provision create --name eval` makes it");
    let _held = instance.lock().unwrap();
    assert!(instance.to_be_made().contains("wait"), "{}", instance.to_be_made());
}

#[test]
fn a_machine_that_another_command_begins_is_left_to_it() {
    let folder = tempfile::tempdir().unwrap();
    let instance = instance(folder.path());
    let held = instance.lock().unwrap();
    let error = instance.lock_seen().unwrap_err();
    assert_eq!(Fault::of(&error).unwrap().cause, Cause::Busy);
    assert!(instance.dir().join(LOCK).exists());
    drop(held);
    std::fs::write(instance.dir().join("disk.qcow2"), "").unwrap();
    instance.lock_seen().unwrap_err();
    assert!(instance.dir().join("disk.qcow2").exists());
}
