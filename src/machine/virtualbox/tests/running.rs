//! Machines that run: `VirtualBox` interprets their guests, boot sectors of a few bytes.

mod moments;

use std::process::{Child, Stdio};

use super::*;
use crate::cancel::Cancel;
use crate::machine::qemu::testing::{DEAF, WRITES, eventually};
use crate::machine::{Stopped, shut_down};
use crate::process::guardian::LOG_FILE;

/// A machine that another process than the driver started.
struct Guest {
    world: World,
    boot: Boot,
    child: Child,
}

impl Guest {
    fn start(code: &[u8]) -> Self {
        let world = World::driverless();
        let folder = world.place("m");
        Self::start_in(world, &folder, code)
    }

    fn start_in(world: World, folder: &Path, code: &[u8]) -> Self {
        let boot = boot(folder);
        Self::start_as(world, boot, code)
    }

    fn start_as(world: World, boot: Boot, code: &[u8]) -> Self {
        world.interpret(&boot.disk, code);
        Self::start_made(world, boot)
    }

    fn start_made(world: World, boot: Boot) -> Self {
        let child = begin(&world, &boot).unwrap();
        Self { world, boot, child }
    }

    fn console(&self) -> String {
        std::fs::read_to_string(self.boot.console()).unwrap_or_default()
    }

    fn machine(&self) -> VirtualBox {
        VirtualBox::new(&self.world.vbox, SMALL, &self.boot.disk, &self.boot.run_dir)
    }

    /// Waits for what the guest does. One that stands still is started anew, once: see [`stands_still`].
    fn eventually(&mut self, what: &str, mut condition: impl FnMut(&Self) -> bool) {
        for again in [true, false] {
            let waited = Wait::new(what, PATIENCE).until(|| {
                if let Some(status) = self.child.try_wait()? {
                    bail!("the machine's process ended: {status}");
                }
                Ok(condition(self).then_some(()))
            });
            let Err(error) = waited else { return };
            let told = format!("{error:#}\nconsole: {:?}\n{}", self.console(), stands_still(&self.boot));
            assert!(again && error.is::<Fault>(), "{told}");
            self.child.kill().unwrap();
            self.child.wait().unwrap();
            eventually("VirtualBox to notice", || !runs(&self.world.vbox, &self.boot.disk));
            self.child = begin(&self.world, &self.boot).unwrap();
        }
    }

