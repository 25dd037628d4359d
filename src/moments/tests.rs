//! Tests of kept moments of a machine that is off, of what interrupted commands leave, and of the order of removals.

use std::path::Path;

use super::*;
use crate::config::{AcceleratorChoice, Ports};
use crate::event::Stage;
use crate::key::{Inputs, Key};
use crate::machine::driver::Hypervisor;
use crate::machine::qemu::arguments::Size;
use crate::machine::qemu::image;
use crate::paths::Paths;
use crate::process::{self, CommandLine, kill_point};

const LIMIT: std::time::Duration = std::time::Duration::from_secs(60);

/// A made machine that is off.
struct Machine {
    folder: Option<tempfile::TempDir>,
    instance: Instance,
    record: Record,
}

impl Machine {
    /// The one in a folder of [`Machine::new`].
    fn at(folder: &Path) -> Self {
        let instance = instance(folder);
        let record = instance.require().unwrap();
        Self {
            folder: None,
            instance,
            record,
        }
    }

    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let instance = instance(folder.path());
        drop(instance.lock().unwrap());
        image::create(&instance.disk(), 1).unwrap();
        Identity::load_or_create(&instance.identity(), true).unwrap();
        let record = Record {
            login: crate::config::Login::try_from("jdoe".to_owned()).unwrap(),
            guest: "debian-13".into(),
            made: jiff::Timestamp::now(),
            phase: Phase::Made,
            layer: None,
            work_layer: None,
            imported: true,
            https_port: 8443,
            ssh_port: 2222,
            wanted_ports: Ports::default(),
            cpus: 1,
            memory_mib: 64,
            machine: Hypervisor::Qemu,
            accelerator: None,
            wish: AcceleratorChoice::default(),
            project: "/p".into(),
            disk_id: None,
            untouched: false,
            restoring: None,
        };
        instance.remember(&record).unwrap();
        Self {
            folder: Some(folder),
            instance,
            record,
        }
    }

    /// Writes `text` to the beginning of its disk, as its guest would.
    fn write(&self, text: &str) {
        let io = CommandLine::new(
            "qemu-io",
            ["-f", "qcow2", "-c", &format!("write -P {} 0 512", text.as_bytes()[0])],
        );
        process::run(&io.arg(self.instance.disk()), LIMIT, &crate::cancel::Cancel::default()).unwrap();
    }

    /// Whether `text` is what was written last.
    fn holds(&self, text: &str) -> bool {
        let pattern = format!("read -P {} 0 512", text.as_bytes()[0]);
        let io = CommandLine::new("qemu-io", ["-f", "qcow2", "-c", &pattern]).arg(self.instance.disk());
        let read = process::run_any(&io, LIMIT, &crate::cancel::Cancel::default()).unwrap();
        let said = String::from_utf8_lossy(&read.stdout).into_owned();
        read.status.success() && !said.contains("Pattern verification failed")
    }

    fn keep(&self, name: &str) -> Result<Kept> {
        keep(&self.instance, &self.record, &name.parse().unwrap(), true)
    }

    fn settle(&mut self) {
        settle(&Events::ignore(), &self.instance, &mut self.record).unwrap();
    }

    fn remove(&mut self, name: &str) -> Result<()> {
        remove(
            &Events::ignore(),
            &self.instance,
            &mut self.record,
            &name.parse().unwrap(),
        )
    }

    /// Begins a restore as a command does that is killed then.
    fn begin(&mut self, name: &str) {
        let kept = find(&self.instance, &name.parse().unwrap()).unwrap();
        restore::begin(&self.instance, &mut self.record, &kept).unwrap();
    }

    /// A restore as far as there is no machine to be started.
    fn restore(&mut self, name: &str) {
        tidy(&Events::ignore(), &self.instance);
        let kept = find(&self.instance, &name.parse().unwrap()).unwrap();
        restore::require_whole(&self.instance, &kept).unwrap();
        self.begin(name);
        restore::complete(&self.instance, &mut self.record).unwrap();
    }

    fn names(&self) -> Vec<String> {
        all(&self.instance)
            .unwrap()
            .into_iter()
            .map(|kept| kept.folder)
            .collect()
    }
}

