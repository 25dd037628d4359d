//! The store with real disks, real kills and a file system that is really full.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::*;
use crate::changes::testing::Dice;
use crate::fault::{Cause, Fault};
use crate::key::Inputs;
use crate::machine::qemu::image;
use crate::process::{self, CommandLine};
use crate::wait::Wait;

/// The folder in which a worker works.
const FOLDER: &str = "PROVISION_TEST_STORE";

/// The layers of a worker: each lies on the one before it, but for the first.
const STAGES: [Stage; 4] = [Stage::Install, Stage::Docker, Stage::Account, Stage::Project];

fn inputs(place: usize) -> Inputs {
    Inputs::from([("place".to_owned(), place.to_string())])
}

fn key_at(place: usize) -> Key {
    let below = place.checked_sub(1).map(key_at);
    Key::derive(STAGES[place], below.as_ref(), &inputs(place))
}

/// Makes the layer at `place` if it is missing, as a run does.
fn make(store: &Store, work: &Path, place: usize) -> Result<Option<Layer>> {
    let _lock = store.lock(&key_at(place), &Cancel::default(), || ())?;
    if store.get(&key_at(place)).is_some() {
        return Ok(None);
    }
    let parent = place.checked_sub(1).map(|below| store.get(&key_at(below)));
    let Some(parent) = parent.map_or(Some(None), |parent| parent.map(Some)) else {
        return Ok(None);
    };
    fs::create_dir_all(work)?;
    let disk = work.join(format!("{:x}.qcow2", rand::random::<u64>()));
    match &parent {
        Some(parent) => image::create_overlay(&disk, &parent.disk)?,
        None => image::create(&disk, 1)?,
    }
    let manifest = Manifest::new(STAGES[place], key_at(place), parent.as_ref(), inputs(place), 1.0);
    store.commit(Hypervisor::Qemu, &disk, &manifest).map(Some)
}

/// What the test starts and kills; it does nothing by itself.
#[test]
#[ignore = "a process of another test's"]
fn works_until_it_is_killed() {
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else {
        return;
    };
    let store = Store::open(&folder.join("cache")).unwrap();
    let mut out = std::io::stdout();
    loop {
        {
            let _share = store.share(&Cancel::default(), || ()).unwrap();
            for place in 0..STAGES.len() {
                if make(&store, &folder.join("work"), place).unwrap().is_some() {
                    writeln!(out, "\nmade {place}").unwrap();
                }
            }
        }
        if let Some(_alone) = store.try_alone().unwrap() {
            for place in (1..STAGES.len()).rev() {
                writeln!(out, "\nremoving {place}").unwrap();
                store.remove(&key_at(place)).unwrap();
            }
        }
    }
}

fn worker(folder: &Path) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let name = "checkpoint::real::works_until_it_is_killed";
    command.args(["--exact", name, "--ignored", "--nocapture", "-q"]);
    command.env(FOLDER, folder).stdout(Stdio::piped()).stderr(Stdio::null());
    command.spawn().unwrap()
}

/// Kills two workers one after the other at some moment; what was reported and not removed since is left of the places.
fn killed_after(folder: &Path, wait: Duration) -> Vec<usize> {
    let mut workers = [worker(folder), worker(folder)];
    let mut out = BufReader::new(workers[0].stdout.take().unwrap());
    // The clock runs from the first thing that is done.
    let mut said = String::new();
    out.read_line(&mut said).unwrap();
    std::thread::sleep(wait);
    let mut others = String::new();
    for worker in &mut workers {
        worker.kill().unwrap();
        worker.wait().unwrap();
    }
    out.read_to_string(&mut said).unwrap();
    workers[1].stdout.take().unwrap().read_to_string(&mut others).unwrap();
    // Two processes' words have no common order: only what neither has removed is certain.
    let removed = |place: usize| format!("removing {place}");
    let certain = |place: &usize| {
        let made = format!("made {place}");
        [&said, &others].iter().any(|said| said.contains(&made))
            && ![&said, &others].iter().any(|said| said.contains(&removed(*place)))
    };
    (0..STAGES.len()).filter(certain).collect()
}

#[test]
fn forty_kills_leave_whole_layers_and_no_rubbish() {
    let mut dice = Dice::new(0);
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("cache")).unwrap();
    let (mut halves, mut made) = (0, 0);
    let mut round = 0;
    // Kills that never come at a bad moment would say nothing: on a busy host they come later.
    while round < 20 || ((made == 0 || halves == 0) && round < 200) {
        let wait = Duration::from_millis(dice.below(150 + 20 * round) as u64);
        for place in killed_after(folder.path(), wait) {
            assert!(
                store.get(&key_at(place)).is_some(),
                "round {round}: {place} was reported"
            );
            made += 1;
        }
        halves += store.rubbish().unwrap().0.len();
        // A child that a killed worker had just forked holds its locks until it becomes another program: nothing is
        // swept before.
        let swept = Wait::new("the sweep", Duration::from_secs(60)).until(|| {
            drop(store.share(&Cancel::default(), || ())?);
            let (folders, locks) = store.rubbish()?;
            Ok((folders.is_empty() && locks.is_empty()).then_some(()))
        });
        assert!(swept.is_ok(), "round {round}: {:?}", store.rubbish());
        for layer in store.list().unwrap() {
            let wrong = store.examine(&layer, &Cancel::default()).unwrap();
            assert!(wrong.is_empty(), "round {round}: {wrong:?}");
        }
        round += 1;
    }
    assert!(made > 0 && halves > 0, "{made} layers, {halves} halves");
}

