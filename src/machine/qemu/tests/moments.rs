//! Tests of kept moments against real machines, whose guest counts on its console, in its memory and on its disk.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::super::memory::Kept;
use super::super::testing::{COUNTS, Guest, LIMIT, eventually};
use super::super::{disks, graph, image, migration, moments, qmp, resume};
use super::Small;
use crate::cancel::Cancel;
use crate::fault::{Cause, Fault};
use crate::machine::driver::{Home, Moment};
use crate::machine::{Machine as _, StaleMemory};
use crate::process::{self, CommandLine, kill_point};

/// The folder of a machine; each of its guests has a run folder of its own.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn folder(&self) -> &Path {
        self.0.path()
    }

    fn home(&self, guest: &Guest) -> Home {
        Home {
            folder: self.folder().to_owned(),
            run_dir: guest.dir().to_owned(),
        }
    }

    /// The machine while it is off.
    fn off(&self) -> Home {
        Home::of_stage(self.folder())
    }

    fn active(&self) -> PathBuf {
        disks::active(self.folder())
    }

    fn moment(&self, id: &str) -> Moment {
        let folder = self.folder().join(id);
        std::fs::create_dir(&folder).unwrap();
        Moment { id: id.into(), folder }
    }

    /// A guest that has counted a little.
    fn counting(&self) -> Guest {
        let guest = Guest::start_on(COUNTS, tempfile::tempdir().unwrap(), &self.active());
        counts_on(&guest);
        guest
    }

    /// The same, whose disk may be there.
    fn start_counting(&self) -> Guest {
        if !self.active().exists() {
            return self.counting();
        }
        let guest = self.start(None);
        counts_on(&guest);
        guest
    }

    /// The same machine again.
    fn start(&self, memory: Option<&Path>) -> Guest {
        Guest::start_again(tempfile::tempdir().unwrap(), &self.active(), memory)
    }

    /// Goes on from a moment's memory.
    fn go_on_from(&self, moment: &Moment) -> anyhow::Result<Guest> {
        let mut guest = self.start(Some(&moment.folder));
        let run_dir = guest.dir().to_owned();
        Kept::find(&moment.folder, &guest.hardware())?.load(&run_dir, || {
            anyhow::ensure!(!guest.has_ended(), "QEMU has ended");
            Ok(())
        })?;
        qmp::go_on(&run_dir)?;
        Ok(guest)
    }

    fn disks(&self) -> usize {
        let entries = std::fs::read_dir(self.folder()).unwrap().flatten();
        let disks = entries.filter(|entry| entry.file_name().to_string_lossy().ends_with(".qcow2"));
        disks.count()
    }
}

/// The letter that lies on the disk.
fn on_disk(disk: &Path) -> char {
    let raw = disk.with_extension("look");
    let line = CommandLine::new("qemu-img", ["convert", "-f", "qcow2", "-O", "raw"]);
    process::run(&line.arg(disk).arg(&raw), LIMIT, &Cancel::default()).unwrap();
    let letter = char::from(std::fs::read(&raw).unwrap()[1024]);
    std::fs::remove_file(raw).unwrap();
    letter
}

fn sound(disk: &Path) {
    let line = CommandLine::new("qemu-img", ["check", "-q"]).arg(disk);
    process::run(&line, LIMIT, &Cancel::default()).unwrap();
}

fn after(letter: char) -> char {
    if letter == 'z' {
        'a'
    } else {
        char::from(letter as u8 + 1)
    }
}

/// The letters of a console; before them there may be what the firmware says.
fn counted(guest: &Guest) -> String {
    guest.console().chars().filter(char::is_ascii_lowercase).collect()
}

fn counts_on(guest: &Guest) {
    let before = counted(guest).len();
    eventually("the guest to count on", || counted(guest).len() > before + 2);
}

#[test]
fn a_machine_goes_on_from_the_very_moment() {
    let place = Place::new();
    let mut guest = place.counting();
    let (kept, frozen) = (place.moment("a1"), place.active());
    assert!(guest.machine().activity().unwrap().disk_written > 0);
    assert!(moments::keep(&place.home(&guest), &kept, true).unwrap());
    counts_on(&guest);
    assert_eq!(graph::written(guest.dir()).unwrap().file, place.active());
    assert_ne!(place.active(), frozen);
    guest.kill();
    let letter = on_disk(&frozen);
    let manifest = std::fs::read_to_string(kept.folder.join("memory.json")).unwrap();
    assert!(manifest.contains("\"mapped\": true"), "{manifest}");
    let mode = std::fs::metadata(kept.folder.join("memory")).unwrap().permissions();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode) & 0o777, 0o600);

    // What was written since is gone, and the guest goes on where it was; twice.
    for _ in 0..2 {
        moments::go_back(&place.off(), &kept).unwrap();
        let mut guest = place.go_on_from(&kept).unwrap();
        counts_on(&guest);
        let first = counted(&guest).chars().next().unwrap();
        let next = after(letter);
        assert!(
            [letter, next, after(next)].contains(&first),
            "{letter} was on the disk, {first} came next"
        );
        // A second moment on top of the first.
        let second = place.moment("b2");
        assert!(moments::keep(&place.home(&guest), &second, true).unwrap());
        counts_on(&guest);
        guest.kill();
        sound(&place.active());
        std::fs::remove_dir_all(second.folder).unwrap();
        moments::sweep(&place.off(), std::slice::from_ref(&kept)).unwrap();
    }
    assert_eq!(on_disk(&frozen), letter, "what was kept is as it was");
}

