//! Snapshots of machines, running and not.

use super::super::super::moments::{go_back, keep, replace, stale, sweep};
use super::*;
use crate::machine::StaleMemory;

/// Prints `A` on the first serial port when it boots, and `b` again and again from then on.
const TICKS: &[u8] = &[
    0xba, 0xf8, 0x03, // mov dx, 0x3f8 (COM1)
    0xb0, b'A', //       mov al, 'A'
    0xee, //             out dx, al
    0xb0, b'b', //       mov al, 'b'
    0x66, 0xb9, 0x00, 0x00, 0x04, 0x00, // mov ecx, 0x40000
    0x67, 0xe2, 0xfd, // loop to itself: the port takes one byte after the other
    0xee, //             out dx, al
    0xeb, 0xf4, //       jmp to mov ecx
];

impl Guest {
    /// Ends the machine's process as a power cut does.
    fn cut_power(&mut self) {
        let folder = self.boot.disk.clone();
        let vbox = self.world.vbox.clone();
        let machine = disks::settings(&folder).unwrap();
        self.reaped_meanwhile(|_| disks::power_off(&vbox, &machine)).unwrap();
        eventually("the machine to be off", || !runs(&vbox, &folder));
    }

    /// Starts it again, from its memory or its disk.
    fn start_again(&mut self, from_memory: bool) -> Result<()> {
        self.boot.memory = from_memory.then(|| self.boot.run_dir.clone());
        let _ = std::fs::remove_file(self.boot.console());
        self.child = begin(&self.world, &self.boot)?;
        Ok(())
    }

    fn state(&self) -> VmState {
        disks::show(&self.world.vbox, &self.boot.disk).unwrap().state()
    }

    fn names(&self) -> Vec<String> {
        let info = disks::show(&self.world.vbox, &self.boot.disk).unwrap();
        let mut names: Vec<_> = info.snapshots().into_iter().map(|snapshot| snapshot.name).collect();
        names.sort();
        names
    }
}

#[test]
fn a_running_machine_goes_on_from_its_memory_or_boots() {
    let mut guest = Guest::start(TICKS);
    let (vbox, folder) = (guest.world.vbox.clone(), guest.boot.disk.clone());
    guest.eventually("the guest to count", |guest| guest.console().starts_with("Ab"));
    assert!(keep(&vbox, &folder, "aa", true).unwrap());
    assert_eq!(guest.state(), VmState::Running);
    let before = guest.console().len();
    guest.eventually("the guest to go on", |guest| guest.console().len() > before);
    assert!(!keep(&vbox, &folder, "bb", false).unwrap());
    guest.cut_power();

    go_back(&vbox, &folder, "aa", true).unwrap();
    assert_eq!(guest.state(), VmState::Saved);
    // Another port, as when somebody has taken the first since.
    guest.boot.forwards = Some(vec![Forward { host: 8444, guest: 443 }]);
    guest.start_again(true).unwrap();
    guest.eventually("the guest to go on", |guest| guest.console().contains('b'));
    assert!(!guest.console().contains('A'), "it has booted");
    let info = disks::show(&vbox, &folder).unwrap();
    assert_eq!(info.get("Forwarding(0)"), Some("port443,tcp,127.0.0.1,8444,,443"));
    guest.cut_power();

    // The same without its memory, also of one that was taken of a running machine.
    for id in ["aa", "bb"] {
        go_back(&vbox, &folder, id, false).unwrap();
        assert_eq!(guest.state(), VmState::PoweredOff);
        guest.start_again(false).unwrap();
        guest.eventually("the guest to boot", |guest| guest.console().starts_with("Ab"));
        guest.cut_power();
    }
    let error = go_back(&vbox, &folder, "cc", true).unwrap_err();
    assert!(
        format!("{error:#}").contains("does not have this snapshot"),
        "{error:#}"
    );
}

#[test]
fn a_memory_that_does_not_fit_is_told_and_the_machine_boots() {
    let mut guest = Guest::start(TICKS);
    let (vbox, folder) = (guest.world.vbox.clone(), guest.boot.disk.clone());
    keep(&vbox, &folder, "aa", true).unwrap();
    guest.cut_power();
    let none = guest.start_again(true).unwrap_err();
    assert!(none.is::<StaleMemory>(), "{none:#}");

    go_back(&vbox, &folder, "aa", true).unwrap();
    let larger = Size {
        memory_mib: 128,
        ..SMALL
    };
    let error = VirtualBox::new(&vbox, larger, &folder, &guest.boot.run_dir)
        .configure(&guest.boot)
        .unwrap_err();
    assert!(error.is::<StaleMemory>(), "{error:#}");

    let saved = disks::files_in(&folder, "sav").unwrap();
    for file in &saved {
        let data = std::fs::OpenOptions::new().write(true).open(file).unwrap();
        data.set_len(data.metadata().unwrap().len() / 2).unwrap();
    }
    assert!(!saved.is_empty());
    let error = stale(guest.start_again(true).unwrap_err());
    assert!(error.is::<StaleMemory>(), "{error:#}");
    eventually("VirtualBox to notice", || !runs(&vbox, &folder));
    guest.start_again(false).unwrap();
    guest.eventually("the guest to boot", |guest| guest.console().starts_with("Ab"));
}

