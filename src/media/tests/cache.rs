//! What is in the cache already.

use std::sync::Arc;

use fs_err as fs;

use super::world::{ARCHIVED, FILE, NAME, SIGNATURE, SIZE, SUMS, World, bytes, hasty, sha512};
use crate::event::Events;
use crate::fault::{Cause, Fault};
use crate::lock::Lock;
use crate::media::supply::Supply;
use crate::media::testing::Flaw;
use crate::media::{Digest, Installed, Known, Origin, Pinned, Request, cached, list, remove_rest, rests};

#[test]
fn a_damaged_iso_is_set_aside_and_fetched_again() {
    let world = World::new();
    world.obtain().holding(&world.content);
    fs::write(world.place(), bytes(SIZE, 9)).unwrap();
    world.server.spoil(FILE, (0..3).map(|_| vec![Flaw::Status(503)]));
    let outcome = world.obtain();
    assert!(outcome.result.is_err());
    assert!(outcome.warnings()[0].contains("damaged"), "{:?}", outcome.warnings());
    let damaged = world.place().with_extension("iso.damaged");
    assert!(damaged.exists() && !world.place().exists());
    world.obtain().holding(&world.content);
    assert!(!damaged.exists());
}

#[test]
fn a_newer_release_is_taken_when_asked_to_refresh() {
    let world = World::new();
    world.obtain().holding(&world.content);
    let newer = bytes(SIZE, 3);
    world.publish("debian-13.3.0-amd64-netinst.iso", &newer);
    world.obtain().holding(&world.content);
    let request = Request {
        refresh: true,
        ..world.request()
    };
    world.obtain_as(&request).holding(&newer);
    assert_eq!(list(&world.cache()).unwrap().len(), 2);
}

#[test]
fn an_older_list_brings_no_older_release() {
    let world = World::new();
    world.obtain().holding(&world.content);
    // A mirror that lags, or somebody who plays an old list again.
    world.publish_signed("debian-13.1.0-amd64-netinst.iso", &bytes(SIZE, 3), 30);
    let request = Request {
        refresh: true,
        ..world.request()
    };
    for _ in 0..2 {
        let outcome = world.obtain_as(&request);
        assert!(outcome.warnings()[0].contains("older list"), "{:?}", outcome.warnings());
        outcome.holding(&world.content);
    }
}

/// Makes the kept resolution look `hours` old.
pub fn age(world: &World, hours: u64) {
    for entry in fs::read_dir(world.cache().join("resolved")).unwrap() {
        let path = entry.unwrap().path();
        let mut kept: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let at = kept["at"].as_u64().unwrap() - hours * 3600;
        kept["at"] = at.into();
        fs::write(&path, kept.to_string()).unwrap();
    }
}

#[test]
fn after_a_day_the_mirror_is_asked_again() {
    let world = World::new();
    world.obtain().holding(&world.content);
    let newer = bytes(SIZE, 3);
    world.publish("debian-13.3.0-amd64-netinst.iso", &newer);
    age(&world, 23);
    world.obtain().holding(&world.content);
    age(&world, 2);
    assert!(!cached(&world.request(), &world.cache()).unwrap().unwrap().fresh);
    world.obtain().holding(&newer);
}

#[test]
fn a_pinned_iso_is_taken_while_it_is_sound_however_old() {
    let world = World::new();
    let iso = world.obtain().result.unwrap();
    let newer = bytes(SIZE, 3);
    world.publish("debian-13.3.0-amd64-netinst.iso", &newer);
    age(&world, 48);
    world.server.asked();
    let mut installed = Installed {
        digest: iso.digest.to_string(),
        known: None,
    };
    let request = Request {
        pinned: Some(&installed),
        ..world.request()
    };
    let known = cached(&request, &world.cache()).unwrap().unwrap();
    assert_eq!((&known.digest, known.fresh), (&iso.digest, true));
    // Nor is it another's because the ISO has left this host, or never was here.
    let elsewhere = tempfile::tempdir().unwrap();
    assert_eq!(cached(&request, elsewhere.path()).unwrap(), None);
    let gone = Known { path: None, ..known };
    installed.known = Some(gone.clone());
    let request = Request {
        pinned: Some(&installed),
        ..world.request()
    };
    assert_eq!(cached(&request, elsewhere.path()).unwrap(), Some(gone));
    world.obtain_as(&request).holding(&world.content);
    assert!(world.server.asked().is_empty(), "no mirror is asked");
    fs::write(&iso.path, "damaged").unwrap();
    world.obtain_as(&request).holding(&newer);
}