/// A file system of its own; goes when it is dropped.
struct Small(PathBuf);

impl Small {
    /// `None` where the tests may not mount.
    fn new(at: &Path) -> Option<Self> {
        fs::create_dir(at).unwrap();
        let mount = CommandLine::new("mount", ["-t", "tmpfs", "-o", "size=4M", "none"]).arg(at);
        process::run(&mount, Duration::from_secs(20), &Cancel::default()).ok()?;
        Some(Self(at.to_owned()))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let umount = CommandLine::new("umount", ["-l"]).arg(&self.0);
        let _ = process::run(&umount, Duration::from_secs(20), &Cancel::default());
    }
}

#[test]
fn a_full_file_system_is_told_and_damages_nothing() {
    let outside = tempfile::tempdir().unwrap();
    let Some(small) = Small::new(&outside.path().join("small")) else {
        eprintln!("SKIPPED: a full file system needs mount(8), and the tests may not use it here");
        return;
    };
    let store = Store::open(&small.0).unwrap();
    let work = outside.path().join("work");
    let base = make(&store, &work, 0).unwrap().unwrap();
    // Room is left for less and less, down to none: each step of a commit meets it.
    let mut causes = Vec::new();
    for free in (0..=256_u64).rev().step_by(16) {
        let filler = small.0.join("filler");
        let room = crate::host::disk::free_space(&small.0).unwrap();
        fs::write(
            &filler,
            vec![0; usize::try_from(room - (free << 10).min(room)).unwrap()],
        )
        .unwrap();
        match make(&store, &work, 1) {
            Ok(layer) => store.remove(&layer.unwrap().manifest.base.key).unwrap(),
            Err(error) => {
                let fault = Fault::of(&error).unwrap_or_else(|| panic!("{error:?}"));
                let hint = fault.hint.clone().unwrap_or_default();
                assert!(hint.contains("cache prune"), "{free} KiB: {error:?}");
                causes.push(fault.cause);
            }
        }
        assert_eq!(store.examine(&base, &Cancel::default()).unwrap(), Vec::<String>::new());
        assert_eq!(store.list().unwrap().len(), 1, "{free} KiB");
        let rubbish = store.rubbish().unwrap();
        assert!(rubbish.0.is_empty(), "{free} KiB: {rubbish:?}");
        fs::remove_file(filler).unwrap();
    }
    assert!(
        !causes.is_empty() && causes.iter().all(|cause| *cause == Cause::Space),
        "{causes:?}"
    );
    assert!(make(&store, &work, 1).unwrap().is_some());
}

#[test]
fn a_damaged_layer_is_found_set_aside_and_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("cache")).unwrap();
    let work = folder.path().join("work");
    let layers: Vec<Layer> = (0..3)
        .map(|place| make(&store, &work, place).unwrap().unwrap())
        .collect();
    let cancel = Cancel::default();
    for layer in &layers {
        assert_eq!(store.examine(layer, &cancel).unwrap(), Vec::<String>::new());
    }
    let damaged = &layers[1];
    let mut bytes = fs::read(&damaged.disk).unwrap();
    bytes[4096] ^= 1;
    fs::remove_file(&damaged.disk).unwrap();
    fs::write(&damaged.disk, bytes).unwrap();
    let wrong = store.examine(damaged, &cancel).unwrap();
    assert!(wrong[0].contains("disk.qcow2 has changed"), "{wrong:?}");
    let place = store.set_aside(damaged).unwrap();
    assert!(place.join("disk.qcow2").exists() && place.starts_with(store.damaged()));
    assert!(store.get(&key_at(1)).is_none() && store.get(&key_at(2)).is_none());
    assert!(store.get(&key_at(0)).is_some());
    store.sweep().unwrap();
    assert!(place.exists(), "what was set aside is no rubbish");
    assert!(make(&store, &work, 1).unwrap().is_some());
    assert!(store.get(&key_at(2)).is_none(), "it lies on the former");
    assert!(make(&store, &work, 2).unwrap().is_some());
}

/// Digests cost less than a second for each 100 MB of the thread's own time, unoptimised builds of the rest included.
#[test]
fn digests_are_cheap() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("disk.qcow2"), vec![7; 100 << 20]).unwrap();
    let begun = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    let wall = Instant::now();
    digest::of(folder.path(), &Cancel::default()).unwrap();
    let ended = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    let [begun, ended] = [begun, ended].map(|time| Duration::try_from(time).unwrap());
    let spent = ended.saturating_sub(begun);
    println!("100 MiB: {spent:?} of the processor, {:?} by the clock", wall.elapsed());
    assert!(spent < Duration::from_secs(1), "{spent:?}");
}
