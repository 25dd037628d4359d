//! Versions, and calls that fail, stall or may be repeated.

use std::time::Instant;

use super::super::testing::World;
use super::*;

#[test]
fn versions_are_read_after_warnings() {
    let warning = "WARNING: The vboxdrv kernel module is not loaded. Either there is no module\n         available for the current kernel (6.1.0-28) or it failed to\n         load. Please recompile the kernel module\n6.1.50r161033\n";
    for (printed, expected) in [
        ("7.2.22_Debianr175245\n", Some(Version::new(7, 2))),
        ("7.0.14_Ubuntur161095\n", Some(Version::new(7, 0))),
        (warning, Some(Version::new(6, 1))),
        ("10.0.0r1\n", Some(Version::new(10, 0))),
        ("VBoxManage: not found\n", None),
        ("", None),
    ] {
        assert_eq!(Version::parse(printed), expected, "{printed}");
    }
    assert!(Version::new(6, 0) < Version::LEAST && Version::LEAST < Version::new(7, 0));
}

#[test]
fn the_real_one_is_of_a_version_that_serves() {
    let world = World::new();
    assert!(world.vbox.version() >= Version::LEAST);
}

#[test]
fn a_wrong_value_is_refused_with_its_own_message() {
    let world = World::new();
    let error = world
        .vbox
        .change(vec!["modifyvm".into(), "nobody".into(), "--cpus".into(), "1".into()])
        .unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("VBoxManage modifyvm: Could not find a registered machine named 'nobody'"),
        "{error}"
    );
}

#[test]
fn one_that_is_too_old_or_not_whole_is_the_hosts_fault() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("VBoxManage");
    process::testing::write_program(&program, "#!/bin/sh\necho 5.2.44r139111\n");
    let find = || VBoxManage::at(&program, Vec::new(), &Cancel::default()).unwrap_err();
    if process::find("VBoxHeadless").is_none() {
        let error = find();
        assert!(error.to_string().contains("VBoxHeadless is not beside"), "{error}");
    }
    std::fs::write(folder.path().join("VBoxHeadless"), "").unwrap();
    let error = find();
    let fault = Fault::of(&error).unwrap();
    assert_eq!(fault.cause, Cause::HostMissing);
    assert!(fault.message.contains("5.2") && fault.hint.is_some(), "{fault}");
}

#[test]
fn a_service_that_stalls_is_asked_again_but_not_told_again() {
    let world = World::new();
    world.vbox.ask(vec!["list".into(), "vms".into()]).unwrap();
    let limit = Duration::from_secs(2);
    let hasty = world.vbox.clone().limited(limit);
    let begun = Instant::now();
    let error = world
        .while_stopped(|| hasty.change(vec!["createvm".into(), "--name".into(), "x".into()]))
        .unwrap_err();
    let once = begun.elapsed();
    assert_eq!(Fault::of(&error).unwrap().cause, Cause::Timeout);
    assert!(
        error.to_string().contains("VBoxManage createvm did not end within 2s"),
        "{error}"
    );
    assert!(once < limit * 2, "{once:?}");

    let begun = Instant::now();
    world
        .while_stopped(|| hasty.ask(vec!["list".into(), "vms".into()]))
        .unwrap_err();
    assert!(begun.elapsed() >= limit * 2);
}

#[test]
fn one_that_goes_on_in_between_is_heard() {
    let world = World::new();
    world.vbox.ask(vec!["list".into(), "vms".into()]).unwrap();
    // More than the ten seconds for which the service itself stalls now and then (see LIMIT).
    let limit = Duration::from_secs(20);
    let hasty = world.vbox.clone().limited(limit);
    let begun = Instant::now();
    let told = world.stopped_for(limit + Duration::from_secs(1), || {
        hasty.ask(vec!["list".into(), "vms".into()])
    });
    told.unwrap();
    assert!(begun.elapsed() >= limit, "it was not asked again");
}

#[test]
fn who_wants_to_stop_need_not_wait_for_an_answer() {
    let world = World::new();
    world.vbox.ask(vec!["list".into(), "vms".into()]).unwrap();
    let begun = Instant::now();
    let error = world
        .while_stopped(|| {
            let cancel = world.vbox.cancel().clone();
            std::thread::scope(|scope| {
                scope.spawn(move || {
                    std::thread::sleep(Duration::from_millis(300));
                    cancel.raise();
                });
                world.vbox.ask(vec!["list".into(), "vms".into()])
            })
        })
        .unwrap_err();
    assert_eq!(Fault::of(&error).unwrap().cause, Cause::Interrupted);
    assert!(begun.elapsed() < Duration::from_secs(20));
    // Cleaning up still works.
    world.vbox.unstoppable().ask(vec!["list".into(), "vms".into()]).unwrap();
}
