//! The driver on the real `VirtualBox`, as far as it goes without its kernel driver.

mod running;

use std::path::Path;

use super::testing::World;
use super::*;
use crate::cancel::Cancel;
use crate::machine::{Credential, DirectKernel, Forward};

const SIZE: Size = Size {
    cpus: 2,
    memory_mib: 1024,
};

fn boot(folder: &Path) -> Boot {
    let run_dir = folder.join("run");
    std::fs::create_dir_all(&run_dir).unwrap();
    Boot {
        name: "jdoe".into(),
        disk: folder.to_owned(),
        cdrom: None,
        kernel: None,
        forwards: Some(vec![Forward { host: 8443, guest: 443 }]),
        credentials: Vec::new(),
        oem_strings: Vec::new(),
        durability: Durability::Scratch,
        memory: None,
        run_dir,
    }
}

fn driver(world: &World, boot: &Boot) -> VirtualBox {
    VirtualBox::new(&world.vbox, SIZE, &boot.disk, &boot.run_dir)
}

/// An image with a file in it, as a remastered installer is one.
fn iso(world: &World) -> PathBuf {
    let tree = world.place("tree");
    std::fs::create_dir_all(&tree).unwrap();
    std::fs::write(tree.join("preseed.cfg"), "d-i x/y string z\n").unwrap();
    let iso = world.place("installer.iso");
    let make = CommandLine::new("xorriso", ["-as", "mkisofs", "-quiet", "-r", "-o"])
        .arg(&iso)
        .arg(&tree);
    process::run(&make, Duration::from_secs(300), &Cancel::default()).unwrap();
    iso
}

#[test]
fn a_machine_gets_what_the_boot_says_and_again_something_else() {
    let world = World::new();
    let folder = world.machine("m");
    let iso = iso(&world);
    let first = Boot {
        cdrom: Some(iso.clone()),
        ..boot(&folder)
    };
    driver(&world, &first).configure(&first).unwrap();
    let info = disks::show(&world.vbox, &folder).unwrap();
    for (key, value) in [
        ("cpus", "2"),
        ("memory", "1024"),
        ("chipset", "piix3"),
        ("firmware", "BIOS"),
        ("rtcuseutc", "on"),
        ("graphicscontroller", "vmsvga"),
        ("nic1", "nat"),
        ("nictype1", "82540EM"),
        ("macaddress1", "080027000001"),
        ("localhostReachable", "1"),
        ("Forwarding(0)", "port443,tcp,127.0.0.1,8443,,443"),
        ("uart1", "0x03f8,4"),
        ("uart2", "0x02f8,3"),
        ("audio", "none"),
        ("vrde", "off"),
        ("usb", "off"),
        ("clipboard", "disabled"),
        ("boot1", "disk"),
        ("boot2", "dvd"),
        ("SATA-discard-0-0", "on"),
        ("SATA-nonrotational-0-0", "on"),
    ] {
        assert_eq!(info.get(key), Some(value), "{key}");
    }
    let console = format!("file,{}", first.console().display());
    assert_eq!(info.get("uartmode1"), Some(console.as_str()));
    assert_eq!(info.attached(CONTROLLER, MEDIUM_PORT), iso.to_str());

    let forwards = vec![Forward { host: 8444, guest: 443 }, Forward { host: 40022, guest: 22 }];
    let second = Boot {
        forwards: Some(forwards),
        durability: Durability::Kept,
        memory: None,
        ..boot(&folder)
    };
    driver(&world, &second).configure(&second).unwrap();
    let info = disks::show(&world.vbox, &folder).unwrap();
    let mut rules: Vec<_> = (0..3).filter_map(|n| info.get(&format!("Forwarding({n})"))).collect();
    rules.sort_unstable();
    assert_eq!(
        rules,
        ["port22,tcp,127.0.0.1,40022,,22", "port443,tcp,127.0.0.1,8444,,443"]
    );
    assert_eq!(info.attached(CONTROLLER, MEDIUM_PORT), None);

    let without = Boot {
        forwards: None,
        ..boot(&folder)
    };
    driver(&world, &without).configure(&without).unwrap();
    let info = disks::show(&world.vbox, &folder).unwrap();
    assert_eq!(info.get("nic1"), Some("none"));
    // And no rule is left for the card that comes back.
    driver(&world, &second).configure(&second).unwrap();
    assert_eq!(disks::show(&world.vbox, &folder).unwrap().forwards().len(), 2);
}

/// What this host's keys would be.
fn credentials(world: &World) -> Vec<Credential> {
    let named = [
        ("provision.authorized-keys", "ssh-ed25519 AAAA me\n"),
        ("provision.host-key", "secret\n"),
    ];
    std::fs::create_dir_all(world.dir()).unwrap();
    named
        .map(|(name, text)| {
            let file = world.place(name);
            std::fs::write(&file, text).unwrap();
            Credential { name, file }
        })
        .into()
}

