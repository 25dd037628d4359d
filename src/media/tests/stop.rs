//! Ctrl-C while a server says nothing. A signal is for a whole process, so the download has one of its own: this test
//! program again, running [`child`] only.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::world::{FILE, World, hasty, sha512};
use crate::cancel::Cancel;
use crate::config::{Checksum, IsoChoice, Location};
use crate::event::Events;
use crate::fault::{Cause, Fault};
use crate::media::http::Patience;
use crate::media::testing::Flaw;
use crate::media::{Request, obtain_with};
use crate::wait::Wait;

const FOLDER: &str = "PROVISION_TEST_FOLDER";
const ADDRESS: &str = "PROVISION_TEST_ADDRESS";
const SUM: &str = "PROVISION_TEST_SUM";

#[test]
#[ignore = "the other test runs it, in a process of its own"]
fn child() {
    let variable = |name| std::env::var(name).unwrap();
    let cancel = Cancel::on_signals().unwrap();
    let choice = IsoChoice {
        location: Location::Url(variable(ADDRESS)),
        checksum: Some(Checksum::Sha512(variable(SUM))),
    };
    let world = World::new();
    let request = Request {
        choice: Some(&choice),
        ..world.request()
    };
    let patience = Patience {
        silence: Duration::from_secs(600),
        ..hasty()
    };
    let folder = variable(FOLDER);
    let error = obtain_with(patience, &request, Path::new(&folder), &Events::ignore(), &cancel);
    let error = error.unwrap_err();
    assert_eq!(Fault::of(&error).unwrap().cause, Cause::Interrupted);
}

#[test]
fn the_user_can_stop_a_silent_download() {
    let world = World::new();
    world.server.spoil(FILE, [vec![Flaw::StallAfter(1_000_000)]]);
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "media::tests::stop::child", "--ignored"])
        .env(FOLDER, world.cache())
        .env(ADDRESS, world.server.url(FILE))
        .env(SUM, sha512(&world.content))
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let part = world.place().with_extension("iso.part");
    let size = || std::fs::metadata(&part).map_or(0, |data| data.len());
    Wait::new("the download to begin", Duration::from_secs(60))
        .until(|| Ok((size() == 1_000_000).then_some(())))
        .unwrap();
    let pid = i32::try_from(child.id())
        .ok()
        .and_then(rustix::process::Pid::from_raw)
        .unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let start = Instant::now();
    assert!(child.wait().unwrap().success());
    assert!(start.elapsed() < Duration::from_secs(5));
    assert_eq!(size(), 1_000_000, "what has come stays");
    let choice = IsoChoice {
        location: Location::Url(world.server.url(FILE)),
        checksum: Some(Checksum::Sha512(sha512(&world.content))),
    };
    world.server.asked();
    world
        .obtain_as(&Request {
            choice: Some(&choice),
            ..world.request()
        })
        .holding(&world.content);
    assert_eq!(world.server.asked()[0].headers["range"], "bytes=1000000-");
}
