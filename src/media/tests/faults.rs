//! What servers do wrong.

use fs_err as fs;

use super::world::{ARCHIVED, FILE, NAME, SIGNATURE, SIZE, SUMS, World, bytes};
use crate::event::{Event, Unit};
use crate::fault::Cause;
use crate::media::Origin;
use crate::media::testing::{Flaw, KeyMaker};

#[test]
fn a_signed_release_is_downloaded_and_then_used_from_the_cache() {
    let world = World::new();
    let first = world.obtain().holding(&world.content);
    let iso = first.result.as_ref().unwrap();
    assert_eq!(iso.name, NAME);
    assert_eq!(iso.path, world.place());
    let fingerprint = crate::media::signature::fingerprints(&world.key).unwrap().remove(0);
    assert_eq!(iso.origin, Origin::Signed { fingerprint });
    assert!(first.warnings().is_empty(), "{:?}", first.warnings());
    let told = first.events.iter().rev().find_map(|event| match event {
        Event::Progress { done, total, unit, .. } => Some((*done, *total, *unit)),
        _ => None,
    });
    assert_eq!(told, Some((SIZE as u64, Some(SIZE as u64), Unit::Bytes)));
    assert!(world.server.asked()[0].headers["user-agent"].starts_with("provision/"));
    let second = world.obtain().holding(&world.content);
    assert_eq!(second.result.unwrap(), *iso);
    assert!(world.server.asked().is_empty(), "the network was asked again");
}

#[test]
fn a_break_is_mended_by_asking_for_the_rest() {
    let world = World::new();
    world.server.spoil(
        FILE,
        [vec![Flaw::BreakAfter(1_000_000)], vec![Flaw::BreakAfter(500_000)]],
    );
    world.obtain().holding(&world.content);
    let ranges: Vec<_> = world
        .server
        .asked()
        .into_iter()
        .filter(|asked| asked.target == FILE)
        .collect();
    assert_eq!(ranges.len(), 3);
    for asked in &ranges[1..] {
        assert_eq!(asked.headers["if-range"], "\"edition-0\"");
        assert!(asked.headers["range"].starts_with("bytes="), "{asked:?}");
    }
    assert_eq!(ranges[1].headers["range"], "bytes=1000000-");
    assert_eq!(ranges[2].headers["range"], "bytes=1500000-");
}

#[test]
fn a_line_that_always_breaks_is_used_as_long_as_some_comes() {
    let world = World::new();
    world
        .server
        .spoil(FILE, (0..20).map(|_| vec![Flaw::BreakAfter(140_000)]));
    world.obtain().holding(&world.content);
}

#[test]
fn another_process_goes_on_where_one_broke_off() {
    let world = World::new();
    world.server.spoil(FILE, (0..3).map(|_| vec![Flaw::BreakAfter(0)]));
    world.server.spoil(ARCHIVED, [vec![Flaw::Status(404)]]);
    // What a killed process leaves: a part, and where it came from.
    let part = world.place().with_extension("iso.part");
    fs::create_dir_all(part.parent().unwrap()).unwrap();
    fs::write(&part, &world.content[..2_000_000]).unwrap();
    let note = format!(
        r#"{{"url":"{}","validator":"\"edition-0\"","total":{SIZE}}}"#,
        world.server.url(FILE)
    );
    fs::write(part.with_extension("part.json"), note).unwrap();
    let (cause, ..) = world.obtain().fault();
    assert_eq!(cause, Cause::Network);
    world.server.asked();
    world.obtain().holding(&world.content);
    let asked = world.server.asked();
    assert_eq!(asked[0].headers["range"], "bytes=2000000-");
    assert!(!part.exists() && !part.with_extension("part.json").exists());
}

#[test]
fn a_part_that_is_complete_needs_no_server() {
    let world = World::new();
    world.obtain().holding(&world.content);
    let part = world.place().with_extension("iso.part");
    fs::rename(world.place(), &part).unwrap();
    let note = format!(
        r#"{{"url":"{}","validator":null,"total":{SIZE}}}"#,
        world.server.url(FILE)
    );
    fs::write(part.with_extension("part.json"), note).unwrap();
    world.server.asked();
    world.obtain().holding(&world.content);
    assert!(world.server.asked().is_empty());
}

#[test]
fn a_damaged_part_is_found_out_and_replaced() {
    let world = World::new();
    let part = world.place().with_extension("iso.part");
    fs::create_dir_all(part.parent().unwrap()).unwrap();
    fs::write(&part, vec![0; 2_000_000]).unwrap();
    let note = format!(
        r#"{{"url":"{}","validator":"\"edition-0\"","total":{SIZE}}}"#,
        world.server.url(FILE)
    );
    fs::write(part.with_extension("part.json"), note).unwrap();
    world.obtain().holding(&world.content);
    assert_eq!(world.server.count(FILE), 2);
}

