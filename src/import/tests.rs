//! Tests of what an import in place of another machine leaves where it is killed.

use super::convert::unreadable;
use super::*;
use crate::checkpoint::{Base, Store};
use crate::key::{Inputs, Key};
use crate::machine::qemu::convert::map;
use crate::machine::qemu::image;
use crate::moments;
use crate::process::kill_point;

fn paths(folder: &Path) -> Paths {
    Paths {
        cache: folder.join("cache"),
        machines: folder.join("machines"),
    }
}

fn name() -> MachineName {
    "eval".parse().unwrap()
}

/// A machine that was made from a project, with a snapshot.
fn made(folder: &Path) -> Instance {
    let instance = Instance::new(&paths(folder), &name());
    drop(instance.lock().unwrap());
    image::create(&instance.disk(), 1).unwrap();
    let key = Key::derive(Stage::Project, None, &Inputs::new());
    let record = Record {
        login: Login::try_from("former".to_owned()).unwrap(),
        guest: "debian-13".into(),
        made: jiff::Timestamp::now(),
        phase: Phase::Made,
        layer: Some(Base { key, id: "00".into() }),
        work_layer: None,
        disk_id: None,
        untouched: false,
        imported: false,
        https_port: 0,
        ssh_port: 0,
        wanted_ports: Ports::default(),
        cpus: 1,
        memory_mib: 64,
        machine: Hypervisor::Qemu,
        accelerator: None,
        wish: AcceleratorChoice::default(),
        project: "/p".into(),
        restoring: None,
    };
    Identity::load_or_create(&instance.identity(), true).unwrap();
    instance.remember(&record).unwrap();
    moments::keep(&instance, &record, &"mine".parse().unwrap(), false).unwrap();
    fs::write(instance.dir().join("manifest.json"), "{}").unwrap();
    instance
}

/// What an import does once the image is converted.
fn replace(folder: &Path) -> Record {
    let instance = Instance::new(&paths(folder), &name());
    let _lock = instance.lock().unwrap();
    let made = instance.new_work_dir(Stage::Import).unwrap().join("disk.qcow2");
    image::create(&made, 1).unwrap();
    let record = Record {
        login: Login::try_from("jdoe".to_owned()).unwrap(),
        guest: "imported".into(),
        phase: Phase::Made,
        layer: None,
        imported: true,
        ..instance.require().unwrap()
    };
    let identity = Identity::load(&instance.identity()).unwrap();
    put_in_place(&instance, &made, &identity, &record).unwrap();
    record
}

#[test]
fn an_interruption_is_no_damage() {
    let cancel = Cancel::default();
    cancel.raise();
    let image = Path::new("/nowhere.qcow2");
    let damaged = || Fault::new(Cause::Verification, "it is damaged");
    let error = unreadable(map(image, "qcow2", &cancel).unwrap_err(), damaged());
    assert_eq!(Fault::exit_code(&error), 130, "{error:#}");
    let error = Cancel::in_vain(error.context("importing"), "no machine was made");
    let fault = Fault::of(&error).unwrap();
    let hint = fault.hint.as_deref().unwrap();
    assert!(
        fault.cause == Cause::Interrupted && hint.starts_with("no machine was made"),
        "{hint}"
    );
    let error = unreadable(map(image, "qcow2", &Cancel::default()).unwrap_err(), damaged());
    assert_eq!(Fault::exit_code(&error), 5, "{error:#}");
}

#[test]
fn an_import_that_has_just_ended_is_not_swept_away() {
    let place = tempfile::tempdir().unwrap();
    let instance = made(place.path());
    let record = instance.require().unwrap();
    // So it is while it is imported.
    fs::remove_file(instance.dir().join("machine.json")).unwrap();
    let work = instance.new_work_dir(Stage::Import).unwrap();
    let lock = instance.lock().unwrap();
    std::thread::scope(|scope| {
        let paths = paths(place.path());
        let swept = scope.spawn(move || sweep(&paths, &Instance::new(&paths, &"other".parse().unwrap())));
        // Time for the other to see what is left, and to wait for the lock; nothing tells that it does.
        std::thread::sleep(std::time::Duration::from_millis(50));
        instance.remember(&record).unwrap();
        fs::remove_dir_all(&work).unwrap();
        drop(lock);
        swept.join().unwrap().unwrap();
    });
    assert!(instance.require().is_ok() && instance.disk().exists());
}

/// What `a_foreign_disk_never_has_the_former_record` kills.
#[test]
#[ignore = "a process of its own, which is killed"]
fn killed_at_its_work() {
    let folder = kill_point::testing::given().expect("the test that kills it tells where");
    replace(Path::new(&folder));
}

#[test]
fn a_foreign_disk_never_has_the_former_record() {
    let mut at = 1;
    loop {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path();
        let instance = made(folder);
        let given = folder.to_string_lossy();
        let killed = kill_point::testing::run_killed("import::tests::killed_at_its_work", &given, at);
        let record = instance.require().unwrap();
        assert!(record.imported, "point {at}: {record:?}");
        assert!(!instance.dir().join("manifest.json").exists(), "point {at}");
        let store = Store::open(&paths(folder).cache).unwrap();
        let startable = operate::require_disk(&instance, &store, &record);
        if !killed {
            startable.unwrap();
            break;
        }
        let error = startable.unwrap_err();
        let hint = Fault::of(&error).unwrap().hint.clone().unwrap();
        assert!(hint.contains("import --force"), "point {at}: {hint}");
        let record = replace(folder);
        operate::require_disk(&instance, &store, &record).unwrap();
        at += 1;
    }
    assert!(at > 3, "there are more points than {at}");
}