#[test]
fn what_was_written_since_is_gone() {
    let world = World::driverless();
    let (vbox, folder) = (world.vbox.clone(), world.place("m"));
    world.interpret(&folder, WRITES);
    assert!(!keep(&vbox, &folder, "aa", true).unwrap(), "it did not run");
    let before = disks::size(&folder);
    let mut guest = Guest::start_made(world, boot(&folder));
    guest.eventually("the guest to write", |_| disks::size(&folder) > before + (2 << 20));
    guest.cut_power();
    go_back(&vbox, &folder, "aa", false).unwrap();
    assert!(disks::size(&folder) <= before + (1 << 20));
}

#[test]
fn only_what_is_not_kept_goes() {
    let world = World::driverless();
    let folder = world.place("m");
    let mut guest = Guest::start_in(world, &folder, DEAF);
    guest.cut_power();
    let vbox = guest.world.vbox.clone();
    let take = |id: &str| keep(&vbox, &folder, id, true).unwrap();
    let settings = disks::settings(&folder).unwrap();
    vbox.change(arguments::take_snapshot(&settings, "mine")).unwrap();
    take("aa");
    take("bb");
    go_back(&vbox, &folder, "aa", true).unwrap();
    take("cc");
    // Two lie on it.
    sweep(&vbox, &folder, &["bb", "cc"]).unwrap();
    assert_eq!(guest.names(), ["mine", "provision-aa", "provision-bb", "provision-cc"]);
    sweep(&vbox, &folder, &["cc"]).unwrap();
    assert_eq!(guest.names(), ["mine", "provision-cc"]);
    // It may run meanwhile.
    guest.start_again(false).unwrap();
    take("dd");
    sweep(&vbox, &folder, &["cc"]).unwrap();
    assert_eq!(guest.names(), ["mine", "provision-cc"]);
    assert_eq!(guest.state(), VmState::Running);
    guest.cut_power();
    go_back(&vbox, &folder, "cc", true).unwrap();
    disks::remove(&vbox, &folder).unwrap();
    assert!(!folder.exists());
    assert_eq!(guest.world.known(), "");
}

#[test]
fn a_snapshot_outlives_its_machines_replacement() {
    let world = World::new();
    let (vbox, folder, work) = (&world.vbox, world.place("m"), world.place("work"));
    // The disk's size tells which it is.
    let size = |folder: &Path| {
        let info = disks::show(vbox, folder).unwrap();
        let disk = info.attached(CONTROLLER, arguments::DISK_PORT).unwrap().to_owned();
        let told = vbox.ask(arguments::open_disk(Path::new(&disk))).unwrap();
        told.lines()
            .find(|line| line.starts_with("Capacity:"))
            .unwrap()
            .to_owned()
    };
    let place = |gib: u64| {
        disks::create(vbox, &work, "work", gib).unwrap();
        let size = size(&work);
        replace(vbox, &work, &folder, "m").unwrap();
        assert!(!work.exists());
        size
    };
    let machines = || info::machines(&vbox.ask(arguments::list_machines()).unwrap()).len();
    let first = place(1);
    keep(vbox, &folder, "aa", true).unwrap();
    let second = place(2);
    assert_eq!(size(&folder), second);
    place(3);
    // The second was not kept, the first was.
    assert_eq!(machines(), 2);
    go_back(vbox, &folder, "aa", true).unwrap();
    assert_eq!(size(&folder), first);
    assert_eq!(machines(), 1);
    let fourth = place(4);
    keep(vbox, &folder, "bb", true).unwrap();
    go_back(vbox, &folder, "aa", true).unwrap();
    assert_eq!(size(&folder), first);
    go_back(vbox, &folder, "bb", true).unwrap();
    assert_eq!(size(&folder), fourth);
    sweep(vbox, &folder, &["bb"]).unwrap();
    assert!(go_back(vbox, &folder, "aa", true).is_err());
    assert_eq!(size(&folder), fourth);
    assert_eq!(machines(), 1);
    keep(vbox, &folder, "cc", true).unwrap();
    place(5);
    disks::remove(vbox, &folder).unwrap();
    assert_eq!(world.known(), "");
}
