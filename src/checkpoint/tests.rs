//! The store by itself, with real disks.

use super::*;
use crate::key::Inputs;
use crate::machine::qemu::image;

fn manifest(stage: Stage, parent: Option<&Layer>) -> Manifest {
    let inputs = Inputs::from([("a".to_owned(), "1".to_owned())]);
    let key = Key::derive(stage, parent.map(|layer| &layer.manifest.base.key), &inputs);
    Manifest::new(stage, key, parent, inputs, 1.5)
}

fn disk(folder: &Path) -> PathBuf {
    let disk = folder.join("work.qcow2");
    image::create(&disk, 1).unwrap();
    disk
}

fn overlay(folder: &Path, base: &Layer) -> PathBuf {
    let disk = folder.join("overlay.qcow2");
    image::create_overlay(&disk, &base.disk).unwrap();
    disk
}

#[test]
fn a_layer_is_there_only_with_its_ancestors() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let base = store
        .commit(Hypervisor::Qemu, &disk(folder.path()), &manifest(Stage::Install, None))
        .unwrap();
    let docker = manifest(Stage::Docker, Some(&base));
    store
        .commit(Hypervisor::Qemu, &overlay(folder.path(), &base), &docker)
        .unwrap();
    assert_eq!(store.list().unwrap().len(), 2);
    let kept = store.get(&docker.base.key).unwrap().manifest;
    assert_eq!(kept.digests.len(), 1);
    let digests = kept.digests.clone();
    assert_eq!(
        kept,
        Manifest {
            digests,
            ..docker.clone()
        }
    );
    assert_eq!(store.newest(Stage::Docker).unwrap().unwrap().manifest, kept);

    store.remove(&base.manifest.base.key).unwrap();
    assert!(store.get(&docker.base.key).is_none());
    assert_eq!(store.list().unwrap().len(), 1);
}

#[test]
fn a_layer_whose_manifest_cannot_be_read_is_never_swept_away() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let commit = || {
        let disk = disk(folder.path());
        store.commit(Hypervisor::Qemu, &disk, &manifest(Stage::Install, None))
    };
    let layer = commit().unwrap();
    let dir = layer.folder().to_owned();
    // Half of it, as from a disk that fails; and none that could be read.
    for damage in ["{", ""] {
        fs::set_permissions(dir.join(MANIFEST), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        fs::write(dir.join(MANIFEST), damage).unwrap();
        store.sweep().unwrap();
        assert!(layer.disk.exists() && store.get(&layer.manifest.base.key).is_none());
    }
    // It makes room for one that is made again, and is kept.
    assert!(commit().is_ok() && layer.disk.exists());
    assert_eq!(fs::read_dir(store.damaged()).unwrap().count(), 1);
    // One of another version is rubbish.
    let text = fs::read_to_string(dir.join(MANIFEST)).unwrap();
    fs::set_permissions(dir.join(MANIFEST), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    fs::write(dir.join(MANIFEST), text.replace("\"format\": 1", "\"format\": 0")).unwrap();
    store.sweep().unwrap();
    assert!(!dir.exists());
}

#[test]
fn a_layer_made_again_bears_no_overlay_of_the_former() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let first = store
        .commit(Hypervisor::Qemu, &disk(folder.path()), &manifest(Stage::Install, None))
        .unwrap();
    let docker = manifest(Stage::Docker, Some(&first));
    store
        .commit(Hypervisor::Qemu, &overlay(folder.path(), &first), &docker)
        .unwrap();
    store.remove(&first.manifest.base.key).unwrap();
    let again = store
        .commit(Hypervisor::Qemu, &disk(folder.path()), &manifest(Stage::Install, None))
        .unwrap();
    assert_eq!(again.manifest.base.key, first.manifest.base.key);
    assert!(store.get(&docker.base.key).is_none());
    assert!(!store.has(&first.manifest.base));
    assert!(store.has(&again.manifest.base));
}

#[test]
fn half_a_layer_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let manifest = manifest(Stage::Install, None);
    let key = &manifest.base.key;
    std::fs::create_dir_all(store.dir(key)).unwrap();
    std::fs::write(store.dir(key).join(MANIFEST), "{").unwrap();
    assert!(store.get(key).is_none());
    assert!(store.list().unwrap().is_empty());
    // And it does not keep the whole one from being put in its place.
    store.commit(Hypervisor::Qemu, &disk(folder.path()), &manifest).unwrap();
    assert!(store.get(key).is_some());
}

#[test]
fn what_interrupted_runs_left_is_swept_when_nobody_is_here() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let manifest = manifest(Stage::Install, None);
    store.commit(Hypervisor::Qemu, &disk(folder.path()), &manifest).unwrap();
    let half = store.folder().join(".new-abc");
    std::fs::create_dir(&half).unwrap();
    let cancel = Cancel::default();
    let busy = || panic!("nobody holds the store alone");

    let other = Lock::try_share(&store.folder().join(USE)).unwrap();
    let held = store.share(&cancel, busy).unwrap();
    assert!(half.exists(), "it may be the other's");
    assert!(store.try_alone().unwrap().is_none());
    drop((held, other));
    let _held = store.share(&cancel, busy).unwrap();
    assert!(!half.exists());
    assert!(store.get(&manifest.base.key).is_some());
}
