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
    let table: [(&str, fn(&mut Value)); 24] = [
        ("no layers", |index| index["layers"] = json!([])),
        ("no first layer", |index| {
            drop(index["layers"].as_array_mut().unwrap().remove(0))
        }),
        ("no middle layer", |index| {
            drop(index["layers"].as_array_mut().unwrap().remove(1))
        }),
        ("a key of another", |index| {
            index["layers"][0]["manifest"]["key"] = "0".repeat(64).into()
        }),
        ("a key with a path", |index| {
            index["layers"][0]["manifest"]["key"] = "../x".into()
        }),
        ("inputs that were changed", |index| {
            index["layers"][0]["manifest"]["inputs"]["iso"] = "sha512:11".into()
        }),
        ("an identifier with a path", |index| {
            index["layers"][3]["manifest"]["id"] = "../../x".into()
        }),
        ("no identifier", |index| {
            index["layers"][3]["manifest"]["id"] = "".into()
        }),
        ("another parent", |index| {
            index["layers"][3]["manifest"]["parent"]["id"] = "00".into()
        }),
        ("another stage", |index| {
            index["layers"][3]["manifest"]["stage"] = "docker".into()
        }),
        ("a file with a path", |index| {
            index["layers"][0]["files"][0]["name"] = "../disk.qcow2".into()
        }),
        ("a file of another name", |index| {
            index["layers"][0]["files"][0]["name"] = "layer.json".into()
        }),
        ("no disk", |index| index["layers"][0]["files"] = json!([])),
        ("a file twice", |index| {
            let file = index["layers"][0]["files"][0].clone();
            index["layers"][0]["files"].as_array_mut().unwrap().push(file);
        }),
        ("parts that overlap", |index| {
            index["layers"][0]["files"][0]["data"] = json!([[0, 10], [5, 10]])
        }),
        ("parts beyond the end", |index| {
            index["layers"][0]["files"][0]["data"] = json!([[0, u64::MAX]])
        }),
        ("a huge file", |index| {
            index["layers"][0]["files"][0]["size"] = (1_u64 << 60).into()
        }),
        ("a file that is missing", |index| {
            drop(index["layers"][1]["files"].as_array_mut().unwrap().pop())
        }),
        ("no keys", |index| index["identities"] = json!([])),
        ("the login's keys alone", |index| {
            drop(index["identities"].as_array_mut().unwrap().remove(0))
        }),
        ("keys of somebody else", |index| {
            index["identities"][1]["name"] = "root".into()
        }),
        ("keys with a path", |index| {
            index["identities"][0]["files"][0]["name"] = "../id".into()
        }),
        ("a list with a path", |index| {
            index["release"] = json!({ "name": "../x.json", "size": 1 })
        }),
        ("VirtualBox's disks", |index| index["hypervisor"] = "virtualbox".into()),
    ];
    for (what, change) in table {
        let fault = to.refuses(&packed(&reindexed(&all, change)));
        assert_eq!(fault.cause, Cause::Verification, "{what}: {fault:?}");
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
