//! Archives that somebody made to do harm: every digest is right, and what they say is not.

use serde_json::{Value, json};

use super::*;

#[test]
fn names_lead_nowhere() {
    let (from, layers) = Host::with_all();
    let all = members(&from.send(&layers[0]).unwrap());
    let to = Host::new();
    let outside = to.folder.path().join("outside");
    let disk = all
        .iter()
        .position(|member| member.name().ends_with("disk.qcow2"))
        .unwrap();
    for name in [
        "../outside",
        "/tmp/outside",
        "layers/../../outside",
        "outside",
        "layers/x/disk.qcow2",
    ] {
        let mut changed = all.clone();
        changed[disk] = Member::file(name, &all[disk].content);
        assert_eq!(to.refuses(&packed(&changed)).cause, Cause::Verification, "{name}");
        assert!(!outside.exists());
    }
    for kind in [
        tar::EntryType::Symlink,
        tar::EntryType::Link,
        tar::EntryType::Directory,
        tar::EntryType::Char,
        tar::EntryType::Fifo,
        tar::EntryType::GNUSparse,
        tar::EntryType::GNULongName,
        tar::EntryType::XHeader,
    ] {
        let mut changed = all.clone();
        let header = &mut changed[disk].header;
        header.set_entry_type(kind);
        header.set_cksum();
        assert_eq!(to.refuses(&packed(&changed)).cause, Cause::Verification, "{kind:?}");
        // One more, before the disk: it tells the next one's name to who listens.
        let mut more = all.clone();
        more.insert(disk, changed[disk].clone());
        assert_eq!(to.refuses(&packed(&more)).cause, Cause::Verification, "{kind:?}");
    }
}

#[test]
fn an_index_is_not_believed() {
    let (from, layers) = Host::with_all();
    let all = members(&from.send(&layers[3]).unwrap());
    let to = Host::new();
    let file = json!({ "name": "disk.qcow2", "size": 1, "data": [[0, 1]] });
    // What is there instead; nothing where it is left out.
    for (place, instead) in [
        ("/layers", Some(json!([]))),
        ("/layers/0", None),
        ("/layers/1", None),
        ("/layers/0/manifest/key", Some("0".repeat(64).into())),
        ("/layers/0/manifest/key", Some("../x".into())),
        ("/layers/0/manifest/inputs/iso", Some("sha512:11".into())),
        ("/layers/3/manifest/id", Some("../../x".into())),
        ("/layers/3/manifest/id", Some("".into())),
        ("/layers/3/manifest/parent/id", Some("00".into())),
        ("/layers/3/manifest/parent", Some(Value::Null)),
        ("/layers/3/manifest/stage", Some("docker".into())),
        ("/layers/0/files/0/name", Some("../disk.qcow2".into())),
        ("/layers/0/files/0/name", Some("layer.json".into())),
        ("/layers/0/files", Some(json!([]))),
        ("/layers/0/files", Some(json!([file, file]))),
        ("/layers/0/files/0/data", Some(json!([[0, 10], [5, 10]]))),
        ("/layers/0/files/0/data", Some(json!([[0, u64::MAX]]))),
        ("/layers/0/files/0/size", Some((1_u64 << 60).into())),
        ("/layers/1/files/2", None),
        ("/identities", Some(json!([]))),
        ("/identities/0", None),
        ("/identities/1/name", Some("root".into())),
        ("/identities/0/files/0/name", Some("../id".into())),
        ("/release", Some(json!({ "name": "../x.json", "size": 1 }))),
        ("/hypervisor", Some("virtualbox".into())),
    ] {
        let changed = reindexed(&all, |index| {
            if let Some(instead) = &instead {
                *index.pointer_mut(place).unwrap() = instead.clone();
            } else {
                let (list, at) = place.rsplit_once('/').unwrap();
                let list = index.pointer_mut(list).and_then(Value::as_array_mut).unwrap();
                list.remove(at.parse().unwrap());
            }
        });
        let fault = to.refuses(&packed(&changed));
        assert_eq!(fault.cause, Cause::Verification, "{place} {instead:?}: {fault:?}");
    }
    assert_eq!(
        fs::read_dir(to.folder.path()).unwrap().count(),
        1,
        "only the cache is there"
    );
}

#[test]
fn a_disk_names_no_other_file_of_this_host() {
    let (from, layers) = Host::with_all();
    let to = Host::new();
    let all = members(&from.send(&layers[1]).unwrap());
    let folder = tempfile::tempdir().unwrap();
    let evil = folder.path().join("evil.qcow2");
    for (arguments, reason) in [
        (
            "create -q -u -f qcow2 -F raw -b /etc/passwd evil.qcow2 1M",
            "/etc/passwd",
        ),
        ("create -q -f qcow2 evil.qcow2 1M", "lies on nothing"),
        ("create -q -f raw evil.qcow2 1M", "no qcow2"),
    ] {
        let _ = fs::remove_file(&evil);
        let made = std::process::Command::new("qemu-img")
            .args(arguments.split(' '))
            .current_dir(folder.path())
            .status();
        assert!(made.unwrap().success());
        let content = fs::read(&evil).unwrap();
        let name = format!("layers/{}/disk.qcow2", layers[1].manifest.base.key);
        let mut changed = all.clone();
        let disk = changed.iter().position(|member| member.name() == name).unwrap();
        changed[disk] = Member::file(&name, &content);
        let changed = reindexed(&vouched(&changed, &name), |index| {
            let layer = &mut index["layers"][1];
            layer["files"][0]["size"] = content.len().into();
            layer["files"][0]["data"] = json!([[0, content.len()]]);
            layer["manifest"]["digests"]["disk.qcow2"] = crate::key::digest(&content).into();
        });
        let fault = to.refuses(&packed(&changed));
        assert_eq!(fault.cause, Cause::Verification);
        assert!(fault.message.contains(reason), "{arguments}: {fault:?}");
    }
}

#[test]
fn keys_that_are_none_are_refused_and_not_shown() {
    let (from, layers) = Host::with_all();
    let all = members(&from.send(&layers[0]).unwrap());
    let name = "identities/_builder/id_ed25519";
    let place = all.iter().position(|member| member.name() == name).unwrap();
    let mut changed = all.clone();
    // A letter within the key.
    changed[place].content[120] ^= 1;
    let fault = Host::new().refuses(&packed(&vouched(&changed, name)));
    assert_eq!(fault.cause, Cause::Verification);
    assert!(!format!("{fault:?}").contains("BEGIN"), "{fault:?}");
}