    /// Runs `job` while the process's end is taken note of, as its guardian would.
    fn reaped_meanwhile<T: Send>(&mut self, job: impl FnOnce(VirtualBox) -> T + Send) -> T {
        let machine = self.machine();
        std::thread::scope(|scope| {
            let job = scope.spawn(|| job(machine));
            eventually("the machine to end", || self.child.try_wait().unwrap().is_some());
            job.join().unwrap()
        })
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Configures a machine and starts it; what stands still while it starts is started anew, once.
fn begin(world: &World, boot: &Boot) -> Result<Child> {
    VirtualBox::new(&world.vbox, SMALL, &boot.disk, &boot.run_dir).configure(boot)?;
    let settings = disks::settings(&boot.disk)?;
    let line = world.vbox.headless(arguments::headless(&settings));
    let once = || vboxmanage::begin(&Cancel::default(), || launch(world, boot, &line));
    match once() {
        Err(error) if Fault::of(&error).is_some_and(|fault| fault.cause == Cause::Timeout) => {
            eprintln!("{error:#}\n{}", stands_still(boot));
            once()
        }
        other => other,
    }
}

/// What is known of a machine that stands still, also written down where it outlasts the test.
///
/// Twice in some dozen whole runs on busy processors one stood still for ten minutes, by none of the driver's doing:
/// `VirtualBox` means its interpreter for a few instructions and not for a machine.
fn stands_still(boot: &Boot) -> String {
    let said = std::fs::read_to_string(boot.run_dir.join(LOG_FILE)).unwrap_or_default();
    let log = logs::read(&boot.disk, "VBox.log").unwrap_or_default();
    let told = format!("{said}\n{log}");
    let folder = testing::cache().join("stood-still");
    let _ = std::fs::create_dir_all(&folder);
    let test = std::thread::current().name().unwrap_or_default().replace("::", "-");
    let _ = std::fs::write(folder.join(test), &told);
    let last: Vec<_> = told.lines().rev().take(60).collect();
    last.into_iter().rev().flat_map(|line| [line, "\n"]).collect()
}

/// As the guardian would: the tests are not that program.
fn launch(world: &World, boot: &Boot, line: &CommandLine) -> Result<Child> {
    let log_file = boot.run_dir.join(LOG_FILE);
    let log = std::fs::File::create(&log_file)?;
    let former = logs::which(&boot.disk);
    let mut command = line.command();
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    let mut child = command.spawn()?;
    std::fs::write(boot.run_dir.join(PID_FILE), child.id().to_string())?;
    let up = Wait::new("the machine to run", START_LIMIT).until(|| {
        if child.try_wait()?.is_some() {
            let said = std::fs::read_to_string(&log_file)?;
            bail!(hints::fault("VBoxHeadless", &said, false));
        }
        Ok(is_up(&world.vbox, &boot.disk, former).then_some(()))
    });
    if up.is_err() {
        let _ = child.kill();
        let _ = child.wait();
    }
    up.map(|()| child)
}

/// How long a guest of a few bytes may take beside others, whose processor it has to share.
const PATIENCE: Duration = Duration::from_secs(180);

/// Prints a dot on the first serial port and reboots, by the keyboard's controller.
const REBOOTS: &[u8] = &[
    0xba, 0xf8, 0x03, // mov dx, 0x3f8 (COM1)
    0xb0, b'.', //       mov al, '.'
    0xee, //             out dx, al
    0xb0, 0xfe, //       mov al, 0xfe (pulse the reset line)
    0xe6, 0x64, //       out 0x64, al
    0xeb, 0xfe, //       jmp to itself
];

const SMALL: Size = Size {
    cpus: 1,
    memory_mib: 64,
};

#[test]
fn a_running_machine_is_seen_shown_and_ended() {
    let mut guest = Guest::start(DEAF);
    let mut machine = guest.machine();
    assert_eq!(machine.state().unwrap(), State::Running);
    (machine.watcher())().unwrap();
    machine.press_power().unwrap();
    machine.release().unwrap();
    let screen = guest.boot.run_dir.join("screen.png");
    machine.screenshot(&screen).unwrap();
    assert!(std::fs::read(&screen).unwrap().starts_with(b"\x89PNG"));
    // Whoever would change its disk has to wait.
    let error = machine.configure(&guest.boot).unwrap_err();
    assert_eq!(Fault::of(&error).unwrap().cause, Cause::Busy, "{error:#}");
    let folder = guest.boot.disk.clone();
    let limit = Duration::from_secs(1);
    let stopped = guest.reaped_meanwhile(|mut machine| shut_down(&mut machine, limit, &Cancel::default()));
    assert_eq!(stopped.unwrap(), Stopped::PowerCut);
    assert!(!guest.boot.run_dir.join(PID_FILE).exists());
    assert!(!runs(&guest.world.vbox, &folder));
}

#[test]
fn keys_are_taken_out_of_a_machine_that_may_run_on() {
    let world = World::driverless();
    let folder = world.place("m");
    let boot = Boot {
        credentials: credentials(&world),
        ..boot(&folder)
    };
    let mut guest = Guest::start_as(world, boot, DEAF);
    let medium = folder.join("keys.iso");
    let attached = || {
        let info = disks::show(&guest.world.vbox, &guest.boot.disk).unwrap();
        info.attached(CONTROLLER, MEDIUM_PORT).map(ToOwned::to_owned)
    };
    assert_eq!(attached().as_deref(), medium.to_str());
    guest.machine().release().unwrap();
    assert_eq!(attached().as_deref(), Some("emptydrive"));
    assert!(!medium.exists());
    assert_eq!(guest.machine().state().unwrap(), State::Running);
    // Once more does no harm.
    guest.machine().release().unwrap();
    let vbox = guest.world.vbox.clone();
    guest.reaped_meanwhile(|_| disks::remove(&vbox, &folder)).unwrap();
    assert_eq!(guest.world.known(), "");
}

#[test]
fn the_console_is_a_file_and_a_guest_may_reboot() {
    let mut guest = Guest::start(REBOOTS);
    guest.eventually("the guest to boot three times", |guest| guest.console().contains("..."));
    assert_eq!(guest.machine().state().unwrap(), State::Running);
}

#[test]
fn a_machine_that_is_killed_is_told_and_can_be_removed() {
    let mut guest = Guest::start(DEAF);
    let mut machine = guest.machine();
    guest.child.kill().unwrap();
    guest.child.wait().unwrap();
    eventually("VirtualBox to notice", || !runs(&guest.world.vbox, &guest.boot.disk));
    let error = look(&guest.world.vbox, &guest.boot.disk).unwrap_err();
    assert!(error.to_string().contains("process was ended"), "{error}");
    assert_eq!(machine.state().unwrap(), State::Off);
    disks::remove(&guest.world.vbox, &guest.boot.disk).unwrap();
    assert_eq!(guest.world.known(), "");
}

#[test]
fn a_running_machine_is_ended_before_it_is_removed() {
    let mut guest = Guest::start(DEAF);
    let folder = guest.boot.disk.clone();
    let vbox = guest.world.vbox.clone();
    guest.reaped_meanwhile(|_| disks::remove(&vbox, &folder)).unwrap();
    assert!(!folder.exists());
    assert_eq!(guest.world.known(), "");
}

#[test]
fn one_that_somebody_paused_is_no_failure() {
    let guest = Guest::start(DEAF);
    let settings = disks::settings(&guest.boot.disk).unwrap();
    guest.world.vbox.change(arguments::control(&settings, "pause")).unwrap();
    let state = || disks::show(&guest.world.vbox, &guest.boot.disk).unwrap().state();
    assert_eq!(state(), VmState::Paused);
    look(&guest.world.vbox, &guest.boot.disk).unwrap();
    // It was not paused by a full disk: it is not this program's to let it go on.
    resume(&guest.world.vbox, &guest.boot.disk).unwrap();
    assert_eq!(state(), VmState::Paused);
}

#[test]
fn a_state_that_was_saved_is_dropped_at_the_next_start() {
    let mut guest = Guest::start(DEAF);
    let settings = disks::settings(&guest.boot.disk).unwrap();
    let vbox = guest.world.vbox.clone();
    vbox.change(arguments::control(&settings, "savestate")).unwrap();
    guest.child.wait().unwrap();
    eventually("the state to be saved", || {
        disks::show(&vbox, &guest.boot.disk).unwrap().state() == VmState::Saved
    });
    let mut machine = guest.machine();
    assert_eq!(machine.state().unwrap(), State::Off);
    machine.configure(&guest.boot).unwrap();
    assert_eq!(
        disks::show(&vbox, &guest.boot.disk).unwrap().state(),
        VmState::PoweredOff
    );
}

/// A file system with little room.
struct Small(PathBuf);

impl Small {
    /// `None` where the tests may not mount.
    fn new(at: &Path) -> Option<Self> {
        std::fs::create_dir(at).unwrap();
        let mount = CommandLine::new("mount", ["-t", "tmpfs", "-o", "size=6M", "none"]).arg(at);
        process::run(&mount, END_LIMIT, &Cancel::default()).ok()?;
        Some(Self(at.to_owned()))
    }

    fn grow(&self) {
        let mount = CommandLine::new("mount", ["-o", "remount,size=64M"]).arg(&self.0);
        process::run(&mount, END_LIMIT, &Cancel::default()).unwrap();
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        // Lazily: the machine may still be about to end.
        let umount = CommandLine::new("umount", ["-l"]).arg(&self.0);
        let _ = process::run(&umount, END_LIMIT, &Cancel::default());
    }
}

#[test]
fn a_full_disk_of_the_host_is_told_and_the_guest_goes_on_later() {
    let outside = tempfile::tempdir().unwrap();
    let Some(small) = Small::new(&outside.path().join("small")) else {
        eprintln!("SKIPPED: a full disk needs mount(8), and the tests may not use it here");
        return;
    };
    // The service starts after the file system is there, and sees it.
    let guest = Guest::start_in(World::driverless(), &small.0.join("m"), WRITES);
    let look = || look(&guest.world.vbox, &guest.boot.disk);
    eventually("the disk to be full", || look().is_err());
    let error = look().unwrap_err();
    let fault = Fault::of(&error).unwrap();
    assert_eq!(fault.cause, Cause::Space, "{fault}");
    assert!(fault.hint.is_some());
    let written = guest.machine().activity().unwrap().disk_written;
    small.grow();
    resume(&guest.world.vbox, &guest.boot.disk).unwrap();
    eventually("the guest to go on", || {
        guest.machine().activity().unwrap().disk_written > written
    });
    look().unwrap();
}
