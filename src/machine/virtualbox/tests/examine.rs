//! Sound and damaged checkpoints in the real `VirtualBox`.

use super::super::disks::{create_overlay, forget};
use super::super::moving::keep;
use super::super::testing::World;
use super::*;

const SOUND: Vec<String> = Vec::new();

#[test]
fn a_checkpoint_is_sound_until_its_disk_is_damaged() {
    let world = World::new();
    let cancel = Cancel::default();
    let [base, child] = ["base", "child"].map(|name| world.place(name));
    keep(&world.vbox, &world.machine("m"), &base, "base").unwrap();
    let work = world.place("work");
    create_overlay(&world.vbox, &work, "work", &[&base]).unwrap();
    keep(&world.vbox, &work, &child, "child").unwrap();
    assert_eq!(machine(&world.vbox, &base, &[], &cancel).unwrap(), SOUND);
    assert_eq!(machine(&world.vbox, &child, &[&base], &cancel).unwrap(), SOUND);
    let other = world.place("other");
    assert!(!machine(&world.vbox, &child, &[&other], &cancel).unwrap().is_empty());
    // What lies on another keeps it in VirtualBox's lists.
    assert!(forget(&world.vbox, &base).is_err());

    let disk = &files_in(&child, "vdi").unwrap()[0];
    std::fs::write(disk, "no disk").unwrap();
    world.restart();
    let wrong = machine(&world.vbox, &child, &[&base], &cancel).unwrap();
    assert!(!wrong.is_empty());
    forget(&world.vbox, &child).unwrap();
    forget(&world.vbox, &base).unwrap();
    assert_eq!(world.known(), "");
    assert!(child.exists() && base.exists());
}

#[test]
fn an_inaccessible_disk_is_told_with_the_reason() {
    let told = "UUID:           1\nState:          inaccessible\nAccess Error:   VERR_VD_VDI_INVALID_HEADER\n";
    assert_eq!(
        inaccessible(told).as_deref(),
        Some("VirtualBox cannot read it: VERR_VD_VDI_INVALID_HEADER")
    );
    assert_eq!(inaccessible("UUID: 1\nState:          created\n"), None);
}
