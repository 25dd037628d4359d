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
    let known = world.known();
    assert!(!known.contains("m/work") && known.contains("m2/virtualbox"), "{known}");
    assert!(disks::show(&world.vbox, &there).is_ok());
}
