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
