//! Machines, checkpoints and linked clones in the real `VirtualBox`.

use super::super::known::know;
use super::super::moving::move_to;
use super::super::testing::World;
use super::*;
use crate::cancel::Cancel;
use crate::process::{self, CommandLine};

/// The file that the machine in `folder` writes to.
fn disk_of(world: &World, folder: &Path) -> PathBuf {
    let info = show(&world.vbox, folder).unwrap();
    info.attached(CONTROLLER, DISK_PORT).unwrap().into()
}

/// The files on which the machine's disk lies, and itself.
fn chain_of(world: &World, folder: &Path) -> Vec<PathBuf> {
    let all = info::disks(&world.vbox.ask(arguments::list_disks()).unwrap());
    let first = all.iter().find(|disk| disk.file == disk_of(world, folder));
    let below = |disk: &&Disk| all.iter().find(|other| Some(&other.uuid) == disk.parent.as_ref());
    std::iter::successors(first, below)
        .map(|disk| disk.file.clone())
        .collect()
}

fn is_whole(world: &World, folder: &Path, length: usize) {
    let chain = chain_of(world, folder);
    assert_eq!(chain.len(), length, "{chain:?}");
    assert!(chain.iter().all(|file| file.exists()), "{chain:?}");
}

#[test]
fn a_machine_is_made_in_its_folder_and_goes_without_a_trace() {
    let world = World::new();
    let folder = world.machine("m");
    let settings = settings(&folder).unwrap();
    let name = settings.file_stem().unwrap().to_string_lossy().into_owned();
    assert!(name.starts_with("provision-m-") && settings.starts_with(&folder));
    assert!(size(&folder) > 0 && size(&folder) < 10 << 20);
    is_whole(&world, &folder, 1);
    remove(&world.vbox, &folder).unwrap();
    assert!(!folder.exists());
    assert_eq!(world.known(), "");
    // Once more does no harm.
    remove(&world.vbox, &folder).unwrap();
}

#[test]
fn a_name_that_is_taken_is_an_error_that_leaves_the_first_alone() {
    let world = World::new();
    let folder = world.machine("m");
    let before = world.known();
    let error = create(&world.vbox, &folder, "m", 1).unwrap_err();
    assert!(format!("{error:#}").contains("already exists"), "{error:#}");
    assert!(
        Fault::of(&error)
            .unwrap()
            .hint
            .as_ref()
            .unwrap()
            .contains("--name NAME")
    );
    assert_eq!(world.known(), before);
    is_whole(&world, &folder, 1);
}

#[test]
fn what_fails_half_way_leaves_nothing() {
    let world = World::new();
    let folder = world.place("m");
    // The disk's place is taken by a folder.
    let name = unique_name("m", &folder);
    std::fs::create_dir_all(folder.join(name).join("disk.vdi")).unwrap();
    let error = create(&world.vbox, &folder, "m", 1).unwrap_err();
    assert!(format!("{error:#}").contains("disk.vdi"), "{error:#}");
    assert_eq!(world.known(), "");
    assert!(!folder.exists());
    let error = create_overlay(&world.vbox, &folder, "m", &[&world.place("nowhere")]).unwrap_err();
    assert!(format!("{error:#}").contains("there is no machine in"), "{error:#}");
    assert!(!folder.exists());
}

/// As `VirtualBox` does it whenever a machine's state changes.
#[test]
fn a_machine_is_there_while_its_settings_are_saved() {
    let folder = tempfile::tempdir().unwrap();
    let machine = folder.path().join("m");
    std::fs::create_dir(&machine).unwrap();
    let place = |suffix: &str| machine.join(format!("m.vbox{suffix}"));
    std::fs::write(place("-prev"), "old").unwrap();
    std::thread::scope(|scope| {
        let new = place("");
        scope.spawn(move || {
            // The reader comes between the two renames.
            std::thread::sleep(Duration::from_millis(300));
            std::fs::write(new, "new").unwrap();
        });
        assert_eq!(settings(folder.path()).unwrap(), place(""));
    });
}

