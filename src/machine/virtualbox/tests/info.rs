//! What `VBoxManage` 7.2.22 printed.

use proptest::prelude::*;

use super::*;

const SHOWN: &str = r#"name="work1"
groups="/"
UUID="b3d2961e-df81-4880-8540-afef113a0409"
CfgFile="/i/work1/work1.vbox"
memory=2048
VMState="poweroff"
VMStateChangeTime="2026-11-21T11:20:29.000000000"
storagecontrollername0="SATA"
"SATA-0-0"="/i/a \"b\"/Snapshots/{a54f0ac6-afd5-4d7e-a9b8-51cedd72d756}.vdi"
"SATA-ImageUUID-0-0"="a54f0ac6-afd5-4d7e-a9b8-51cedd72d756"
"SATA-1-0"="none"
Forwarding(0)="p8443,tcp,127.0.0.1,8443,,443"
Forwarding(1)="ssh,tcp,127.0.0.1,40022,,22"
 rec_screen0
rec_screen_id=0
description="a \"quoted\" \\ back
second line=x
VMState=\"running\"
"
SnapshotName="layer"
SnapshotUUID="7d8b157b-5b97-4a43-954c-23a3ae48529c"
SnapshotName-1="later"
SnapshotUUID-1="e6058e95-1d98-4725-a720-07639c02c9f3"
CurrentSnapshotName="later"
CurrentSnapshotUUID="e6058e95-1d98-4725-a720-07639c02c9f3"
CurrentSnapshotNode="SnapshotName-1"
"#;

#[test]
fn a_machine_is_read() {
    let info = Info::parse(SHOWN);
    assert_eq!(info.state(), VmState::PoweredOff);
    assert_eq!(info.get("memory"), Some("2048"));
    let disk = "/i/a \"b\"/Snapshots/{a54f0ac6-afd5-4d7e-a9b8-51cedd72d756}.vdi";
    assert_eq!(info.attached("SATA", 0), Some(disk));
    assert_eq!(info.attached("SATA", 1), None);
    assert_eq!(info.attached("IDE", 0), None);
    assert_eq!(info.forwards(), ["p8443", "ssh"]);
    let description = "a \"quoted\" \\ back\nsecond line=x\nVMState=\"running\"\n";
    assert_eq!(info.get("description"), Some(description));
}

#[test]
fn warnings_before_it_do_not_matter() {
    let warning = "WARNING: The character device /dev/vboxdrv does not exist.\n\t Please install the virtualbox-dkms package\n\n\t You will not be able to start VMs until this problem is fixed.\n";
    assert_eq!(Info::parse(&format!("{warning}{SHOWN}")), Info::parse(SHOWN));
}

#[test]
fn every_state_is_one() {
    let table = [
        ("poweroff", VmState::PoweredOff),
        ("teleported", VmState::PoweredOff),
        ("saved", VmState::Saved),
        ("aborted-saved", VmState::Saved),
        ("aborted", VmState::Aborted),
        ("running", VmState::Running),
        ("starting", VmState::Starting),
        ("restoring", VmState::Starting),
        ("livesnapshotting", VmState::Running),
        ("onlinesnapshotting", VmState::Running),
        ("deletingsnapshotlive", VmState::Running),
        ("teleporting", VmState::Running),
        ("teleportingin", VmState::Starting),
        ("paused", VmState::Paused),
        ("teleportingpausedvm", VmState::Paused),
        ("deletingsnapshotlivepaused", VmState::Paused),
        ("gurumeditation", VmState::Stuck),
        ("stopping", VmState::Busy),
        ("saving", VmState::Busy),
        ("settingup", VmState::Busy),
        ("restoringsnapshot", VmState::Busy),
        ("deletingsnapshot", VmState::Busy),
        ("dancing", VmState::Unknown),
    ];
    for (word, state) in table {
        assert_eq!(Info::parse(&format!("VMState=\"{word}\"\n")).state(), state, "{word}");
        let is_dead = [VmState::PoweredOff, VmState::Saved, VmState::Aborted, VmState::Unknown].contains(&state);
        assert_eq!(state.is_alive(), !is_dead, "{word}");
    }
    assert_eq!(Info::default().state(), VmState::Unknown);
}

#[test]
fn lists_are_read_with_what_is_gone() {
    let text = "\
VBoxManage: error: Could not find an open hard disk with UUID {cf2f8e30-a765-4b1f-aa00-9c9563485514}
Name:            <inaccessible!>
UUID:            99ccbcbb-e0de-49dd-8705-5925a4e036bb
Config file:     /l/K2/w4/w4.vbox
Encryption:     disabled
Access error details:

Name:                        L1
Guest OS:                    Debian (64-bit)
UUID:                        23aceea3-5bf6-4745-8d33-9b623bef50c8
Config file:                 /l/K1/L 1/L 1.vbox
Hardware UUID:               23aceea3-5bf6-4745-8d33-9b623bef50c8
   Name: layer (UUID: 42616664-4e37-42a6-a6f6-e2d12a893298) *
";
    let known = machines(text);
    assert_eq!(known.len(), 2);
    assert_eq!(known[0].uuid, "99ccbcbb-e0de-49dd-8705-5925a4e036bb");
    assert_eq!(known[0].settings, Path::new("/l/K2/w4/w4.vbox"));
    assert_eq!(known[1].settings, Path::new("/l/K1/L 1/L 1.vbox"));

    let text = "\
UUID:           133c4512-e848-4f91-85a5-90e8526a48e4
Parent UUID:    base
State:          created
Location:       /l/K1/L 1/disk.vdi
Capacity:       20480 MBytes

UUID:           4152f745-21c5-4ca3-b85d-fca8396f0848
Parent UUID:    133c4512-e848-4f91-85a5-90e8526a48e4
State:          inaccessible
Location:       /l/K2/x.vdi
Encryption:     disabled

";
    let disks = disks(text);
    assert_eq!(disks.len(), 2);
    assert_eq!(disks[0].parent, None);
    assert_eq!(disks[1].parent.as_ref(), Some(&disks[0].uuid));
    assert!(disks[0].lies_in(Path::new("/l/K1")) && !disks[1].lies_in(Path::new("/l/K1")));
}

proptest! {
    #[test]
    fn nothing_makes_it_panic(text in "\\PC*", cut in 0usize..SHOWN.len()) {
        let _ = Info::parse(&text).forwards();
        let _ = machines(&text);
        let _ = disks(&text);
        let _ = Info::parse(&SHOWN[..cut]);
    }

    #[test]
    fn quotation_marks_and_line_ends_come_through(value in "[a-z\"\\\\\n= ]*", key in "[A-Za-z][A-Za-z0-9()-]*") {
        let escaped = value.replace('\\', "\\\\").replace('"', "\\\"");
        let info = Info::parse(&format!("first=1\n\"{key}\"=\"{escaped}\"\nVMState=\"running\"\n"));
        if key != "VMState" && key != "first" {
            prop_assert_eq!(info.get(&key), Some(value.as_str()));
        }
        prop_assert_eq!(info.state(), VmState::Running);
    }
}
