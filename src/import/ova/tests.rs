//! Tests of OVAs that somebody else may have made.

use super::*;
use sha2::{Digest as _, Sha256};

const DISK: &[u8] = b"KDMV";

/// The header's name is written as bytes: the tar crate refuses to make what is refused here.
fn append(archive: &mut tar::Builder<Vec<u8>>, name: &str, kind: tar::EntryType, content: &[u8]) {
    let mut header = tar::Header::new_ustar();
    header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
    header.set_entry_type(kind);
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    header.set_cksum();
    archive.append(&header, content).unwrap();
}

fn ova(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, content) in files {
        append(&mut archive, name, tar::EntryType::Regular, content);
    }
    archive.into_inner().unwrap()
}

fn unpacked(bytes: &[u8]) -> Result<Unpacked> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.ova");
    std::fs::write(&file, bytes).unwrap();
    let into = folder.path().join("into");
    std::fs::create_dir(&into).unwrap();
    unpack(&file, &into, &Events::ignore(), &Cancel::default())
}

fn line(kind: &str, name: &str, content: &[u8]) -> String {
    let digest = match kind {
        "SHA256" => hex::encode(Sha256::digest(content)),
        _ => hex::encode(openssl::hash::hash(MessageDigest::sha1(), content).unwrap()),
    };
    format!("{kind} ({name})= {digest}\n")
}

#[test]
fn manifests_of_each_kind_are_checked() {
    let descriptor = crate::export::example_descriptor();
    for kind in ["SHA1", "SHA256"] {
        let manifest = [
            line(kind, "jdoe.ovf", descriptor.as_bytes()),
            line(kind, "jdoe-disk001.vmdk", DISK),
        ]
        .concat();
        let files = |disk| {
            ova(&[
                ("jdoe.ovf", descriptor.as_bytes()),
                ("jdoe.mf", manifest.as_bytes()),
                ("jdoe-disk001.vmdk", disk),
            ])
        };
        assert!(unpacked(&files(DISK)).unwrap().is_checked);
        let error = unpacked(&files(b"kdmv")).unwrap_err();
        assert_eq!(Fault::of(&error).unwrap().cause, Cause::Verification);
        assert!(error.to_string().contains("is damaged"), "{error}");
    }
    let without = ova(&[("jdoe.ovf", descriptor.as_bytes()), ("jdoe-disk001.vmdk", DISK)]);
    assert!(!unpacked(&without).unwrap().is_checked);
}

#[test]
fn paths_and_links_are_refused() {
    let descriptor = crate::export::example_descriptor();
    for name in ["../jdoe.ovf", "/etc/jdoe.ovf", "a/jdoe.ovf", ".jdoe.ovf"] {
        let error = unpacked(&ova(&[(name, descriptor.as_bytes())])).unwrap_err();
        assert!(error.to_string().contains("file names belong"), "{name}: {error}");
    }
    let mut archive = tar::Builder::new(Vec::new());
    append(&mut archive, "jdoe-disk001.vmdk", tar::EntryType::Symlink, b"");
    let error = unpacked(&archive.into_inner().unwrap()).unwrap_err();
    assert!(error.to_string().contains("no file"), "{error}");
}

#[test]
fn a_name_that_fills_the_memory_is_refused() {
    for kind in [
        tar::EntryType::GNULongName,
        tar::EntryType::XHeader,
        tar::EntryType::XGlobalHeader,
    ] {
        let mut archive = tar::Builder::new(Vec::new());
        append(&mut archive, "name", kind, &vec![b'a'; 1 << 20]);
        let error = unpacked(&archive.into_inner().unwrap()).unwrap_err();
        assert!(error.to_string().contains("a name in it is too large"), "{error}");
    }
}

#[test]
fn an_interruption_is_one_whatever_is_being_read() {
    let descriptor = crate::export::example_descriptor();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.ova");
    std::fs::write(
        &file,
        ova(&[("jdoe.ovf", descriptor.as_bytes()), ("other", &[0; 9000])]),
    )
    .unwrap();
    let cancel = Cancel::default();
    cancel.raise();
    let error = unpack(&file, folder.path(), &Events::ignore(), &cancel).unwrap_err();
    assert!(Fault::is_stop(&error), "{error:#}");
    let parts = Parts {
        manifest: Some(line("SHA256", "jdoe.ovf", descriptor.as_bytes())),
        descriptor: Some(("jdoe.ovf".to_owned(), descriptor.into_bytes())),
        ..Parts::default()
    };
    assert!(Fault::is_stop(&parts.settle(&file, &cancel).unwrap_err()));
}

#[test]
fn what_is_missing_or_too_much_is_told() {
    let descriptor = crate::export::example_descriptor();
    let ovf = ("jdoe.ovf", descriptor.as_bytes());
    let disk = ("jdoe-disk001.vmdk", DISK);
    for (files, reason) in [
        (vec![], "no descriptor"),
        (vec![ovf], "is not in"),
        (vec![ovf, ovf], "one too many"),
        (vec![ovf, disk, disk], "twice"),
        (vec![ovf, disk, ("jdoe.mf", b"MD5(a)= 0".as_slice())], "of the kind"),
        (vec![ovf, disk, ("jdoe.mf", b"nonsense")], "the line"),
        (vec![ovf, disk, ("jdoe.mf", b"")], "does not name"),
    ] {
        let error = unpacked(&ova(&files)).unwrap_err();
        assert!(error.to_string().contains(reason), "{reason}: {error}");
    }
    let mut cut = ova(&[ovf, disk]);
    cut.truncate(700);
    assert_eq!(
        Fault::of(&unpacked(&cut).unwrap_err()).unwrap().cause,
        Cause::Verification
    );
}