#[test]
fn machines_share_checkpoints_and_do_not_see_each_other() {
    let world = World::new();
    let install = world.checkpoint("install", &[]);
    let docker = world.checkpoint("docker", &[&install]);
    assert!(!world.place("work-install").exists() && !world.place("work-docker").exists());
    let chain = [docker.as_path(), install.as_path()];
    let [one, two] = ["one", "two"].map(|name| world.place(name));
    for folder in [&one, &two] {
        create_overlay(&world.vbox, folder, "user", &chain).unwrap();
    }
    is_whole(&world, &one, 3);
    is_whole(&world, &two, 3);
    assert_eq!(chain_of(&world, &one)[1..], chain_of(&world, &two)[1..]);
    assert_ne!(disk_of(&world, &one), disk_of(&world, &two));
    assert!(disk_of(&world, &one).starts_with(&one));
    // Each takes what is its own only.
    assert!(size(&one) < 4 << 20);
    let both = [settings(&one).unwrap(), settings(&two).unwrap()];
    assert_ne!(both[0].file_name(), both[1].file_name());
    remove(&world.vbox, &one).unwrap();
    is_whole(&world, &two, 3);
    remove(&world.vbox, &two).unwrap();
    remove(&world.vbox, &docker).unwrap();
    remove(&world.vbox, &install).unwrap();
    assert_eq!(world.known(), "");
}

/// What `rebuild` does to a machine's disk, as the driver's `replace` does it.
#[test]
fn a_machine_gives_way_to_a_clean_one_on_the_same_checkpoint() {
    let world = World::new();
    let install = world.checkpoint("install", &[]);
    let (used, other, clean) = (world.place("used"), world.place("other"), world.place("work/clean"));
    for folder in [&used, &other] {
        create_overlay(&world.vbox, folder, "m", &[&install]).unwrap();
    }
    let written = disk_of(&world, &used);
    create_overlay(&world.vbox, &clean, "m", &[&install]).unwrap();
    remove(&world.vbox, &used).unwrap();
    move_to(&world.vbox, &clean, &used, "m").unwrap();
    assert!(!written.exists() && !world.known().contains(written.to_str().unwrap()));
    world.restart();
    for folder in [&used, &other] {
        is_whole(&world, folder, 2);
        assert!(disk_of(&world, folder).starts_with(folder));
    }
    assert!(!clean.exists());
}

#[test]
fn a_checkpoint_on_which_others_lie_stays() {
    let world = World::new();
    let install = world.checkpoint("install", &[]);
    let docker = world.checkpoint("docker", &[&install]);
    let before = world.known();
    let error = remove(&world.vbox, &install).unwrap_err();
    assert_eq!(Fault::of(&error).unwrap().cause, Cause::Busy);
    assert!(format!("{error:#}").contains("layers/docker"), "{error:#}");
    assert_eq!(world.known(), before);
    is_whole(&world, &docker, 3);
    // One whose files are gone keeps nobody.
    std::fs::remove_dir_all(&docker).unwrap();
    world.restart();
    remove(&world.vbox, &install).unwrap();
    remove(&world.vbox, &docker).unwrap();
    assert_eq!(world.known(), "");
}

#[test]
fn a_machine_whose_files_are_gone_is_forgotten() {
    for is_noticed in [false, true] {
        let world = World::new();
        let install = world.checkpoint("install", &[]);
        let folder = world.place("m");
        create_overlay(&world.vbox, &folder, "m", &[&install]).unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        if is_noticed {
            world.restart();
        }
        remove(&world.vbox, &folder).unwrap();
        remove(&world.vbox, &install).unwrap();
        assert_eq!(world.known(), "");
    }
}

#[test]
fn a_home_that_knows_nothing_is_taught() {
    let mut world = World::new();
    let install = world.checkpoint("install", &[]);
    let docker = world.checkpoint("docker", &[&install]);
    let folder = world.place("m");
    create_overlay(&world.vbox, &folder, "m", &[&docker, &install]).unwrap();
    world.move_home();
    assert_eq!(world.known(), "");
    assert!(show(&world.vbox, &folder).is_err());
    know(&world.vbox, &[&folder, &docker, &install]).unwrap();
    world.restart();
    is_whole(&world, &folder, 3);
    let next = world.place("next");
    create_overlay(&world.vbox, &next, "next", &[&docker, &install]).unwrap();
    is_whole(&world, &next, 3);
}

#[test]
fn a_cache_that_was_moved_is_found_again() {
    let world = World::new();
    let install = world.checkpoint("install", &[]);
    let docker = world.checkpoint("docker", &[&install]);
    let folder = world.place("m");
    create_overlay(&world.vbox, &folder, "m", &[&docker, &install]).unwrap();
    world.restart();
    std::fs::rename(world.place("layers"), world.place("moved")).unwrap();
    let [install, docker] = ["moved/install", "moved/docker"].map(|place| world.place(place));
    know(&world.vbox, &[&folder, &docker, &install]).unwrap();
    world.restart();
    is_whole(&world, &folder, 3);
    assert!(chain_of(&world, &folder)[1].starts_with(&docker));
    let before = world.known();
    know(&world.vbox, &[&folder, &docker, &install]).unwrap();
    assert_eq!(world.known(), before);
}