#[test]
fn a_locked_iso_comes_from_wherever_it_is_and_no_other_does() {
    let world = World::new();
    let digest = Digest::try_from(format!("sha512:{}", sha512(&world.content))).unwrap();
    let lock = Pinned {
        name: NAME.to_owned(),
        digest,
    };
    let obtain = || {
        let (events, _) = Events::recorder();
        let supply = Supply {
            patience: hasty(),
            cache: &world.cache(),
            events: &events,
            cancel: &world.cancel,
            offline: false,
        };
        supply.pinned(&lock, &world.release)
    };
    // A newer release is out, and the older one only in the archive.
    world.publish("debian-13.3.0-amd64-netinst.iso", &bytes(SIZE, 3));
    world.server.put(ARCHIVED, world.content.as_slice());
    world.server.remove(FILE);
    let iso = obtain().unwrap();
    assert!(fs::read(&iso.path).unwrap() == world.content);
    assert_eq!(iso.origin, Origin::Checksum);
    world.server.asked();
    assert_eq!(obtain().unwrap(), iso);
    assert!(
        world.server.asked().is_empty(),
        "no mirror is asked for one that is there"
    );
    // A mirror that has another file under its name.
    fs::remove_file(&iso.path).unwrap();
    for place in [FILE, ARCHIVED] {
        world.server.put(place, bytes(SIZE, 4));
    }
    let error = obtain().unwrap_err();
    assert_eq!(Fault::of(&error).unwrap().cause, Cause::Verification);
}

#[test]
fn without_network_an_older_release_is_used_with_a_warning() {
    let world = World::new();
    world.obtain().holding(&world.content);
    age(&world, 48);
    world.server.spoil(SUMS, (0..3).map(|_| vec![Flaw::Status(503)]));
    let outcome = world.obtain().holding(&world.content);
    assert!(
        outcome.warnings().iter().any(|w| w.contains("no mirror answers")),
        "{:?}",
        outcome.warnings()
    );
    // A wrong signature is not a missing network.
    world.server.put(SIGNATURE, "-----BEGIN PGP SIGNATURE-----");
    assert_eq!(world.obtain().fault().0, Cause::Verification);
}

#[test]
fn without_network_and_cache_the_error_says_so() {
    let world = World::new();
    world.server.spoil(SUMS, (0..3).map(|_| vec![Flaw::Status(503)]));
    let (cause, text, hint) = world.obtain().fault();
    assert_eq!(cause, Cause::Network);
    assert!(text.contains("503") && hint.contains("HTTPS_PROXY"), "{text} {hint}");
}

#[test]
fn offline_no_server_is_asked_and_a_missing_iso_is_named() {
    let world = World::new();
    let offline = Request {
        offline: true,
        ..world.request()
    };
    let (cause, _, hint) = world.obtain_as(&offline).fault();
    assert_eq!(cause, Cause::Network);
    assert!(hint.contains("provision fetch"), "{hint}");
    assert!(world.server.asked().is_empty());
    world.obtain().holding(&world.content);
    world.server.asked();
    // However old.
    age(&world, 1000);
    world.obtain_as(&offline).holding(&world.content);
    fs::write(world.place(), "damaged").unwrap();
    let (cause, text, _) = world.obtain_as(&offline).fault();
    assert_eq!(cause, Cause::Network);
    assert!(text.contains(NAME), "{text}");
    assert!(world.server.asked().is_empty());
}

#[test]
fn a_kept_list_is_verified_again() {
    let world = World::new();
    world.obtain().holding(&world.content);
    for entry in fs::read_dir(world.cache().join("resolved")).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replace(NAME, "debian-13.9.0-amd64-netinst.iso")).unwrap();
    }
    assert_eq!(cached(&world.request(), &world.cache()).unwrap(), None);
    world.server.asked();
    world.obtain().holding(&world.content);
    assert_eq!(world.server.count(SUMS), 1, "the mirror is asked anew");
}

