//! Hashing must not be what a download waits for.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use super::world::{World, bytes};
use crate::cancel::Cancel;
use crate::event::Events;
use crate::media::digest::{Algorithm, Digest};
use crate::media::supply::hash;

/// How many MiB are hashed.
const SIZE: usize = 64;

/// Slower is a build without optimisation or without the processor's instructions: 150 MB/s, while a fast line brings
/// 125.
const ENOUGH: Duration = Duration::from_millis(450);

/// How long this thread has computed: other tests run beside it, and have their share of the clock.
fn computed() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap()
}

#[test]
fn hashing_keeps_up_with_a_fast_line() {
    let world = World::new();
    let file = world.cache().with_file_name("large");
    let content = bytes(SIZE << 20, 5);
    fs_err::write(&file, &content).unwrap();
    for (algorithm, digits) in [(Algorithm::Sha256, 64), (Algorithm::Sha512, 128)] {
        let like = Digest::new(algorithm, &"0".repeat(digits)).unwrap();
        let measure = |_| {
            let start = computed();
            hash(&file, &like, &Events::ignore(), &Cancel::default()).unwrap();
            computed().checked_sub(start).unwrap()
        };
        let fastest = (0..3).map(measure).min().unwrap();
        assert!(fastest < ENOUGH, "{algorithm:?}: {SIZE} MiB took {fastest:?}");
    }
}