#[test]
fn keys_come_on_a_medium_that_nobody_else_may_read() {
    use std::os::unix::fs::PermissionsExt as _;
    let world = World::new();
    let folder = world.machine("m");
    let boot = Boot {
        credentials: credentials(&world),
        ..boot(&folder)
    };
    let driver = driver(&world, &boot);
    driver.configure(&boot).unwrap();
    let medium = folder.join("keys.iso");
    let info = disks::show(&world.vbox, &folder).unwrap();
    assert_eq!(info.attached(CONTROLLER, MEDIUM_PORT), medium.to_str());
    assert_eq!(std::fs::metadata(&medium).unwrap().permissions().mode() & 0o777, 0o600);
    let mut read = Vec::new();
    crate::media::iso::read_file(&medium, "host_key", &mut read).unwrap();
    assert_eq!(read, b"secret\n");
    // A start that fails takes it away, too.
    keys::take_out(&world.vbox, &folder).unwrap();
    assert!(!medium.exists());
    assert!(!world.known().contains("keys.iso"));
    // A machine that is to be told nothing has none.
    driver.configure(&boot).unwrap();
    let without = Boot {
        credentials: Vec::new(),
        oem_strings: Vec::new(),
        ..boot
    };
    driver.configure(&without).unwrap();
    assert!(!medium.exists());
    assert_eq!(
        disks::show(&world.vbox, &folder)
            .unwrap()
            .attached(CONTROLLER, MEDIUM_PORT),
        None
    );
}

#[test]
fn the_medium_of_a_removed_machine_is_forgotten() {
    let world = World::new();
    let folder = world.machine("m");
    let iso = iso(&world);
    let boot = Boot {
        cdrom: Some(iso.clone()),
        ..boot(&folder)
    };
    driver(&world, &boot).configure(&boot).unwrap();
    assert!(world.known().contains("installer.iso"));
    disks::remove(&world.vbox, &folder).unwrap();
    assert!(iso.exists());
    assert_eq!(world.known(), "");
}

#[test]
fn the_medium_goes_with_its_file_when_the_machine_is_kept() {
    let world = World::new();
    let folder = world.machine("m");
    let iso = iso(&world);
    let boot = Boot {
        cdrom: Some(iso.clone()),
        ..boot(&folder)
    };
    driver(&world, &boot).configure(&boot).unwrap();
    assert!(world.known().contains("installer.iso"));
    let layer = world.place("layers/install");
    moving::keep(&world.vbox, &folder, &layer, "install").unwrap();
    std::fs::remove_file(&iso).unwrap();
    assert!(!world.known().contains("installer.iso"));
    let overlay = world.place("next");
    disks::create_overlay(&world.vbox, &overlay, "next", &[&layer]).unwrap();
    let info = disks::show(&world.vbox, &overlay).unwrap();
    assert_eq!(info.attached(CONTROLLER, MEDIUM_PORT), None);
    assert_eq!(info.get("nic1"), Some("none"));
}

#[test]
fn what_is_no_image_is_refused_with_its_name() {
    let world = World::new();
    let folder = world.machine("m");
    let broken = world.place("broken.iso");
    std::fs::write(&broken, "not an ISO").unwrap();
    for iso in [broken, world.place("missing.iso")] {
        let boot = Boot {
            cdrom: Some(iso.clone()),
            ..boot(&folder)
        };
        let error = driver(&world, &boot).configure(&boot).unwrap_err();
        assert!(format!("{error:#}").contains(&*iso.to_string_lossy()), "{error:#}");
    }
}

#[test]
fn wrong_sizes_are_refused() {
    let world = World::new();
    let folder = world.machine("m");
    let boot = boot(&folder);
    for (cpus, memory_mib, said) in [(999, 1024, "CPU count"), (1, 2, "RAM size")] {
        let size = Size { cpus, memory_mib };
        let driver = VirtualBox::new(&world.vbox, size, &boot.disk, &boot.run_dir);
        let error = driver.configure(&boot).unwrap_err();
        assert!(format!("{error:#}").contains(said), "{error:#}");
    }
}

/// Where the driver is loaded this host is none of those that the test is about.
fn has_driver() -> bool {
    Path::new("/dev/vboxdrv").exists()
}