fn paths(folder: &Path) -> Paths {
    Paths {
        cache: folder.join("cache"),
        machines: folder.join("machines"),
    }
}

fn instance(folder: &Path) -> Instance {
    Instance::new(&paths(folder), &"eval".parse().unwrap())
}

fn entries(folder: &Path) -> usize {
    std::fs::read_dir(folder).unwrap().count()
}

#[test]
fn a_machine_that_is_off_goes_back_and_forth() {
    let mut machine = Machine::new();
    machine.write("a");
    let first = machine.keep("first").unwrap();
    assert!(!first.manifest.ran && !first.manifest.memory);
    machine.write("b");
    machine.keep("second").unwrap();
    machine.write("c");
    assert_eq!(machine.names(), ["first", "second"]);
    machine.restore("first");
    assert!(machine.holds("a"));
    machine.write("x");
    machine.restore("second");
    assert!(machine.holds("b"));
    machine.restore("first");
    assert!(
        machine.holds("a"),
        "what was written after a restore is not in what was kept"
    );
    // The one under the other goes first.
    machine.remove("first").unwrap();
    machine.restore("second");
    assert!(machine.holds("b"));
    machine.remove("second").unwrap();
    assert!(machine.holds("b") && machine.names().is_empty());
    let error = machine.remove("second").unwrap_err();
    assert_eq!(Fault::of(&error).unwrap().cause, Cause::Usage);
}

#[test]
fn a_name_is_given_once() {
    let machine = Machine::new();
    machine.write("a");
    machine.keep("same").unwrap();
    machine.write("b");
    let error = machine.keep("same").unwrap_err();
    assert_eq!(Fault::of(&error).unwrap().cause, Cause::Usage);
    assert!(Fault::of(&error).unwrap().hint.is_some());
    assert!(machine.holds("b"));
    assert_eq!(machine.names(), ["same"]);
}

#[test]
fn what_interrupted_commands_left_is_removed_and_a_restore_completed() {
    let mut machine = Machine::new();
    machine.write("a");
    machine.keep("kept").unwrap();
    machine.write("b");
    // Killed while one was being kept: its folder and the disk of the machine are there.
    let half = home(&machine.instance).join(".new-0123");
    std::fs::create_dir(&half).unwrap();
    std::fs::write(half.join("memory"), "half of it").unwrap();
    let moment = Moment {
        id: "0123".into(),
        folder: half.clone(),
    };
    machine.instance.home().keep_moment(&moment, true).unwrap();
    // Killed while one was being removed.
    let gone = home(&machine.instance).join(".gone-4567");
    std::fs::create_dir(&gone).unwrap();
    // Killed once a restore was begun.
    let kept = find(&machine.instance, &"kept".parse().unwrap()).unwrap();
    restore::begin(&machine.instance, &mut machine.record, &kept).unwrap();
    assert!(machine.holds("b"));
    machine.record = machine.instance.require().unwrap();
    machine.settle();
    assert!(machine.holds("a"));
    assert!(!half.exists() && !gone.exists());
    assert_eq!(machine.instance.require().unwrap().restoring, None);
    assert_eq!(machine.names(), ["kept"]);
    // The kept disk, and the machine's on top of it.
    let disks = std::fs::read_dir(machine.instance.dir()).unwrap().flatten();
    let disks = disks.filter(|entry| entry.path().extension().is_some_and(|it| it == "qcow2"));
    assert_eq!(disks.count(), 2);
}

#[test]
fn a_restore_that_ended_is_not_done_again() {
    let mut machine = Machine::new();
    machine.write("a");
    machine.keep("kept").unwrap();
    machine.restore("kept");
    machine.write("b");
    machine.settle();
    assert!(machine.holds("b"));
}

#[test]
fn a_damaged_snapshot_is_told_and_can_be_removed() {
    let mut machine = Machine::new();
    machine.write("a");
    let kept = machine.keep("kept").unwrap();
    machine.keep("whole").unwrap();
    std::fs::write(kept.moment.folder.join(MANIFEST), "{").unwrap();
    let error = all(&machine.instance).unwrap_err();
    assert!(
        Fault::of(&error)
            .unwrap()
            .hint
            .as_ref()
            .unwrap()
            .contains("snapshot rm kept")
    );
    bases(&machine.instance).unwrap_err();
    let before = entries(machine.instance.dir());
    // Nothing is removed while it is not known what it needs.
    machine.settle();
    assert_eq!(entries(machine.instance.dir()), before);
    machine.remove("kept").unwrap();
    machine.restore("whole");
    assert!(machine.holds("a"));
}

