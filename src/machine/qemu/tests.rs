//! Tests of the driver against real machines.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::testing::{DEAF, Guest, REBOOTS, eventually};
use super::{end_leftover, runs};
use crate::cancel::Cancel;
use crate::machine::{Machine as _, State, Stopped, shut_down};

#[test]
fn a_guest_that_does_not_power_off_is_told_from_one_that_does() {
    let mut guest = Guest::start(DEAF);
    let stopped =
        guest.reaped_meanwhile(|mut guest| shut_down(&mut guest, Duration::from_millis(500), &Cancel::default()));
    assert_eq!(stopped.unwrap(), Stopped::PowerCut);
    assert!(!runs(guest.dir()) && !guest.dir().join("machine.pid").exists());
}

#[test]
fn a_stopped_qemu_blocks_nobody_and_can_be_ended() {
    let mut guest = Guest::start(DEAF);
    guest.signal(Signal::STOP);
    let begun = Instant::now();
    // The socket's queue is full after two; then connect(2) would wait for ever.
    for _ in 0..10 {
        assert!(runs(guest.dir()));
    }
    assert!(begun.elapsed() < Duration::from_secs(5));
    let dir = guest.dir().to_owned();
    guest.reaped_meanwhile(|_| end_leftover(&dir)).unwrap();
    assert!(!guest.dir().join("machine.pid").exists());
}

#[test]
fn a_machine_without_a_guardian_is_killed_and_its_pid_forgotten() {
    let mut guest = Guest::start(DEAF);
    guest.reaped_meanwhile(|mut machine| machine.kill()).unwrap();
    assert!(!guest.dir().join("machine.pid").exists());
}

#[test]
fn a_guest_may_reboot() {
    let mut guest = Guest::start(REBOOTS);
    eventually("the guest to boot three times", || guest.console().contains("..."));
    assert!(!guest.has_ended());
    assert_eq!(guest.machine().state().unwrap(), State::Running);
}
