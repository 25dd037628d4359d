//! Machines whose files are gone, in the real `VirtualBox`.

use super::super::testing::World;
use super::*;

#[test]
fn what_is_known_and_gone_is_found_and_forgotten() {
    let world = World::new();
    let [lost, there, near] =
        ["m/work/install/virtualbox", "n/virtualbox", "m2/virtualbox"].map(|name| world.place(name));
    for folder in [&lost, &there, &near] {
        disks::create(&world.vbox, folder, "m", 1).unwrap();
    }
    let root = world.place("m");
    assert_eq!(machines_in(&world.vbox, &world.dir()).unwrap(), Vec::<String>::new());
    std::fs::remove_dir_all(&root).unwrap();
    std::fs::remove_dir_all(&near).unwrap();
    let found = machines_in(&world.vbox, &root).unwrap();
    assert_eq!(found.len(), 1, "{found:?}");
    forget(&world.vbox, Path::new(&found[0])).unwrap();
    assert_eq!(machines_in(&world.vbox, &root).unwrap(), Vec::<String>::new());
    // The other that is gone lies elsewhere, and the one that is there stays known with its disk.
    // By its settings file: once the service has been started anew, its lists name no disk of such a machine.
    let left = machines_in(&world.vbox, &world.dir()).unwrap();
    assert!(left.len() == 1 && left[0].contains("/m2/virtualbox/"), "{left:?}");
    assert!(!world.known().contains("m/work"));
    assert!(disks::show(&world.vbox, &there).is_ok());
}