/// A checkpoint, and a machine on it with its identifier.
fn on_a_checkpoint(world: &World) -> (PathBuf, PathBuf, String) {
    let install = world.checkpoint("install", &[]);
    let folder = world.place("m");
    create_overlay(&world.vbox, &folder, "m", &[&install]).unwrap();
    let uuid = show(&world.vbox, &folder).unwrap().get("UUID").unwrap().to_owned();
    (install, folder, uuid)
}

#[test]
fn one_that_was_taken_from_the_list_comes_back_for_good() {
    let world = World::new();
    let (install, folder, uuid) = on_a_checkpoint(&world);
    world.vbox.change(arguments::unregister(&uuid)).unwrap();
    world.restart();
    know(&world.vbox, &[&folder, &install]).unwrap();
    world.restart();
    is_whole(&world, &folder, 2);
}

#[test]
fn the_service_may_end_while_it_is_taught() {
    let world = World::new();
    let (install, folder, uuid) = on_a_checkpoint(&world);
    for call in ["showmediuminfo", "registervm"] {
        world.vbox.change(arguments::unregister(&uuid)).unwrap();
        world.restart();
        let (vbox, ended) = world.ending_after(call);
        know(&vbox, &[&folder, &install]).unwrap();
        assert!(ended.exists(), "nothing ended after {call}");
        world.restart();
        is_whole(&world, &folder, 2);
    }
}

#[test]
fn a_copy_of_what_is_known_is_refused() {
    let world = World::new();
    let install = world.checkpoint("install", &[]);
    let copy = world.place("copy");
    let cp = CommandLine::new("cp", ["-a"]).arg(&install).arg(&copy);
    process::run(&cp, END_LIMIT, world.vbox.cancel()).unwrap();
    let error = know(&world.vbox, &[&copy]).unwrap_err();
    assert!(
        error.to_string().contains("has the same UUID as an existing"),
        "{error}"
    );
    is_whole(&world, &install, 2);
}

/// A file system of its own; `None` where the tests may not mount.
struct Other(PathBuf);

impl Other {
    fn new(world: &World, size: &str) -> Option<Self> {
        let at = world.place("other");
        std::fs::create_dir_all(&at).unwrap();
        let mount = CommandLine::new("mount", ["-t", "tmpfs", "-o", &format!("size={size}"), "none"]).arg(&at);
        if process::run(&mount, END_LIMIT, &Cancel::default()).is_err() {
            eprintln!("SKIPPED: another file system needs mount(8), and the tests may not use it here");
            return None;
        }
        // A service sees what was mounted when it started.
        world.restart();
        Some(Self(at))
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let umount = CommandLine::new("umount", ["-l"]).arg(&self.0);
        let _ = process::run(&umount, END_LIMIT, &Cancel::default());
    }
}

/// A machine whose disk holds `mib` MiB.
fn full(world: &World, name: &str, mib: usize) -> PathBuf {
    let raw = world.place("raw");
    std::fs::create_dir_all(world.dir()).unwrap();
    std::fs::write(&raw, vec![7; mib << 20]).unwrap();
    let image = world.place("image.vdi");
    let convert = CommandLine::new("qemu-img", ["convert", "-f", "raw", "-O", "vdi"])
        .arg(&raw)
        .arg(&image);
    process::run(&convert, END_LIMIT, &Cancel::default()).unwrap();
    let folder = world.place(name);
    adopt(&world.vbox, &image, &folder, name).unwrap();
    folder
}

