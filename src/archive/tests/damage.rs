//! Whatever happens to a file on its way: it is refused, and nothing comes of it.

use super::*;

/// Magic number, descriptor and window of a zstd frame of unknown size, in bytes (RFC 8878, 3.1.1.1).
const HEADER: usize = 6;

#[test]
fn one_that_was_cut_off_is_refused() {
    let (from, layers) = Host::with_all();
    let archive = from.send(&layers[1]).unwrap();
    let to = Host::new();
    for length in (0..archive.len())
        .step_by(archive.len() / 24)
        .chain([archive.len() - 1])
    {
        let fault = to.refuses(&archive[..length]);
        assert_eq!(fault.cause, Cause::Verification, "{length}: {fault:?}");
        assert!(fault.hint.is_some());
    }
    to.receive(&archive).unwrap();
}

#[test]
fn a_changed_bit_is_found_wherever_it_is() {
    let (from, layers) = Host::with_all();
    let archive = from.send(&layers[1]).unwrap();
    let flipped = |place: usize, bit: usize| {
        let mut changed = archive.clone();
        changed[place] ^= 1 << bit;
        changed
    };
    // A bit that means nothing, as where zstd fills up a byte, changes nothing: all that came is what was sent.
    let is_found_or_nothing = |place: usize, bit: usize| {
        let to = Host::new();
        let before = to.tree();
        let Err(error) = to.receive(&flipped(place, bit)) else {
            for sent in &layers[..2] {
                let there = to.store.get(&sent.manifest.base.key).unwrap();
                assert_eq!(there.manifest, sent.manifest, "{place}");
                assert!(
                    std::fs::read(there.disk).unwrap() == std::fs::read(&sent.disk).unwrap(),
                    "{place}"
                );
            }
            return 0;
        };
        assert_eq!(to.tree(), before, "{place}: {error:?}");
        let cause = Fault::of(&error).map(|fault| fault.cause);
        assert_eq!(cause, Some(Cause::Verification), "{place}: {error:?}");
        1
    };
    let places: Vec<usize> = (HEADER..archive.len()).step_by(archive.len() / 40).collect();
    let found: usize = places.iter().map(|place| is_found_or_nothing(*place, place % 8)).sum();
    assert!(found * 2 > places.len(), "{found} of {}", places.len());
    // The last bytes are zstd's checksum.
    assert_eq!(is_found_or_nothing(archive.len() - 1, 0), 1);
    // Two bytes say how zstd has worked; some of their bits mean nothing, or more memory than was needed.
    for (place, bit) in (4..HEADER).flat_map(|place| (0..8).map(move |bit| (place, bit))) {
        is_found_or_nothing(place, bit);
    }
}

#[test]
fn a_changed_member_is_found_without_the_packer_too() {
    let (from, layers) = Host::with_all();
    let all = members(&from.send(&layers[3]).unwrap());
    let to = Host::new();
    for place in 0..all.len() {
        let mut changed = all.clone();
        let content = &mut changed[place].content;
        let middle = content.len() / 2;
        content[middle] ^= 1;
        let fault = to.refuses(&packed(&changed));
        assert!(
            matches!(fault.cause, Cause::Verification | Cause::Usage),
            "{}: {fault:?}",
            all[place].name()
        );
    }
    // A disk that was changed before it was digested is not what its manifest says.
    let disk = all
        .iter()
        .position(|member| member.name().ends_with("disk.qcow2"))
        .unwrap();
    let mut changed = all.clone();
    let last = changed[disk].content.len() - 1;
    changed[disk].content[last] ^= 1;
    let fault = to.refuses(&packed(&vouched(&changed, &all[disk].name())));
    assert!(fault.message.contains("when it was made"), "{fault:?}");
}

