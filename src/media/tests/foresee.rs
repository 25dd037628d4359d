//! Which ISO would be used, without getting it; and what another host needs for that.

use fs_err as fs;

use super::cache::age;
use super::world::{SIGNATURE, SUMS, World, bytes, hasty, sha512};
use crate::config::{Checksum, IsoChoice, Location};
use crate::event::Events;
use crate::fault::{Cause, Fault};
use crate::media::foresee::foresee_with;
use crate::media::{Known, Origin, Pinned, Request, cached, release_of, take_release};

fn foresee(world: &World, request: &Request) -> anyhow::Result<Known> {
    foresee_with(hasty(), request, None, &world.cache(), &Events::ignore(), &world.cancel)
}

#[test]
fn the_mirror_tells_it_and_nothing_is_downloaded() {
    let world = World::new();
    let known = foresee(&world, &world.request()).unwrap();
    assert_eq!(known.digest.to_string(), format!("sha512:{}", sha512(&world.content)));
    assert!(matches!(known.origin, Origin::Signed { .. }) && known.path.is_none());
    let asked: Vec<_> = world.server.asked().into_iter().map(|asked| asked.target).collect();
    assert_eq!(asked, [SUMS, SIGNATURE]);
    // It is known then, to `obtain` too.
    assert_eq!(foresee(&world, &world.request()).unwrap(), known);
    assert!(world.server.asked().is_empty());
    assert_eq!(
        world.obtain().holding(&world.content).result.unwrap().digest,
        known.digest
    );
    assert_eq!(world.server.count(SUMS), 0);
    assert!(foresee(&world, &world.request()).unwrap().path.is_some());
    // After a day it is asked for again, and taken as it was where no mirror answers.
    world.publish("debian-13.3.0-amd64-netinst.iso", &bytes(10, 3));
    age(&world, 48);
    assert!(foresee(&world, &world.request()).unwrap().name.contains("13.3.0"));
    age(&world, 48);
    world.server.remove(SUMS);
    assert!(foresee(&world, &world.request()).unwrap().name.contains("13.3.0"));
}

#[test]
fn what_cannot_be_known_is_told() {
    let world = World::new();
    let offline = Request {
        offline: true,
        ..world.request()
    };
    let error = foresee(&world, &offline).unwrap_err();
    assert_eq!(Fault::of(&error).unwrap().cause, Cause::Network);
    assert!(world.server.asked().is_empty());
    world.server.put(SIGNATURE, "-----BEGIN PGP SIGNATURE-----\nnone\n");
    let error = foresee(&world, &world.request()).unwrap_err();
    assert_eq!(Fault::of(&error).unwrap().cause, Cause::Verification);
}

#[test]
fn the_users_own_choice_is_known_without_a_mirror() {
    let world = World::new();
    let file = world.cache().with_file_name("own.iso");
    fs::write(&file, &world.content).unwrap();
    let digits = sha512(&world.content);
    for (location, checksum, digest) in [
        (Location::File(file.clone()), None, "sha256:"),
        (Location::File(file), Some(Checksum::Sha512(digits.clone())), "sha512:"),
        (
            Location::Url("http://127.0.0.1:9/a.iso".into()),
            Some(Checksum::Sha512(digits.clone())),
            "sha512:",
        ),
    ] {
        let choice = IsoChoice { location, checksum };
        let request = Request {
            choice: Some(&choice),
            ..world.request()
        };
        let known = foresee(&world, &request).unwrap();
        assert!(known.digest.to_string().starts_with(digest), "{known:?}");
        assert!(release_of(&request, &known.digest.to_string(), &world.cache()).is_none());
    }
    let digest = foresee(&world, &world.request()).unwrap().digest;
    world.server.asked();
    let pinned = Pinned {
        name: "debian-13.1.0-amd64-netinst.iso".into(),
        digest,
    };
    let cache = world.cache();
    let (request, events) = (world.request(), Events::ignore());
    let known = foresee_with(hasty(), &request, Some(&pinned), &cache, &events, &world.cancel).unwrap();
    assert_eq!((known.name, known.digest), (pinned.name, pinned.digest));
    assert!(world.server.asked().is_empty());
}

#[test]
fn a_list_from_another_host_tells_the_iso_here_if_it_is_signed() {
    let world = World::new();
    let digest = foresee(&world, &world.request()).unwrap().digest.to_string();
    let (name, list) = release_of(&world.request(), &digest, &world.cache()).unwrap();
    assert!(release_of(&world.request(), "sha512:00", &world.cache()).is_none());
    let there = world.cache().with_file_name("there");
    let known = || {
        cached(&world.request(), &there)
            .unwrap()
            .map(|known| known.digest.to_string())
    };
    assert_eq!(known(), None);
    take_release(&name, &list, &there).unwrap();
    assert_eq!(known(), Some(digest.clone()));
    // An older one does not take its place, a newer one does; what nobody signed tells nothing.
    let file = there.join("resolved").join(&name);
    let mut changed: serde_json::Value = serde_json::from_slice(&list).unwrap();
    let with = |changed: &serde_json::Value| serde_json::to_vec(changed).unwrap();
    let before = fs::read(&file).unwrap();
    changed["sums"] = format!("{}  debian-13.9.0-amd64-netinst.iso\n", "0".repeat(128)).into();
    changed["at"] = 1.into();
    take_release(&name, &with(&changed), &there).unwrap();
    assert_eq!(fs::read(&file).unwrap(), before);
    changed["at"] = u64::MAX.into();
    take_release(&name, &with(&changed), &there).unwrap();
    assert_eq!(known(), None);
    for wrong in ["../x.json", "x.json", ""] {
        take_release(wrong, &list, &there).unwrap_err();
    }
    take_release(&name, b"{}", &there).unwrap_err();
}
