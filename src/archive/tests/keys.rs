//! Keys that this host has already, and other makings of what comes.

use super::*;

fn identity(folder: &Path) -> Identity {
    Identity::load(folder).unwrap()
}

#[test]
fn keys_with_which_nothing_opens_give_way() {
    let (from, layers) = Host::with_all();
    let to = Host::new();
    // A plan makes keys long before there is a checkpoint.
    Identity::load_or_create(&to.paths.builder(), false).unwrap();
    Identity::load_or_create(&to.paths.identity("jdoe"), true).unwrap();
    to.receive(&from.send(&layers[3]).unwrap()).unwrap();
    for path in [Paths::builder, |paths: &Paths| paths.identity("jdoe")] {
        assert_eq!(identity(&path(&to.paths)), identity(&path(&from.paths)));
    }
}

#[test]
fn keys_with_which_checkpoints_open_stay() {
    let (from, layers) = Host::with_all();
    let (to, _) = Host::with_all();
    let fault = to.refuses(&from.send(&layers[1]).unwrap());
    assert_eq!(fault.cause, Cause::Config);
    assert!(fault.message.contains("this host's checkpoints"), "{fault:?}");
    let hint = fault.hint.unwrap();
    assert!(
        hint.contains("PROVISION_CACHE_DIR") && hint.contains("cache prune"),
        "{hint}"
    );
}

#[test]
fn a_logins_keys_stay_where_its_account_is_there() {
    let (from, layers) = Host::with_all();
    let to = Host::new();
    to.receive(&from.send(&layers[1]).unwrap()).unwrap();
    let own = Identity::load_or_create(&to.paths.identity("jdoe"), true).unwrap();
    let docker = to.store.get(&layers[1].manifest.base.key).unwrap();
    let inputs = [
        ("login".to_owned(), "jdoe".to_owned()),
        ("identity".to_owned(), own.fingerprint()),
    ];
    to.make(Stage::Account, Some(&docker), Inputs::from(inputs));
    let fault = to.refuses(&from.send(&layers[3]).unwrap());
    assert_eq!(fault.cause, Cause::Config);
    assert!(fault.message.contains("the login jdoe's checkpoints"), "{fault:?}");
    // What needs none of the login's keys still comes.
    assert_eq!(to.receive(&from.send(&layers[1]).unwrap()).unwrap(), [State::There; 2]);
}

#[test]
fn keys_in_use_are_not_replaced_meanwhile() {
    let (from, layers) = Host::with_all();
    let to = Host::new();
    let own = Identity::load_or_create(&to.paths.builder(), false).unwrap();
    let archive = from.send(&layers[0]).unwrap();
    let share = to.store.share(&Cancel::default(), || ()).unwrap();
    assert_eq!(to.refuses(&archive).cause, Cause::Busy);
    assert_eq!(identity(&to.paths.builder()), own);
    drop(share);
    to.receive(&archive).unwrap();
}

#[test]
fn what_lies_on_another_making_is_refused() {
    let (from, layers) = Host::with_all();
    let install = from.send(&layers[0]).unwrap();
    let docker = from.send(&layers[1]).unwrap();
    let to = Host::new();
    to.receive(&install).unwrap();
    // Made here again: the same key, other bytes.
    let key = &layers[0].manifest.base.key;
    to.store.remove(key).unwrap();
    let again = to.make(Stage::Install, None, layers[0].manifest.inputs.clone());
    assert_eq!(again.manifest.base.key, *key);
    let fault = to.refuses(&docker);
    assert_eq!(fault.cause, Cause::Config);
    assert!(fault.message.contains("install") && fault.hint.is_some(), "{fault:?}");
    // By itself it is as good as the other.
    assert_eq!(to.receive(&install).unwrap(), [State::There]);
    assert_eq!(to.store.get(key).unwrap().manifest, again.manifest);
}

#[test]
fn half_a_layer_that_is_in_the_way_is_replaced() {
    let (from, layers) = Host::with_all();
    let to = Host::new();
    let dir = to.store.folder().join(layers[0].manifest.base.key.as_str());
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("disk.qcow2"), "half").unwrap();
    assert_eq!(to.receive(&from.send(&layers[0]).unwrap()).unwrap(), [State::Imported]);
}

#[test]
fn virtualbox_checkpoints_are_not_carried() {
    let host = Host::new();
    Identity::load_or_create(&host.paths.builder(), false).unwrap();
    let inputs = Inputs::from([("iso".to_owned(), "sha512:00".to_owned())]);
    let key = Key::derive(Stage::Install, None, &inputs);
    let folder = host.store.folder().join(key.as_str());
    fs::create_dir_all(folder.join("virtualbox")).unwrap();
    let manifest = Manifest::new(Stage::Install, key.clone(), None, inputs, 1.0);
    fs::write(folder.join("layer.json"), serde_json::to_vec(&manifest).unwrap()).unwrap();
    let layer = host.store.get(&key).unwrap();
    let error = host.send(&layer).unwrap_err();
    let fault = Fault::of(&error).unwrap();
    assert_eq!(fault.cause, Cause::Usage);
    assert!(fault.message.contains("VirtualBox"), "{fault:?}");
    assert!(fault.hint.as_ref().unwrap().contains("--machine qemu"));
}
