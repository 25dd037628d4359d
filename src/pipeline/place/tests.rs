//! Tests of what a machine has before, after and between.

use std::path::Path;

use super::*;
use crate::checkpoint::{Base, Manifest};
use crate::config::{AcceleratorChoice, Ports};
use crate::event::Event;
use crate::fault::Fault;
use crate::key::{Inputs, Key};
use crate::machine::qemu::image;
use crate::paths::Paths;
use crate::process::kill_point;

/// A machine on the first of two checkpoints, which is to get a disk on the second.
struct Place {
    store: Store,
    instance: Instance,
    layers: [Layer; 2],
    identity: Identity,
}

fn layer(store: &Store, text: &str) -> Layer {
    let inputs = Inputs::from([("make".to_owned(), text.to_owned())]);
    let key = Key::derive(Stage::Project, None, &inputs);
    if let Some(layer) = store.get(&key) {
        return layer;
    }
    let disk = store.folder().join("work.qcow2");
    image::create(&disk, 1).unwrap();
    let manifest = Manifest::new(Stage::Project, key, None, inputs, 1.0);
    store.commit(Hypervisor::Qemu, &disk, &manifest).unwrap()
}

impl Place {
    fn at(folder: &Path) -> Self {
        let paths = Paths {
            cache: folder.join("cache"),
            machines: folder.join("machines"),
        };
        let store = Store::open(&paths.cache).unwrap();
        Self {
            layers: ["old", "new"].map(|text| layer(&store, text)),
            instance: Instance::new(&paths, &"eval".parse().unwrap()),
            identity: Identity::load_or_create(&paths.identity("jdoe"), true).unwrap(),
            store,
        }
    }

    fn new(folder: &Path) -> Self {
        let place = Self::at(folder);
        drop(place.instance.lock().unwrap());
        let mut record = Record {
            login: crate::config::Login::try_from("jdoe".to_owned()).unwrap(),
            guest: "debian-13".into(),
            made: jiff::Timestamp::now(),
            phase: Phase::Made,
            layer: None,
            work_layer: None,
            disk_id: None,
            untouched: false,
            imported: false,
            https_port: 8443,
            ssh_port: 2222,
            wanted_ports: Ports::default(),
            cpus: 1,
            memory_mib: 64,
            machine: Hypervisor::Qemu,
            accelerator: None,
            wish: AcceleratorChoice::default(),
            project: "/p".into(),
            restoring: None,
        };
        place.place(0, &mut record).unwrap();
        place
    }

    fn place(&self, layer: usize, record: &mut Record) -> Result<()> {
        self.place_under(Hypervisor::Qemu, layer, record, &Events::ignore())
    }

    fn place_under(&self, hypervisor: Hypervisor, layer: usize, record: &mut Record, events: &Events) -> Result<()> {
        let placing = Placing {
            events,
            instance: &self.instance,
            store: &self.store,
            hypervisor,
            layer: &self.layers[layer],
            identity: &self.identity,
        };
        placing.place(record)
    }

    fn record(&self) -> Record {
        self.instance.require().unwrap()
    }

    fn base(&self, layer: usize) -> Base {
        self.layers[layer].manifest.base.clone()
    }

    /// Whether the machine's disk lies on that checkpoint.
    fn lies_on(&self, layer: usize) -> bool {
        let disk = std::fs::read(self.instance.disk()).unwrap();
        // The path is in the header's cluster.
        let path = self.layers[layer].disk.as_os_str().as_encoded_bytes();
        disk[..4096].windows(path.len()).any(|part| part == path)
    }
}

#[test]
fn a_damaged_snapshot_keeps_the_machine_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let place = Place::new(folder.path());
    let mut record = place.record();
    let damaged = place.instance.dir().join("moments/damaged");
    std::fs::create_dir_all(&damaged).unwrap();
    std::fs::write(damaged.join("moment.json"), "{").unwrap();
    let before = place.record();
    let error = place.place(1, &mut record).unwrap_err();
    let hint = Fault::of(&error).unwrap().hint.clone().unwrap();
    assert!(hint.contains("snapshot rm damaged"), "{hint}");
    assert_eq!((&record, &place.record()), (&before, &before));
    assert!(place.lies_on(0));
}

