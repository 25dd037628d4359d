//! What may stay, and what an interruption leaves.

use std::fs;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, SystemTime};

use super::world::World;
use crate::kept::prune::Size;
use crate::kept::store::Entry;
use crate::kept::{Bound, Digest, Store};

fn keep(store: &Store, key: &str, content: &[u8], age: u64) -> Digest {
    let mut incoming = store.incoming().unwrap();
    incoming.write(content).unwrap();
    let (digest, size) = incoming.finish().unwrap();
    let entry = Entry {
        key: key.into(),
        digest: digest.clone(),
        size,
        media_type: None,
        etag: None,
        modified: None,
        at: 0,
    };
    store.remember(&entry).unwrap();
    let (file, _) = store.blob(&digest).unwrap().unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(age)).unwrap();
    digest
}

#[test]
fn what_was_used_least_lately_goes_first() {
    let world = World::new();
    let store = world.store();
    assert_eq!(store.size().unwrap(), Size::default());
    let old = keep(&store, "old", &[1; 1000], 5000);
    let middle = keep(&store, "middle", &[2; 1000], 3000);
    let new = keep(&store, "new", &[3; 1000], 10);
    let all = Size { files: 3, bytes: 3000 };
    assert_eq!(store.size().unwrap(), all);
    assert_eq!(store.prune(Bound::default()).unwrap(), Size::default());
    let by_age = Bound {
        age: Some(Duration::from_secs(4000)),
        ..Bound::default()
    };
    let by_both = Bound {
        age: Some(Duration::from_secs(5)),
        bytes: Some(2500),
        every: true,
    };
    assert_eq!(store.beyond(by_both).unwrap(), Size { files: 1, bytes: 1000 });
    let one = Bound {
        every: false,
        ..by_both
    };
    assert_eq!(store.beyond(one).unwrap(), all);
    assert_eq!(store.beyond(by_age).unwrap(), Size { files: 1, bytes: 1000 });
    assert_eq!(store.size().unwrap(), all);
    assert_eq!(store.prune(by_age).unwrap(), Size { files: 1, bytes: 1000 });
    assert!(!store.has(&old, None) && store.entry("old").is_none() && store.has(&middle, None));
    // Use makes young.
    store.blob(&middle).unwrap();
    let by_size = Bound {
        bytes: Some(1500),
        ..Bound::default()
    };
    store.prune(by_size).unwrap();
    assert!(store.has(&middle, Some(1000)) && !store.has(&new, None));
}

#[test]
fn nothing_is_kept_where_a_guests_disk_needs_the_room() {
    let world = World::new();
    let free = crate::host::disk::free_space(world.folder.path()).unwrap();
    let error = world.store().with_floor(free * 2).incoming().err().unwrap();
    assert_eq!(
        crate::fault::Fault::of(&error).unwrap().cause,
        crate::fault::Cause::Space
    );
    assert!(world.store().with_floor(free / 2).incoming().is_ok());
}

#[test]
fn what_a_killed_process_left_goes_and_what_is_written_stays() {
    let world = World::new();
    let store = world.store();
    let mut writing = store.incoming().unwrap();
    writing.write(b"content").unwrap();
    fs::write(world.folder.path().join("kept/partial/.left"), "half").unwrap();
    assert_eq!(store.prune(Bound::default()).unwrap(), Size { files: 1, bytes: 4 });
    let (digest, _) = writing.finish().unwrap();
    assert!(store.has(&digest, Some(7)));
}

#[test]
fn processes_that_prune_and_keep_at_the_same_time_do_not_disturb_each_other() {
    let (world, keeping) = (World::new(), AtomicU8::new(2));
    std::thread::scope(|scope| {
        for who in 0..2u8 {
            let (store, keeping) = (world.store(), &keeping);
            scope.spawn(move || {
                for number in 0..60u8 {
                    keep(&store, &format!("{who} {number}"), &[who, number], 0);
                }
                keeping.fetch_sub(1, Ordering::SeqCst);
            });
        }
        for _ in 0..2 {
            scope.spawn(|| {
                while keeping.load(Ordering::SeqCst) > 0 {
                    world.store().prune(Bound::default()).unwrap();
                }
            });
        }
    });
    assert_eq!(world.blobs(), 120);
}

#[test]
fn content_is_hashed_before_it_is_used() {
    let world = World::new();
    let store = world.store();
    let digest = keep(&store, "key", b"content", 0);
    fs::write(world.folder.path().join("kept/blobs").join(digest.hex()), "Content").unwrap();
    assert!(store.has(&digest, Some(7)), "its size is right");
    assert!(store.blob(&digest).unwrap().is_none());
    assert!(!store.has(&digest, None), "it is gone");
}
