//! An ISO of the user's own.

use std::path::PathBuf;

use fs_err as fs;

use super::world::{FILE, World, sha512};
use crate::config::{Checksum, IsoChoice, Location};
use crate::fault::Cause;
use crate::media::testing::Flaw;
use crate::media::{Origin, Request, cached};

fn file(world: &World) -> PathBuf {
    let path = world.cache().with_file_name("own.iso");
    fs::write(&path, &world.content).unwrap();
    path
}

fn choose(location: Location, checksum: Option<Checksum>) -> IsoChoice {
    IsoChoice { location, checksum }
}

#[test]
fn a_file_with_its_checksum_is_used_where_it_is() {
    let world = World::new();
    let path = file(&world);
    let choice = choose(
        Location::File(path.clone()),
        Some(Checksum::Sha512(sha512(&world.content))),
    );
    let request = Request {
        choice: Some(&choice),
        ..world.request()
    };
    let outcome = world.obtain_as(&request);
    assert!(outcome.warnings().is_empty());
    let iso = outcome.result.unwrap();
    assert_eq!(
        (iso.path, iso.origin, iso.name.as_str()),
        (path, Origin::Checksum, "own.iso")
    );
    let known = cached(&request, &world.cache()).unwrap().unwrap();
    assert_eq!(known.digest, iso.digest);
    assert!(world.server.asked().is_empty());
}

#[test]
fn a_file_with_another_checksum_is_refused_and_left_alone() {
    let world = World::new();
    let path = file(&world);
    let choice = choose(Location::File(path.clone()), Some(Checksum::Sha256("0".repeat(64))));
    let (cause, text, _) = world
        .obtain_as(&Request {
            choice: Some(&choice),
            ..world.request()
        })
        .fault();
    assert_eq!(cause, Cause::Verification);
    assert!(text.contains("sha256:000"), "{text}");
    assert!(fs::read(path).unwrap() == world.content);
}

#[test]
fn a_file_without_a_checksum_is_used_with_a_warning() {
    let world = World::new();
    let path = file(&world);
    let choice = choose(Location::File(path.clone()), None);
    let request = Request {
        choice: Some(&choice),
        ..world.request()
    };
    assert_eq!(cached(&request, &world.cache()).unwrap(), None);
    let outcome = world.obtain_as(&request);
    assert!(
        outcome.warnings()[0].contains("not verified"),
        "{:?}",
        outcome.warnings()
    );
    let iso = outcome.result.unwrap();
    assert_eq!(iso.origin, Origin::Unverified);
    assert_eq!(cached(&request, &world.cache()).unwrap().unwrap().digest, iso.digest);
    fs::write(&path, b"another").unwrap();
    assert_eq!(cached(&request, &world.cache()).unwrap(), None);
}

#[test]
fn a_missing_file_is_named() {
    let world = World::new();
    let choice = choose(Location::File("/nowhere/x.iso".into()), None);
    let request = Request {
        choice: Some(&choice),
        ..world.request()
    };
    let (cause, text, hint) = world.obtain_as(&request).fault();
    assert_eq!(cause, Cause::Config);
    assert!(
        text.contains("/nowhere/x.iso") && hint.contains("--iso"),
        "{text} {hint}"
    );
}

#[test]
fn an_address_with_its_checksum_is_downloaded_once() {
    let world = World::new();
    let sum = Checksum::Sha512(sha512(&world.content).to_uppercase());
    let choice = choose(Location::Url(world.server.url(FILE)), Some(sum));
    let request = Request {
        choice: Some(&choice),
        ..world.request()
    };
    assert_eq!(cached(&request, &world.cache()).unwrap().unwrap().path, None);
    for _ in 0..2 {
        let iso = world.obtain_as(&request).holding(&world.content).result.unwrap();
        assert_eq!(iso.origin, Origin::Checksum);
        assert_eq!(cached(&request, &world.cache()).unwrap().unwrap().path, Some(iso.path));
    }
    assert_eq!(world.server.asked().len(), 1, "no checksum file is asked for");
}

#[test]
fn an_address_with_another_checksum_is_refused() {
    let world = World::new();
    let choice = choose(
        Location::Url(world.server.url(FILE)),
        Some(Checksum::Sha256("0".repeat(64))),
    );
    let (cause, _, hint) = world
        .obtain_as(&Request {
            choice: Some(&choice),
            ..world.request()
        })
        .fault();
    assert_eq!(cause, Cause::Verification);
    assert!(hint.contains("checksum"), "{hint}");
}

#[test]
fn an_address_without_a_checksum_is_refused() {
    let world = World::new();
    let url = world.server.url(FILE).replace("http://", "http://me:secret@");
    let choice = choose(Location::Url(url), None);
    let request = Request {
        choice: Some(&choice),
        ..world.request()
    };
    let (cause, text, hint) = world.obtain_as(&request).fault();
    assert_eq!(cause, Cause::Verification);
    assert!(hint.contains("--iso-sha256") && !text.contains("secret"), "{text}");
    assert!(cached(&request, &world.cache()).is_err());
    assert!(world.server.asked().is_empty());
}

#[test]
fn passwords_in_addresses_are_not_shown() {
    let world = World::new();
    world.server.spoil(FILE, [vec![Flaw::Status(403)]]);
    let url = world.server.url(FILE).replace("http://", "http://me:secret@");
    let choice = choose(Location::Url(url), Some(Checksum::Sha512(sha512(&world.content))));
    let request = Request {
        choice: Some(&choice),
        ..world.request()
    };
    let outcome = world.obtain_as(&request);
    let (cause, text, _) = outcome.fault();
    assert_eq!(cause, Cause::Network);
    assert!(
        !text.contains("secret") && !format!("{:?}", outcome.events).contains("secret"),
        "{text}"
    );
    world.obtain_as(&request).holding(&world.content);
    for entry in fs::read_dir(world.place().parent().unwrap()).unwrap() {
        let path = entry.unwrap().path();
        assert!(
            !String::from_utf8_lossy(&fs::read(&path).unwrap()).contains("secret"),
            "{}",
            path.display()
        );
    }
}

#[test]
fn an_address_that_is_not_http_is_refused() {
    let world = World::new();
    let choice = choose(
        Location::Url("ftp://me:secret@127.0.0.1/x.iso".into()),
        Some(Checksum::Sha256("0".repeat(64))),
    );
    let (cause, text, _) = world
        .obtain_as(&Request {
            choice: Some(&choice),
            ..world.request()
        })
        .fault();
    assert_eq!(cause, Cause::Network);
    assert!(
        text.contains("no http or https address") && !text.contains("secret"),
        "{text}"
    );
}