#[test]
fn every_disk_has_an_id_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let place = Place::new(folder.path());
    let before = place.record();
    place.place(0, &mut place.record()).unwrap();
    let after = place.record();
    assert_eq!(before.layer, after.layer);
    assert!(before.disk_id.is_some() && before.disk_id != after.disk_id);
}

#[test]
fn what_cannot_be_forgotten_of_the_former_disk_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let place = Place::new(folder.path());
    // A disk that cannot be read: nothing is swept then.
    std::fs::create_dir(place.instance.dir().join("moments")).unwrap();
    let kept = moments::keep(&place.instance, &place.record(), &"mine".parse().unwrap(), false).unwrap();
    std::fs::write(kept.moment.folder.join("disk.json"), "{").unwrap();
    let (events, told) = Events::recorder();
    let mut record = place.record();
    place.place_under(Hypervisor::Qemu, 1, &mut record, &events).unwrap();
    let told = told.lock().unwrap();
    assert!(
        told.iter().any(|event| matches!(event, Event::Warning { .. })),
        "{told:?}"
    );
    assert_eq!(place.record().layer, Some(place.base(1)));
    assert!(place.lies_on(1));
}

#[test]
fn snapshots_keep_another_program_from_taking_the_machine() {
    let folder = tempfile::tempdir().unwrap();
    let place = Place::new(folder.path());
    moments::keep(&place.instance, &place.record(), &"mine".parse().unwrap(), false).unwrap();
    let before = place.instance.disk();
    let error = require_possible(&place.instance, Hypervisor::VirtualBox).unwrap_err();
    assert_eq!(Fault::of(&error).unwrap().cause, Cause::Usage);
    assert!(before.exists());
    require_possible(&place.instance, Hypervisor::Qemu).unwrap();
    let mut record = place.record();
    moments::remove(
        &Events::ignore(),
        &place.instance,
        &mut record,
        &"mine".parse().unwrap(),
    )
    .unwrap();
    require_possible(&place.instance, Hypervisor::VirtualBox).unwrap();
}

#[test]
fn nothing_of_a_machine_is_left_for_another_program_to_find() {
    let folder = tempfile::tempdir().unwrap();
    let place = Place::new(folder.path());
    moments::keep(&place.instance, &place.record(), &"mine".parse().unwrap(), false).unwrap();
    let (home, others) = (place.instance.home(), Hypervisor::VirtualBox.driver());
    home.remove().unwrap();
    std::fs::create_dir(others.disk_in(&home.folder)).unwrap();
    assert_eq!(Hypervisor::of(&home.folder), Hypervisor::VirtualBox);
}

#[test]
fn what_a_snapshot_lies_on_is_not_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let place = Place::new(folder.path());
    moments::keep(&place.instance, &place.record(), &"mine".parse().unwrap(), false).unwrap();
    // As an older version left it after another program had run the machine.
    std::fs::remove_file(place.instance.dir().join("disk")).unwrap();
    let frozen = std::fs::read(place.instance.disk()).unwrap();
    place.place(1, &mut place.record()).unwrap();
    assert!(place.lies_on(1));
    assert_eq!(std::fs::read(place.instance.dir().join("disk.qcow2")).unwrap(), frozen);
}

/// What `the_record_fits_the_disk_wherever_a_kill_hits` kills.
#[test]
#[ignore = "a process of its own, which is killed"]
fn killed_at_its_work() {
    let folder = kill_point::testing::given().expect("the test that kills it tells where");
    let place = Place::at(Path::new(&folder));
    place.place(1, &mut place.record()).unwrap();
}

#[test]
fn the_record_fits_the_disk_wherever_a_kill_hits() {
    let mut at = 1;
    loop {
        let folder = tempfile::tempdir().unwrap();
        drop(Place::new(folder.path()));
        let given = folder.path().to_string_lossy();
        let killed = kill_point::testing::run_killed("pipeline::place::tests::killed_at_its_work", &given, at);
        let place = Place::at(folder.path());
        let mut record = place.record();
        match &record.layer {
            Some(base) => assert!(
                (0..2).any(|it| *base == place.base(it) && place.lies_on(it)),
                "point {at}"
            ),
            None => assert!(at > 1, "the machine was left before it was touched"),
        }
        place.place(1, &mut record).unwrap();
        assert!(place.lies_on(1), "point {at}");
        if !killed {
            break;
        }
        at += 1;
    }
    assert!(at > 3, "there are more points than {at}");
}
