//! Tests of what an export may touch.

use super::*;

fn cause(error: &anyhow::Error) -> Cause {
    Fault::of(error).unwrap().cause
}

#[test]
fn what_is_there_is_replaced_only_by_force() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("a.qcow2");
    std::fs::write(&target, "old").unwrap();
    let refused = Place::take(&target, Format::Qcow2, false, &[]).unwrap_err();
    assert_eq!(cause(&refused), Cause::Usage);
    assert!(Fault::of(&refused).unwrap().hint.as_ref().unwrap().contains("--force"));
    let place = Place::take(&target, Format::Qcow2, true, &[]).unwrap();
    let made = place.room("image").unwrap().join("disk");
    std::fs::write(&made, "new").unwrap();
    assert_eq!(std::fs::read(&target).unwrap(), b"old");
    place.publish(&made, None).unwrap();
    assert_eq!(std::fs::read(&target).unwrap(), b"new");
    assert_eq!(std::fs::metadata(&target).unwrap().permissions().mode() & 0o777, 0o600);
    drop(place);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_folder_of_other_things_is_never_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("photos");
    std::fs::create_dir(&target).unwrap();
    std::fs::write(target.join("cat"), "").unwrap();
    std::fs::write(target.join(OCI_MARK), "{}").unwrap();
    let refused = Place::take(&target, Format::Containerdisk, true, &[]).unwrap_err();
    assert_eq!(cause(&refused), Cause::Usage);
    std::fs::rename(target.join("cat"), target.join("index.json")).unwrap();
    let place = Place::take(&target, Format::Containerdisk, true, &[]).unwrap();
    let made = place.made();
    std::fs::create_dir(&made).unwrap();
    std::fs::write(made.join("new"), "").unwrap();
    place.publish(&made, None).unwrap();
    drop(place);
    assert!(target.join("new").exists() && !target.join("index.json").exists());
}

#[test]
fn one_at_a_time_and_what_a_killed_one_left_goes() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("a.ova");
    let left = folder.path().join(".a.ova.partial/image");
    std::fs::create_dir_all(&left).unwrap();
    std::fs::write(left.with_file_name(LOCK), "").unwrap();
    std::fs::set_permissions(left.parent().unwrap(), std::fs::Permissions::from_mode(0o700)).unwrap();
    std::fs::write(left.join("disk"), "half").unwrap();
    let packed = left.with_file_name("made");
    std::fs::write(&packed, "half").unwrap();
    let place = Place::take(&target, Format::Ova, false, &[]).unwrap();
    assert!(!left.exists() && !packed.exists());
    let refused = Place::take(&target, Format::Ova, false, &[]).unwrap_err();
    assert_eq!(cause(&refused), Cause::Busy);
    drop(place);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn what_is_in_the_way_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (target, work) = (folder.path().join("a.ova"), folder.path().join(".a.ova.partial"));
    let others = folder.path().join("others");
    std::fs::create_dir(&others).unwrap();
    std::fs::set_permissions(&others, std::fs::Permissions::from_mode(0o700)).unwrap();
    for name in ["thesis", LOCK] {
        std::fs::write(others.join(name), "").unwrap();
    }
    let table: [&dyn Fn(); 3] = [
        &|| std::os::unix::fs::symlink(&others, &work).unwrap(),
        &|| std::fs::create_dir(&work).unwrap(),
        &|| {
            std::fs::rename(&others, &work).unwrap();
            std::fs::remove_file(work.join(LOCK)).unwrap();
        },
    ];
    for make in table {
        make();
        let kept = work.join("thesis");
        let before = kept.exists();
        let refused = Place::take(&target, Format::Ova, true, &[]).unwrap_err();
        assert_eq!(cause(&refused), Cause::Usage);
        assert_eq!(kept.exists(), before);
        std::fs::rename(&work, folder.path().join(hex::encode(rand::random::<[u8; 4]>()))).unwrap();
    }
}

#[test]
fn what_comes_meanwhile_is_not_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("a.ova");
    let place = Place::take(&target, Format::Ova, false, &[]).unwrap();
    std::fs::write(place.made(), "image").unwrap();
    std::fs::write(&target, "somebody's").unwrap();
    assert_eq!(cause(&place.publish(&place.made(), None).unwrap_err()), Cause::Usage);
    assert_eq!(std::fs::read_to_string(&target).unwrap(), "somebody's");
}

#[test]
fn a_folder_that_is_not_there_is_told() {
    let refused = Place::take(Path::new("/nowhere/a.ova"), Format::Ova, false, &[]).unwrap_err();
    assert_eq!(cause(&refused), Cause::Usage);
}