#[test]
fn a_start_without_the_kernel_driver_says_so() {
    assert!(
        !has_driver(),
        "this test is for hosts without VirtualBox's kernel driver"
    );
    let world = World::new();
    let folder = world.machine("m");
    let boot = boot(&folder);
    // As the guardian would run it: the tests are not that program.
    let line = world
        .vbox
        .headless(arguments::headless(&disks::settings(&folder).unwrap()));
    let finished = process::run_any(&line, Duration::from_secs(300), &Cancel::default()).unwrap();
    assert!(!finished.status.success());
    let said = String::from_utf8_lossy(&finished.stderr).into_owned() + &String::from_utf8_lossy(&finished.stdout);
    let fault = hints::fault("VBoxHeadless", &logs::with_reason(said, &folder), false);
    assert_eq!(fault.cause, Cause::HostMissing);
    assert!(fault.message.contains("Kernel driver not installed"), "{fault}");
    assert!(fault.hint.unwrap().contains("modprobe vboxdrv"));

    let start = vec![
        "startvm".into(),
        disks::settings(&folder).unwrap().into(),
        "--type".into(),
        "headless".into(),
    ];
    let error = world.vbox.change(start).unwrap_err();
    let fault = Fault::of(&error).unwrap();
    assert!(
        fault.message.contains("terminated unexpectedly during startup"),
        "{fault}"
    );
    assert!(fault.hint.as_ref().unwrap().contains("/dev/vboxdrv"));
    assert_eq!(driver(&world, &boot).state().unwrap(), State::Off);
}

#[test]
fn a_kernel_cannot_be_booted_directly() {
    let world = World::new();
    let folder = world.machine("m");
    let boot = Boot {
        kernel: Some(DirectKernel {
            kernel: "/vmlinuz".into(),
            initrd: "/initrd".into(),
            arguments: String::new(),
        }),
        ..boot(&folder)
    };
    let error = driver(&world, &boot).start(&boot).unwrap_err();
    assert!(
        Fault::of(&error)
            .unwrap()
            .hint
            .as_ref()
            .unwrap()
            .contains("--machine qemu")
    );
}

#[test]
fn a_machine_that_does_not_run_is_off_to_everybody() {
    let world = World::new();
    let folder = world.machine("m");
    let boot = boot(&folder);
    let mut machine = driver(&world, &boot);
    assert_eq!(machine.state().unwrap(), State::Off);
    assert!(!runs(&world.vbox, &folder));
    let error = machine.press_power().unwrap_err();
    assert!(error.to_string().contains("is not currently running"), "{error}");
    assert!(machine.screenshot(&world.place("screen.png")).is_err());
    assert!(machine.release().is_err());
    let error = (machine.watcher())().unwrap_err();
    assert_eq!(Fault::of(&error).unwrap().cause, Cause::Machine);
    machine.kill().unwrap();
    resume(&world.vbox, &folder).unwrap();
}

#[test]
fn a_process_that_was_left_is_ended_and_its_pid_forgotten() {
    let world = World::new();
    let folder = world.machine("m");
    let boot = boot(&folder);
    let hangs = CommandLine::new("sh", ["-c", "while :; do sleep 1; done", "VBoxHeadless"]).arg(&folder);
    let mut child = hangs.command().spawn().unwrap();
    std::fs::write(boot.run_dir.join(PID_FILE), child.id().to_string()).unwrap();
    let status = std::thread::scope(|scope| {
        let ending = scope.spawn(|| end_leftover(&world.vbox, &folder, &boot.run_dir));
        let status = child.wait().unwrap();
        ending.join().unwrap().unwrap();
        status
    });
    assert!(!status.success());
    assert!(!boot.run_dir.join(PID_FILE).exists());
}

#[test]
fn a_process_that_has_a_pid_by_chance_is_left_alone() {
    let world = World::new();
    let folder = world.machine("m");
    let boot = boot(&folder);
    let mut child = CommandLine::new("sleep", ["600"]).command().spawn().unwrap();
    std::fs::write(boot.run_dir.join(PID_FILE), child.id().to_string()).unwrap();
    let ended = end_leftover(&world.vbox, &folder, &boot.run_dir);
    let status = child.try_wait().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    ended.unwrap();
    assert_eq!(status, None);
    assert!(!boot.run_dir.join(PID_FILE).exists());
}

#[test]
fn a_disk_that_changes_is_activity() {
    let world = World::new();
    let folder = world.machine("m");
    let boot = boot(&folder);
    let mut machine = driver(&world, &boot);
    let first = machine.activity().unwrap().disk_written;
    assert_eq!(machine.activity().unwrap().disk_written, first);
    let disk = disks::files_in(&folder, "vdi").unwrap().remove(0);
    let file = std::fs::File::options().append(true).open(disk).unwrap();
    // Rewritten without growing.
    file.set_modified(SystemTime::now() + Duration::from_secs(5)).unwrap();
    let second = machine.activity().unwrap().disk_written;
    assert!(second > first);
    std::io::Write::write_all(&mut &file, &vec![1; 1 << 16]).unwrap();
    assert!(machine.activity().unwrap().disk_written >= second + (1 << 16));
}