#[test]
fn the_checkpoints_under_moments_are_needed() {
    let mut machine = Machine::new();
    let key = Key::derive(Stage::Project, None, &Inputs::new());
    let base = Base { key, id: "00".into() };
    machine.record.layer = Some(base.clone());
    machine.keep("kept").unwrap();
    machine.record.layer = None;
    assert_eq!(bases(&machine.instance).unwrap(), [base]);
    remove_all(&machine.instance).unwrap();
    assert!(bases(&machine.instance).unwrap().is_empty());
}

#[test]
fn another_making_of_the_machine_keeps_the_snapshots() {
    let mut machine = Machine::new();
    machine.write("a");
    machine.keep("kept").unwrap();
    let new = machine.instance.dir().join("made.qcow2");
    image::create(&new, 1).unwrap();
    let driver = Hypervisor::Qemu.driver();
    driver.replace(&new, &machine.instance.disk(), "eval").unwrap();
    assert!(!machine.holds("a"));
    machine.settle();
    machine.restore("kept");
    assert!(machine.holds("a"));
}

#[test]
fn a_moment_without_its_disk_or_its_keys_is_told_before_anything_changes() {
    let machine = Machine::new();
    for (name, file) in [("disk", "disk.json"), ("keys", IDENTITY)] {
        let kept = machine.keep(name).unwrap();
        restore::require_whole(&machine.instance, &kept).unwrap();
        let (file, gone) = (kept.moment.folder.join(file), kept.moment.folder.join("gone"));
        std::fs::rename(file, gone).unwrap();
        let error = restore::require_whole(&machine.instance, &kept).unwrap_err();
        let hint = Fault::of(&error).unwrap().hint.clone().unwrap();
        assert!(hint.contains(&format!("snapshot rm {name}")), "{hint}");
    }
    let kept = machine.keep("chain").unwrap();
    std::fs::remove_file(machine.instance.dir().join("disk.qcow2")).unwrap();
    restore::require_whole(&machine.instance, &kept).unwrap_err();
}

#[test]
fn a_restore_that_cannot_be_completed_locks_nothing() {
    let mut machine = Machine::new();
    machine.write("a");
    machine.keep("whole").unwrap();
    let lost = machine.keep("lost").unwrap();
    machine.begin("lost");
    std::fs::remove_dir_all(lost.identity()).unwrap();
    let error = settle(&Events::ignore(), &machine.instance, &mut machine.record).unwrap_err();
    assert!(Fault::of(&error).unwrap().hint.is_some());
    // Another takes its place.
    machine.write("b");
    machine.restore("whole");
    assert!(machine.holds("a"));
    machine.settle();
    // It is removed: the machine may have either disk.
    machine.begin("lost");
    machine.remove("lost").unwrap();
    let record = machine.instance.require().unwrap();
    assert_eq!((record.restoring, record.layer), (None, None));
    assert_ne!(record.phase, Phase::Made);
    machine.settle();
    machine.restore("whole");
    assert!(machine.holds("a"));
    // One that can be completed is, before its snapshot goes.
    machine.write("b");
    machine.begin("whole");
    machine.remove("whole").unwrap();
    assert!(machine.holds("a"));
    assert_eq!(machine.instance.require().unwrap().restoring, None);
}

#[test]
fn a_disk_that_lies_on_nobody_knows_what_is_not_kept() {
    let mut machine = Machine::new();
    machine.record.imported = false;
    let error = machine.keep("lost").unwrap_err();
    assert_eq!(Fault::of(&error).unwrap().cause, Cause::Usage);
    assert!(machine.names().is_empty());
}