#[test]
fn checkpoints_may_lie_on_another_file_system() {
    let world = World::new();
    let Some(other) = Other::new(&world, "64M") else { return };
    let [install, docker] = ["install", "docker"].map(|name| other.0.join(name));
    let work = full(&world, "work", 8);
    let held = std::fs::read(disk_of(&world, &work)).unwrap();
    moving::keep(&world.vbox, &work, &install, "install").unwrap();
    assert!(!work.exists());
    create_overlay(&world.vbox, &work, "work", &[&install]).unwrap();
    // Its disk is known from being opened by hand: a service that ends has not heard of it.
    let (vbox, ended) = world.ending_after("registervm");
    moving::keep(&vbox, &work, &docker, "docker").unwrap();
    assert!(!work.exists() && ended.exists());
    world.restart();
    let folder = world.place("m");
    create_overlay(&world.vbox, &folder, "m", &[&docker, &install]).unwrap();
    is_whole(&world, &folder, 3);
    world.restart();
    is_whole(&world, &folder, 3);
    let chain = chain_of(&world, &folder);
    assert!(
        chain[1].starts_with(&docker) && chain[2].starts_with(&install),
        "{chain:?}"
    );
    // VirtualBox writes the identifiers of snapshots into the header, which has a block of 1 MiB.
    assert_eq!(std::fs::read(&chain[2]).unwrap()[1 << 20..], held[1 << 20..]);
    // And back: a machine is placed where another was.
    let back = other.0.join("m");
    move_to(&world.vbox, &folder, &back, "m").unwrap();
    world.restart();
    // As whoever starts it does.
    know(&world.vbox, &[&back, &docker, &install]).unwrap();
    is_whole(&world, &back, 3);
    for folder in [&back, &docker, &install] {
        remove(&world.vbox, folder).unwrap();
    }
    assert_eq!(world.known(), "");
}

#[test]
fn without_room_on_the_other_file_system_nothing_is_copied() {
    let world = World::new();
    let Some(other) = Other::new(&world, "20M") else { return };
    let (work, to) = (full(&world, "work", 8), other.0.join("install"));
    let error = moving::keep(&world.vbox, &work, &to, "install").unwrap_err();
    assert_eq!(Fault::of(&error).unwrap().cause, Cause::Space, "{error:#}");
    assert!(!to.exists());
    is_whole(&world, &work, 1);
    remove(&world.vbox, &work).unwrap();
    assert_eq!(world.known(), "");
}

#[test]
fn a_copy_that_is_stopped_leaves_nothing() {
    let world = World::new();
    let Some(other) = Other::new(&world, "900M") else {
        return;
    };
    let (work, to) = (full(&world, "work", 400), other.0.join("install"));
    let cancel = Cancel::default();
    let vbox = world.vbox.stopped_by(&cancel);
    let error = std::thread::scope(|scope| {
        let keeping = scope.spawn(|| moving::keep(&vbox, &work, &to, "install").unwrap_err());
        let copies = || {
            files_in(&to, "vdi").is_ok_and(|files| {
                files
                    .iter()
                    .any(|file| file.metadata().is_ok_and(|data| data.len() > 0))
            })
        };
        Wait::new("the copy to begin", END_LIMIT)
            .until(|| Ok(copies().then_some(())))
            .unwrap();
        cancel.raise();
        keeping.join().unwrap()
    });
    assert_eq!(Fault::of(&error).unwrap().cause, Cause::Interrupted, "{error:#}");
    assert!(!to.exists());
    remove(&world.vbox, &work).unwrap();
    assert!(!work.exists());
    assert_eq!(world.known(), "");
}

#[test]
fn lists_that_were_lost_are_made_anew() {
    let world = World::new();
    let install = world.checkpoint("install", &[]);
    let docker = world.checkpoint("docker", &[&install]);
    let [one, two] = ["one", "two"].map(|name| world.place(name));
    create_overlay(&world.vbox, &one, "one", &[&docker, &install]).unwrap();
    let alone = full(&world, "alone", 1);
    world.forget();
    assert_eq!(world.known(), "");
    for chain in [&[one.as_path(), &docker, &install][..], &[alone.as_path()]] {
        know(&world.vbox, chain).unwrap();
    }
    create_overlay(&world.vbox, &two, "two", &[&docker, &install]).unwrap();
    world.restart();
    is_whole(&world, &one, 3);
    is_whole(&world, &two, 3);
    is_whole(&world, &alone, 1);
    // What is not known any more can be removed all the same.
    world.forget();
    for folder in [&one, &two, &alone, &docker, &install] {
        remove(&world.vbox, folder).unwrap();
        assert!(!folder.exists());
    }
    assert_eq!(world.known(), "");
}

#[test]
fn a_linked_clone_outlives_the_service_that_made_it() {
    let world = World::new();
    let install = world.checkpoint("install", &[]);
    let docker = world.checkpoint("docker", &[&install]);
    let folder = world.place("m");
    create_overlay(&world.vbox, &folder, "m", &[&docker, &install]).unwrap();
    world.restart();
    is_whole(&world, &folder, 3);
}