/// As QEMU did before 9.0.
#[test]
fn where_pages_cannot_be_mapped_the_memory_is_a_stream() {
    let place = Place::new();
    let mut guest = place.counting();
    let kept = place.moment("a1");
    let file = kept.folder.join("memory");
    std::fs::File::create(&file).unwrap();
    qmp::pause(guest.dir()).unwrap();
    migration::save_as(guest.dir(), &file, false).unwrap();
    let last = counted(&guest).chars().last().unwrap();
    guest.kill();
    let guest = place.start(Some(&kept.folder));
    migration::load(guest.dir(), &file, false, || Ok(())).unwrap();
    qmp::go_on(guest.dir()).unwrap();
    counts_on(&guest);
    let first = counted(&guest).chars().next().unwrap();
    assert!([last, after(last)].contains(&first), "{last}, then {first}");
}

#[test]
fn a_moment_without_memory_is_a_disk() {
    let place = Place::new();
    let mut guest = place.counting();
    let running = place.moment("a1");
    assert!(!moments::keep(&place.home(&guest), &running, false).unwrap());
    counts_on(&guest);
    guest.kill();
    let off = place.moment("b2");
    let last = on_disk(&place.active());
    assert!(
        !moments::keep(&place.off(), &off, true).unwrap(),
        "one that is off has no memory"
    );
    moments::go_back(&place.off(), &running).unwrap();
    moments::go_back(&place.off(), &off).unwrap();
    assert_eq!(on_disk(&place.active()), last);
    let guest = place.start(None);
    counts_on(&guest);
    assert!(counted(&guest).starts_with('a'), "it booted");
}

#[test]
fn what_others_lie_on_stays_in_whatever_order_moments_go() {
    for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2], [1, 2, 0]] {
        let place = Place::new();
        image::create(&place.active(), 1).unwrap();
        let all = ["a1", "b2", "c3"].map(|id| {
            let moment = place.moment(id);
            moments::keep(&place.off(), &moment, false).unwrap();
            moment
        });
        // The machine goes on from the middle one.
        moments::go_back(&place.off(), &all[1]).unwrap();
        let mut kept = all.to_vec();
        for gone in order {
            std::fs::remove_dir_all(&all[gone].folder).unwrap();
            kept.retain(|moment| moment.id != all[gone].id);
            moments::sweep(&place.off(), &kept).unwrap();
            sound(&place.active());
            for moment in &kept {
                moments::go_back(&place.off(), moment).unwrap();
                sound(&place.active());
            }
        }
        assert!(place.disks() <= 4, "{}", place.disks());
    }
}

#[test]
fn a_memory_that_does_not_fit_is_told_and_the_machine_boots() {
    let place = Place::new();
    let mut guest = place.counting();
    let kept = place.moment("a1");
    moments::keep(&place.home(&guest), &kept, true).unwrap();
    guest.kill();
    let (memory, manifest) = (kept.folder.join("memory"), kept.folder.join("memory.json"));
    let whole = std::fs::read_to_string(&manifest).unwrap();
    let stale = |reason: &str| {
        let error = place.go_on_from(&kept).err().expect("it does not fit");
        assert!(error.to_string().contains(reason), "{error:#}");
        error.is::<StaleMemory>()
    };
    std::fs::write(&manifest, whole.replace("\"qemu\": \"", "\"qemu\": \"1.")).unwrap();
    assert!(stale("it was kept by QEMU 1."));
    std::fs::write(&manifest, whole.replace("\"cpus\": 1", "\"cpus\": 2")).unwrap();
    assert!(stale("CPUs: 2"));
    std::fs::write(&manifest, &whole).unwrap();
    let open = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(&memory)
        .unwrap();
    let length = open.metadata().unwrap().len();
    open.set_len(length - 4096).unwrap();
    assert!(stale("damaged"));
    open.set_len(length).unwrap();
    assert!(stale("damaged"), "the end is a hole now");
    moments::go_back(&place.off(), &kept).unwrap();
    let guest = place.start(None);
    counts_on(&guest);
    assert!(counted(&guest).starts_with('a'), "it booted");
}