#[test]
fn how_another_disk_on_the_same_checkpoint_was_left_is_not_how_this_one_was() {
    let mut machine = Machine::new();
    let key = Key::derive(Stage::Project, None, &Inputs::new());
    machine.record.layer = Some(Base { key, id: "00".into() });
    machine.record.disk_id = Some("01".into());
    let kept = keep_as(&machine.instance, &machine.record, ".created-0123", false).unwrap();
    assert!(created::is_of(&kept, &machine.record));
    machine.record.disk_id = Some("02".into());
    assert!(!created::is_of(&kept, &machine.record));
}

#[test]
fn only_a_memory_of_this_very_machine_makes_it_clean() {
    let mut machine = Machine::new();
    let key = Key::derive(Stage::Project, None, &Inputs::new());
    machine.record.layer = Some(Base { key, id: "00".into() });
    machine.record.disk_id = Some("01".into());
    machine.record.untouched = true;
    let size = |cpus| Size { cpus, memory_mib: 64 };
    let found = |machine: &Machine, size| {
        let found = created_with_memory(&machine.instance, &machine.record, size);
        found.unwrap().map(|kept| kept.folder)
    };
    let kept = keep_as(&machine.instance, &machine.record, ".created-0123", false).unwrap();
    assert_eq!(found(&machine, size(1)), None, "it has no memory");
    // A machine that is off has none to keep.
    let manifest = kept.moment.folder.join(MANIFEST);
    let text = std::fs::read_to_string(&manifest).unwrap();
    std::fs::write(&manifest, text.replace("\"memory\": false", "\"memory\": true")).unwrap();
    assert_eq!(found(&machine, size(1)).as_deref(), Some(".created-0123"));
    assert_eq!(found(&machine, size(2)), None);
    machine.record.disk_id = Some("02".into());
    assert_eq!(found(&machine, size(1)), None);
    machine.record.disk_id = Some("01".into());
    // What a later run kept may hold what the user did meanwhile.
    let text = std::fs::read_to_string(&manifest).unwrap();
    std::fs::write(&manifest, text.replace("\"untouched\": true", "\"untouched\": false")).unwrap();
    assert_eq!(found(&machine, size(1)), None);
    std::fs::write(&manifest, text).unwrap();
    // Where something is missing of it, the machine gets an empty disk.
    std::fs::remove_dir_all(kept.identity()).unwrap();
    assert_eq!(found(&machine, size(1)), None);
}

/// What `snapshots_are_whole_wherever_a_kill_hits` kills. What a snapshot's name begins with is what its disk holds.
#[test]
#[ignore = "a process of its own, which is killed"]
fn killed_at_its_work() {
    let folder = kill_point::testing::given().expect("the test that kills it tells where");
    let mut machine = Machine::at(Path::new(&folder));
    machine.write("a");
    machine.keep("a").unwrap();
    machine.write("b");
    machine.keep("b").unwrap();
    machine.restore("a");
    machine.remove("b").unwrap();
}

/// Whether `gc` finds an unfinished snapshot in the folder of a machine.
fn found_by_gc(folder: &Path) -> bool {
    let found = crate::gc::search(&paths(folder), &Events::ignore(), false).unwrap();
    found.iter().any(|leftover| leftover.kind == "unfinished snapshot")
}

#[test]
fn snapshots_are_whole_wherever_a_kill_hits() {
    let mut at = 1;
    loop {
        let made = Machine::new();
        let folder = made.folder.as_ref().unwrap().path();
        let killed =
            kill_point::testing::run_killed("moments::tests::killed_at_its_work", &folder.to_string_lossy(), at);
        let mut machine = Machine::at(folder);
        let unfinished = !unfinished(&machine.instance).unwrap().is_empty();
        assert_eq!(found_by_gc(folder), unfinished, "point {at}");
        machine.settle();
        let rubbish = folders(&machine.instance).unwrap();
        assert!(rubbish.iter().all(|(name, _)| !is_rubbish(name)), "point {at}");
        for name in machine.names() {
            machine.restore(&name);
            assert!(machine.holds(&name[..1]), "point {at}: {name}");
        }
        for name in machine.names() {
            machine.remove(&name).unwrap();
        }
        machine.keep("z").unwrap();
        if !killed {
            break;
        }
        at += 1;
    }
    assert!(at > 20, "there are more points than {at}");
}