#[test]
fn a_server_without_ranges_sends_all_again() {
    let world = World::new();
    world
        .server
        .spoil(FILE, [vec![Flaw::BreakAfter(1_000_000)], vec![Flaw::NoRanges]]);
    world.obtain().holding(&world.content);
    assert_eq!(world.server.count(FILE), 2);
}

/// Leaves a partial file of whatever is published.
fn give_up_after_a_third(world: &World) {
    let busy = (0..5).map(|_| vec![Flaw::Status(503)]);
    world
        .server
        .spoil(FILE, std::iter::once(vec![Flaw::BreakAfter(SIZE / 3)]).chain(busy));
    assert_eq!(world.obtain().fault().0, Cause::Network);
}

#[test]
fn a_file_that_changed_in_between_is_not_mixed_with_the_old_one() {
    let world = World::new();
    // What was sent first is of an old edition; its tag no longer fits.
    let content = world.content.clone();
    world.server.put(FILE, bytes(SIZE, 2));
    world.server.spoil(FILE, [vec![Flaw::BreakAfter(1_000_000)]]);
    world.server.spoil(ARCHIVED, [vec![Flaw::Status(404)]]);
    let (cause, ..) = world.obtain().fault();
    assert_eq!(cause, Cause::Verification);
    give_up_after_a_third(&world);
    world.server.put(FILE, content);
    world.server.asked();
    world.obtain().holding(&world.content);
    assert_eq!(world.server.asked()[0].headers["if-range"], "\"edition-1\"");
}

#[test]
fn a_server_that_sends_the_rest_of_another_file_is_found_out() {
    let world = World::new();
    world.server.put(FILE, bytes(SIZE, 2));
    give_up_after_a_third(&world);
    world.server.put(FILE, world.content.clone());
    world.server.spoil(FILE, [vec![Flaw::WrongRest]]);
    world.server.asked();
    world.obtain().holding(&world.content);
    assert_eq!(world.server.count(FILE), 2, "the whole is asked for once more");
}

#[test]
fn weak_tags_are_not_used_for_ranges() {
    let world = World::new();
    world.server.spoil(
        FILE,
        [vec![Flaw::WeakTag, Flaw::BreakAfter(1_000_000)], vec![Flaw::WeakTag]],
    );
    world.obtain().holding(&world.content);
    let last = world.server.asked().pop().unwrap();
    assert_eq!(last.headers["if-range"], "Fri, 21 Nov 2025 00:00:00 GMT");
}

#[test]
fn without_a_validator_all_is_asked_for_again() {
    let world = World::new();
    world
        .server
        .spoil(FILE, [vec![Flaw::NoValidator, Flaw::BreakAfter(1_000_000)]]);
    world.obtain().holding(&world.content);
    assert!(!world.server.asked().pop().unwrap().headers.contains_key("range"));
}

#[test]
fn a_busy_server_is_asked_again() {
    let world = World::new();
    world.server.spoil(SUMS, [vec![Flaw::Status(503)]]);
    world
        .server
        .spoil(FILE, [vec![Flaw::Status(503)], vec![Flaw::Status(429)]]);
    world.obtain().holding(&world.content);
    assert_eq!((world.server.count(SUMS), world.server.count(FILE)), (2, 3));
}

#[test]
fn a_server_that_falls_silent_is_given_up() {
    let world = World::new();
    world.server.spoil(FILE, [vec![Flaw::StallAfter(1_000_000)]]);
    world.obtain().holding(&world.content);
    assert_eq!(world.server.count(FILE), 2);
}

#[test]
fn a_release_that_has_moved_on_is_in_the_archive() {
    let world = World::new();
    world.server.remove(FILE);
    world.server.put(ARCHIVED, world.content.clone());
    world.obtain().holding(&world.content);
    assert_eq!(world.server.count(FILE), 1, "404 is not asked again");
}

#[test]
fn a_release_that_is_gone_everywhere_is_resolved_anew() {
    let world = World::new();
    world.obtain().holding(&world.content);
    fs::remove_file(world.place()).unwrap();
    world.server.remove(FILE);
    let newer = bytes(SIZE, 3);
    world.publish("debian-13.10.0-amd64-netinst.iso", &newer);
    let iso = world.obtain().holding(&newer).result.unwrap();
    assert_eq!(iso.name, "debian-13.10.0-amd64-netinst.iso");
}

#[test]
fn a_length_that_is_too_large_ends_as_a_network_error() {
    let world = World::new();
    let claim = || vec![Flaw::Length(SIZE as u64 + 10)];
    world.server.spoil(FILE, (0..20).map(|_| claim()));
    world.server.spoil(ARCHIVED, [vec![Flaw::Status(404)]]);
    let (cause, text, hint) = world.obtain().fault();
    assert_eq!(cause, Cause::Network, "{text}");
    assert!(hint.contains("--iso PATH"), "{hint}");
}

