//! Disks that are full.

use std::fs;

use super::world::{World, get};
use crate::media::testing::Server;

/// Runs `job`, which is the test `name`'s, with a store on a file system of 1 MB. Where that may not be mounted the test
/// runs itself again in a name space where it may.
fn on_a_small_disk(name: &str, job: impl FnOnce(&World)) {
    const AGAIN: &str = "PROVISION_TEST_SMALL_DISK";
    let world = World::new();
    let at = world.folder.path().join("kept");
    fs::create_dir(&at).unwrap();
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=1M", "none"])
        .arg(&at)
        .status();
    if !mounted.unwrap().success() {
        assert!(std::env::var_os(AGAIN).is_none(), "not even there");
        let again = std::process::Command::new("unshare")
            .args(["--user", "--map-root-user", "--mount"])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", name])
            .env(AGAIN, "1")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&again.stdout);
        assert!(again.status.success() && said.contains("1 passed"), "{said}");
        return;
    }
    job(&world);
    let unmounted = std::process::Command::new("umount").arg("-l").arg(&at).status();
    assert!(unmounted.unwrap().success());
}

#[test]
fn a_full_disk_keeps_nothing_and_stops_nobody() {
    on_a_small_disk(
        "kept::tests::disks::a_full_disk_keeps_nothing_and_stops_nobody",
        |world| {
            let server = Server::start();
            let port = server.url("").rsplit_once(':').unwrap().1.parse().unwrap();
            server.put("/debian/small.deb", vec![1; 1000]);
            server.put("/debian/large.deb", vec![2; 3_000_000]);
            let keeper = world.online(port);
            get(&keeper, port, "/debian/small.deb");
            assert!(get(&keeper, port, "/debian/large.deb").len() > 3_000_000);
            assert!(get(&keeper, port, "/debian/large.deb").len() > 3_000_000);
            assert_eq!(world.warnings().len(), 1, "{:?}", world.warnings());
            assert_eq!(world.blobs(), 1);
            assert_eq!(
                keeper.take_unkept().len(),
                1,
                "what was fetched is known to be incomplete"
            );
            drop(keeper);
            assert!(get(&world.offline(), port, "/debian/small.deb").starts_with("HTTP/1.1 200"));
        },
    );
}
