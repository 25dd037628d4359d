//! The arguments as tables.

use super::*;

const MACHINE: &str = "/i/d/m/m.vbox";
const V61: Version = Version::new(6, 1);
const V70: Version = Version::new(7, 0);
const V71: Version = Version::new(7, 1);
const V72: Version = Version::new(7, 2);

fn boot() -> Boot {
    Boot {
        name: "jdoe".into(),
        disk: "/i/d".into(),
        cdrom: None,
        kernel: None,
        forwards: None,
        credentials: Vec::new(),
        oem_strings: Vec::new(),
        durability: Durability::Kept,
        memory: None,
        run_dir: "/i/run".into(),
    }
}

fn joined(args: &Arguments) -> String {
    let words: Vec<_> = args.iter().map(|word| word.to_string_lossy()).collect();
    format!(" {} ", words.join(" "))
}

#[test]
fn each_call_is_spelled_as_the_manual_says() {
    let m = Path::new(MACHINE);
    let forward = [Forward { host: 8443, guest: 443 }];
    let [serial, flush] = extra_data(m, Durability::Kept);
    let [_, scratch] = extra_data(m, Durability::Scratch);
    let table: [(Arguments, &str); 26] = [
        (
            create("m", Path::new("/i/d"), V61),
            "createvm --register --ostype Linux26_64 --name m --basefolder /i/d",
        ),
        (
            create("m", Path::new("/i/d"), V70),
            "createvm --register --ostype Linux26_64 --name m --basefolder /i/d",
        ),
        (
            create("m", Path::new("/i/d"), V71),
            "createvm --register --ostype Linux26_64 --name m --platform-architecture x86 --basefolder /i/d",
        ),
        (
            forwards(m, &["a", "b"], Some(&forward)),
            "modifyvm /i/d/m/m.vbox --natpf1 delete a --natpf1 delete b --natpf1 port443,tcp,127.0.0.1,8443,,443 --nic1 nat",
        ),
        (
            forwards(m, &["a"], None),
            "modifyvm /i/d/m/m.vbox --natpf1 delete a --nic1 none",
        ),
        (rename(m, "n"), "modifyvm /i/d/m/m.vbox --name n"),
        (
            controller(m),
            "storagectl /i/d/m/m.vbox --name SATA --add sata --controller IntelAhci --portcount 2 --hostiocache on --bootable on",
        ),
        (
            create_disk(Path::new("/i/d/m/disk.vdi"), 20),
            "createmedium disk --format VDI --variant Standard --size 20480 --filename /i/d/m/disk.vdi",
        ),
        (
            attach_disk(m, Path::new("/i/d/m/disk.vdi")),
            "storageattach /i/d/m/m.vbox --storagectl SATA --device 0 --port 0 --type hdd --discard on --nonrotational on --medium /i/d/m/disk.vdi",
        ),
        (
            attach_medium(m, Path::new("/iso")),
            "storageattach /i/d/m/m.vbox --storagectl SATA --device 0 --port 1 --type dvddrive --medium /iso",
        ),
        (
            detach_medium(m),
            "storageattach /i/d/m/m.vbox --storagectl SATA --device 0 --port 1 --medium none",
        ),
        (
            serial,
            "setextradata /i/d/m/m.vbox VBoxInternal/Devices/ahci/0/Config/Port0/SerialNumber provision",
        ),
        (
            flush,
            "setextradata /i/d/m/m.vbox VBoxInternal/Devices/ahci/0/LUN#0/Config/IgnoreFlush 0",
        ),
        (
            scratch,
            "setextradata /i/d/m/m.vbox VBoxInternal/Devices/ahci/0/LUN#0/Config/IgnoreFlush 1",
        ),
        (headless(m), "--startvm /i/d/m/m.vbox --vrde off"),
        (control(m, "acpipowerbutton"), "controlvm /i/d/m/m.vbox acpipowerbutton"),
        (
            screenshot(m, Path::new("/s.png")),
            "controlvm /i/d/m/m.vbox screenshotpng /s.png",
        ),
        (discard_state(m), "discardstate /i/d/m/m.vbox"),
        (take_snapshot(m, "s"), "snapshot /i/d/m/m.vbox take s"),
        (
            link(m, "s", "n", Path::new("/j")),
            "clonevm /i/d/m/m.vbox --snapshot s --options link --register --name n --basefolder /j",
        ),
        (
            move_to(m, Path::new("/layers/K")),
            "movevm /i/d/m/m.vbox --type basic --folder /layers/K",
        ),
        (register(m), "registervm /i/d/m/m.vbox"),
        (delete("U"), "unregistervm U --delete"),
        (show(m), "showvminfo /i/d/m/m.vbox --machinereadable"),
        (
            relocate("U", Path::new("/d.vdi")),
            "modifymedium disk U --setlocation /d.vdi",
        ),
        (close_medium(Path::new("/iso")), "closemedium dvd /iso"),
    ];
    for (args, expected) in table {
        assert_eq!(joined(&args).trim(), expected);
    }
}

#[test]
fn hardware_is_the_same_but_for_the_options_of_each_version() {
    let size = Size {
        cpus: 2,
        memory_mib: 4096,
    };
    let line = |version| joined(&hardware(Path::new(MACHINE), &boot(), size, version));
    let in_all = [
        " --cpus 2 ",
        " --memory 4096 ",
        " --nic1 nat --nictype1 82540EM --macaddress1 080027000001 ",
        " --uart1 0x3F8 4 --uartmode1 file /i/run/console.log ",
        " --uart2 0x2F8 3 --uartmode2 file /i/run/installer.log ",
        " --vrde off ",
    ];
    let table: [(Version, &[&str], &[&str]); 4] = [
        (V61, &[" --audio none "], &["--audio-driver", "localhostreachable"]),
        (
            V70,
            &[
                " --audio-driver none --audio-enabled off ",
                " --nat-localhostreachable1 on ",
            ],
            &[" --audio "],
        ),
        (V71, &[" --nat-localhostreachable1 on "], &[" --audio "]),
        (V72, &[" --nat-localhostreachable1 on "], &[" --audio "]),
    ];
    for (version, there, absent) in table {
        let line = line(version);
        for option in in_all.iter().chain(there) {
            assert!(line.contains(option), "{version}: {option} is not in {line}");
        }
        for option in absent {
            assert!(!line.contains(option), "{version}: {option} is in {line}");
        }
    }
}

#[test]
fn nothing_listens_beyond_this_host() {
    let wide = [Forward { host: 40022, guest: 22 }, Forward { host: 8443, guest: 443 }];
    for word in forwards(Path::new(MACHINE), &[], Some(&wide)) {
        let word = word.to_string_lossy();
        assert!(!word.contains(",tcp,") || word.contains(",tcp,127.0.0.1,"), "{word}");
    }
}