#[test]
fn what_is_known_is_told_without_network_or_content() {
    let world = World::new();
    assert_eq!(cached(&world.request(), &world.cache()).unwrap(), None);
    assert!(list(&world.cache()).unwrap().is_empty());
    let iso = world.obtain().result.unwrap();
    world.server.asked();
    let known = cached(&world.request(), &world.cache()).unwrap().unwrap();
    assert_eq!(
        (&known.name, &known.digest, &known.origin),
        (&iso.name, &iso.digest, &iso.origin)
    );
    assert_eq!(known.path.as_ref(), Some(&iso.path));
    assert!(known.fresh);
    let refreshed = Request {
        refresh: true,
        ..world.request()
    };
    assert!(!cached(&refreshed, &world.cache()).unwrap().unwrap().fresh);
    let found = list(&world.cache()).unwrap();
    assert_eq!((found[0].record.size, &found[0].path), (SIZE as u64, &iso.path));
    // The digest is known even when the file is gone.
    fs::remove_file(&iso.path).unwrap();
    let known = cached(&world.request(), &world.cache()).unwrap().unwrap();
    assert_eq!((known.path, known.digest), (None, iso.digest));
    assert!(world.server.asked().is_empty());
}

#[test]
fn another_key_does_not_share_what_is_kept() {
    let world = World::new();
    world.obtain().holding(&world.content);
    let other = crate::media::testing::KeyMaker::default().make().armoured();
    let request = Request {
        key: &other,
        ..world.request()
    };
    assert_eq!(cached(&request, &world.cache()).unwrap(), None);
    assert_eq!(world.obtain_as(&request).fault().0, Cause::Verification);
}

/// An ISO that was fetched for another key's signature is kept as what this one signed, for machines that are pinned to it.
#[test]
fn who_signed_it_last_is_written_down() {
    let world = World::new();
    world.obtain().holding(&world.content);
    let record = world.place().with_file_name("iso.json");
    let signer = list(&world.cache()).unwrap()[0].record.origin.clone();
    let mut text: serde_json::Value = serde_json::from_slice(&fs::read(&record).unwrap()).unwrap();
    text["origin"]["signed"]["fingerprint"] = "00".into();
    fs::write(&record, text.to_string()).unwrap();
    assert_ne!(list(&world.cache()).unwrap()[0].record.origin, signer);
    world.obtain().holding(&world.content);
    assert_eq!(list(&world.cache()).unwrap()[0].record.origin, signer);
}

#[test]
fn two_at_once_do_not_disturb_each_other() {
    let world = Arc::new(World::new());
    world.server.spoil(FILE, [vec![Flaw::BreakAfter(1_000_000)]]);
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let world = Arc::clone(&world);
            std::thread::spawn(move || world.obtain().holding(&world.content))
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(
        world.server.count(FILE),
        2,
        "one downloads, in two pieces; the others find it done"
    );
}

#[test]
fn what_is_no_iso_to_use_is_listed_and_removed() {
    let world = World::new();
    assert!(rests(&world.cache()).unwrap().is_empty());
    world.obtain().holding(&world.content);
    assert!(rests(&world.cache()).unwrap().is_empty());
    let beside = |extension: &str| world.place().with_extension(extension);
    fs::write(beside("iso.part"), "half").unwrap();
    fs::write(beside("iso.part.json"), "{}").unwrap();
    fs::write(beside("iso.damaged"), "damaged").unwrap();
    let orphan = world.cache().join("sha512-0000/orphan.iso");
    fs::create_dir_all(orphan.parent().unwrap()).unwrap();
    fs::write(&orphan, "whose").unwrap();
    let found = rests(&world.cache()).unwrap();
    let shown: Vec<_> = found.iter().map(|rest| (rest.kind, rest.bytes)).collect();
    assert_eq!(shown, [("ISO", 5), ("damaged", 7), ("download", 4)]);
    let lock = Lock::try_take(&world.place().with_file_name("lock")).unwrap();
    assert!(
        !remove_rest(&found[2]).unwrap() && beside("iso.part").exists(),
        "a download runs"
    );
    drop(lock);
    for rest in &found {
        assert!(remove_rest(rest).unwrap());
    }
    assert!(!beside("iso.part.json").exists() && !orphan.exists());
    assert!(rests(&world.cache()).unwrap().is_empty());
    assert_eq!(list(&world.cache()).unwrap().len(), 1);
}

#[test]
fn a_lost_record_is_written_again() {
    let world = World::new();
    world.obtain().holding(&world.content);
    let before = list(&world.cache()).unwrap();
    let record = world.place().with_file_name("iso.json");
    for lost in [None, Some("{ not json")] {
        fs::remove_file(&record).unwrap();
        if let Some(text) = lost {
            fs::write(&record, text).unwrap();
        }
        assert!(list(&world.cache()).unwrap().is_empty());
        world.obtain().holding(&world.content);
        let after = list(&world.cache()).unwrap();
        assert_eq!(
            (&after[0].path, &after[0].record.digest),
            (&before[0].path, &before[0].record.digest)
        );
        assert_eq!(after[0].record.size, SIZE as u64);
    }
}