#[test]
fn a_file_cut_short_fails_the_check() {
    let world = World::new();
    world
        .server
        .spoil(FILE, [vec![Flaw::NoLength, Flaw::BreakAfter(1_000_000)]]);
    world.server.spoil(ARCHIVED, [vec![Flaw::Status(404)]]);
    let (cause, text, _) = world.obtain().fault();
    assert_eq!(cause, Cause::Verification, "{text}");
    world.obtain().holding(&world.content);
}

#[test]
fn a_wrong_file_is_refused_and_another_source_tried() {
    let world = World::new();
    world.server.spoil(FILE, [vec![Flaw::Flip(7)]]);
    let (cause, text, hint) = world.obtain().fault();
    assert_eq!(cause, Cause::Verification);
    assert!(
        text.contains("is not the file it should be") && !hint.is_empty(),
        "{text}"
    );
    assert!(!world.place().exists());
    world.server.spoil(FILE, [vec![Flaw::Flip(7)]]);
    world.server.put(ARCHIVED, world.content.clone());
    world.obtain().holding(&world.content);
}

#[test]
fn a_signature_by_another_key_is_refused() {
    let world = World::new();
    let sums = b"0000  x";
    world.server.put(SUMS, sums);
    world.server.put(SIGNATURE, KeyMaker::default().make().sign(sums));
    let (cause, text, hint) = world.obtain().fault();
    assert_eq!(cause, Cause::Verification);
    assert!(text.contains("only") && text.contains("SHA512SUMS"), "{text}");
    assert!(hint.contains("--iso-sha512"), "{hint}");
    assert_eq!(world.server.count(FILE), 0, "nothing is downloaded");
}

#[test]
fn a_checksum_file_that_was_changed_is_refused() {
    let world = World::new();
    let other = format!("{}  {NAME}\n", super::world::sha512(b"evil"));
    world.server.put(SUMS, other);
    assert_eq!(world.obtain().fault().0, Cause::Verification);
}

#[test]
fn the_next_mirror_is_asked_when_one_is_of_no_use() {
    let mut world = World::new();
    let good = world.release.directories.remove(0);
    let nobody = "http://127.0.0.1:9/".to_owned();
    world.release.directories = vec![nobody, world.server.url("/nowhere/"), good];
    let outcome = world.obtain().holding(&world.content);
    assert_eq!(outcome.warnings().len(), 2, "{:?}", outcome.warnings());
}

#[test]
fn no_space_is_said_before_anything_is_written() {
    let world = World::new();
    world.server.spoil(FILE, [vec![Flaw::Length(1 << 60)]]);
    let (cause, text, hint) = world.obtain().fault();
    assert_eq!(cause, Cause::Space);
    assert!(text.contains("1.0 EiB") && text.contains("is free"), "{text}");
    assert!(hint.contains("cache prune"), "{hint}");
}

#[test]
fn a_full_disk_in_the_middle_is_a_fault_of_space() {
    // The device on which every write fails as on a full disk: full(4).
    use std::io::Write as _;
    let mut full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let error = full.write_all(b"x").unwrap_err();
    let error = crate::media::download::no_room(std::path::Path::new("/dev/full"), error);
    assert_eq!(crate::fault::Fault::of(&error).unwrap().cause, Cause::Space);
}

#[test]
fn who_answers_in_the_mirrors_place_is_a_fault_of_the_network() {
    let page = b"<!DOCTYPE html><title>Log in</title>".to_vec();
    for (path, answer) in [
        (SUMS, page.clone()),
        (SUMS, b"\xff\xfe\x00junk".to_vec()),
        (SIGNATURE, page.clone()),
        (SIGNATURE, b"please log in".to_vec()),
    ] {
        let world = World::new();
        world.server.put(path, answer.clone());
        let (cause, text, hint) = world.obtain().fault();
        assert_eq!(cause, Cause::Network, "{text}");
        assert!(text.contains(path) && hint.contains("login page"), "{text} {hint}");
        // Another mirror is asked.
        let mut world = World::new();
        world.server.put("/portal/SHA512SUMS", answer.clone());
        world.server.put("/portal/SHA512SUMS.sign", answer.clone());
        world.release.directories.insert(0, world.server.url("/portal/"));
        world.obtain().holding(&world.content);
        // What is in the cache serves.
        let world = World::new();
        world.obtain().holding(&world.content);
        world.server.put(path, answer);
        let mut request = world.request();
        request.refresh = true;
        let outcome = world.obtain_as(&request).holding(&world.content);
        assert_eq!(outcome.warnings().len(), 1, "{:?}", outcome.warnings());
    }
}