#[test]
fn members_out_of_order_missing_or_too_many_are_refused() {
    let (from, layers) = Host::with_all();
    let archive = from.send(&layers[1]).unwrap();
    let all = members(&archive);
    let to = Host::new();
    for place in 0..all.len() {
        let mut without = all.clone();
        without.remove(place);
        assert_eq!(
            to.refuses(&packed(&without)).cause,
            Cause::Verification,
            "without {place}"
        );
        let mut twice = all.clone();
        twice.insert(place, all[place].clone());
        assert_eq!(to.refuses(&packed(&twice)).cause, Cause::Verification, "twice {place}");
        if place > 0 {
            let mut swapped = all.clone();
            swapped.swap(place - 1, place);
            assert_eq!(
                to.refuses(&packed(&swapped)).cause,
                Cause::Verification,
                "swapped {place}"
            );
        }
    }
    let again: Vec<_> = all.iter().cloned().chain([Member::file("more", b"more")]).collect();
    assert!(to.refuses(&packed(&again)).message.contains("follows its end"));
    for rest in [&b"x"[..], &archive] {
        let longer = [&archive, rest].concat();
        assert!(to.refuses(&longer).message.contains("follows its end"));
    }
    to.receive(&packed(&all)).unwrap();
}

#[test]
fn what_is_no_archive_is_refused() {
    let to = Host::new();
    let tar = tar::Builder::new(Vec::new()).into_inner().unwrap();
    for bytes in [
        &b""[..],
        b"text",
        &[0; 4096],
        &tar,
        &zstd::encode_all(&b""[..], 1).unwrap(),
        &zstd::encode_all(&b"text"[..], 1).unwrap(),
        &zstd::encode_all(&*tar, 1).unwrap(),
        &packed(&[Member::file("disk.qcow2", b"x")]),
        &packed(&[Member::file(INDEX, b"{}")]),
        &packed(&[Member::file(INDEX, b"no json")]),
    ] {
        let fault = to.refuses(bytes);
        assert_eq!(fault.cause, Cause::Verification, "{fault:?}");
        assert!(fault.message.contains("cache export"), "{fault:?}");
    }
}

#[test]
fn another_version_is_told() {
    let (from, layers) = Host::with_all();
    let all = members(&from.send(&layers[0]).unwrap());
    let to = Host::new();
    let newer = reindexed(&all, |index| {
        index["format"] = 2.into();
        index["tool"] = "9.9".into();
        index["something"] = "new".into();
    });
    let fault = to.refuses(&packed(&newer));
    assert_eq!(fault.cause, Cause::Usage);
    assert!(
        fault.message.contains("format 2, written by provision 9.9"),
        "{fault:?}"
    );
    assert!(fault.hint.unwrap().contains("same version"));
    let others = reindexed(&all, |index| index["layers"][0]["manifest"]["format"] = 2.into());
    assert_eq!(to.refuses(&packed(&others)).cause, Cause::Usage);
}

#[test]
fn a_damaged_checkpoint_is_not_carried() {
    let (from, layers) = Host::with_all();
    let disk = &layers[1].disk;
    let mut bytes = fs::read(disk).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::remove_file(disk).unwrap();
    fs::write(disk, bytes).unwrap();
    let out = tempfile::tempdir().unwrap();
    let (events, cancel) = (Events::ignore(), Cancel::default());
    let error = send_file(
        &from.sending(&layers[3], &events, &cancel),
        &out.path().join("x"),
        false,
    )
    .unwrap_err();
    let fault = Fault::of(&error).unwrap();
    assert_eq!(fault.cause, Cause::Verification);
    assert!(fault.message.contains("docker") && fault.hint.as_ref().unwrap().contains("cache check"));
    assert_eq!(fs::read_dir(out.path()).unwrap().count(), 0);
    // What was written of it to a pipe is no archive.
    let mut half = Vec::new();
    send(&from.sending(&layers[3], &events, &cancel), &mut half).unwrap_err();
    assert_eq!(Host::new().refuses(&half).cause, Cause::Verification);
}