#[test]
fn a_disk_too_small_for_the_memory_costs_the_machine_nothing() {
    let outside = tempfile::tempdir().unwrap();
    let Some(small) = Small::new(&outside.path().join("small")) else {
        eprintln!("SKIPPED: a full disk needs mount(8), and the tests may not use it here");
        return;
    };
    std::fs::write(small.0.join("filler"), vec![1; 900 << 10]).unwrap();
    let place = Place::new();
    let guest = place.counting();
    let kept = Moment {
        id: "a1".into(),
        folder: small.0.join("a1"),
    };
    std::fs::create_dir(&kept.folder).unwrap();
    let error = moments::keep(&place.home(&guest), &kept, true).unwrap_err();
    assert_eq!(
        Fault::of(&error).map(|fault| fault.cause),
        Some(Cause::Space),
        "{error:#}"
    );
    counts_on(&guest);
    std::fs::remove_dir_all(&kept.folder).unwrap();
    moments::sweep(&place.home(&guest), &[]).unwrap();
    // And the next one is whole.
    let kept = place.moment("b2");
    assert!(moments::keep(&place.home(&guest), &kept, true).unwrap());
    counts_on(&guest);
}

#[test]
fn a_memory_that_nobody_waits_for_is_given_up() {
    let place = Place::new();
    let guest = place.counting();
    let run_dir = guest.dir();
    let file = place.folder().join("memory");
    let slow = json!({"max-bandwidth": 1});
    qmp::order(run_dir, &migration::SetParameters(slow)).unwrap();
    qmp::pause(run_dir).unwrap();
    let uri = json!({"uri": format!("file:{}", file.display())});
    qmp::order(run_dir, &migration::Migrate(uri)).unwrap();
    // Its keeper is killed here. The next command:
    resume(run_dir).unwrap();
    counts_on(&guest);
    let told = qmp::order(run_dir, &migration::QueryMigrate(json!({}))).unwrap();
    // A fast host has written the little memory before it can be given up.
    let status = told["status"].as_str().unwrap_or_default();
    assert!(["cancelled", "completed"].contains(&status), "{status}");
    assert!(moments::keep(&place.home(&guest), &place.moment("a1"), true).unwrap());
    counts_on(&guest);
}

/// What `a_machine_is_whole_wherever_a_kill_hits` kills.
#[test]
#[ignore = "a process of its own, which is killed"]
fn killed_while_it_keeps() {
    let given = kill_point::testing::given().expect("the test that kills it tells where");
    let [folder, run_dir] = [0, 1].map(|place| PathBuf::from(given.split('\n').nth(place).unwrap()));
    let kept = Moment {
        id: "c3".into(),
        folder: folder.join("c3"),
    };
    std::fs::create_dir(&kept.folder).unwrap();
    moments::keep(&Home { folder, run_dir }, &kept, true).unwrap();
}

#[test]
fn a_machine_is_whole_wherever_a_kill_hits() {
    let place = Place::new();
    let mut guest = place.counting();
    let home = place.home(&guest);
    let before = place.moment("a1");
    moments::keep(&home, &before, true).unwrap();
    let given = format!("{}\n{}", home.folder.display(), home.run_dir.display());
    let name = "machine::qemu::tests::moments::killed_while_it_keeps";
    let mut at = 1;
    while kill_point::testing::run_killed(name, &given, at) {
        // What the next command does.
        resume(&home.run_dir).unwrap();
        counts_on(&guest);
        std::fs::remove_dir_all(place.folder().join("c3")).unwrap();
        moments::sweep(&home, std::slice::from_ref(&before)).unwrap();
        at += 1;
    }
    assert!(at > 8, "there are more points than {at}");
    counts_on(&guest);
    let last = place.moment("d4");
    moments::keep(&home, &last, true).unwrap();
    counts_on(&guest);
    guest.kill();
    // All of what was kept before and after is still what it was.
    for kept in [&last, &before] {
        moments::go_back(&place.off(), kept).unwrap();
        let mut guest = place.go_on_from(kept).unwrap();
        counts_on(&guest);
        guest.kill();
        sound(&place.active());
    }
}

#[test]
fn a_machine_that_is_killed_with_its_keeper_misses_nothing() {
    let place = Place::new();
    let mut at = 1;
    loop {
        let mut guest = place.start_counting();
        let home = place.home(&guest);
        let given = format!("{}\n{}", home.folder.display(), home.run_dir.display());
        let killed =
            kill_point::testing::run_killed("machine::qemu::tests::moments::killed_while_it_keeps", &given, at);
        guest.kill();
        let last = counted(&guest).chars().last().unwrap();
        let on_disk = on_disk(&place.active());
        // It may have been killed between its print and its write.
        assert!(
            on_disk == last || after(on_disk) == last,
            "{last} was printed and {on_disk} is on the disk"
        );
        std::fs::remove_dir_all(place.folder().join("c3")).unwrap();
        moments::sweep(&place.off(), &[]).unwrap();
        if !killed {
            return;
        }
        at += 1;
    }
}
