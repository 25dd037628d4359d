//! What is carried arrives as it was.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use super::*;
use crate::event::Event;

#[test]
fn a_checkpoint_arrives_with_all_that_it_needs() {
    let (from, layers) = Host::with_all();
    for (count, layer) in (1..).zip(&layers) {
        let archive = from.send(layer).unwrap();
        let to = Host::new();
        assert_eq!(to.receive(&archive).unwrap(), vec![State::Imported; count]);
        for layer in &layers[..count] {
            let there = to.store.get(&layer.manifest.base.key).unwrap();
            assert_eq!(there.manifest, layer.manifest);
            assert_eq!(fs::metadata(&there.disk).unwrap().permissions().mode() & 0o777, 0o400);
        }
        // Byte for byte, and the keys with it; of the login only with its account.
        let tree = to.tree();
        let all = from.tree();
        let wanted = all.iter().filter(|(path, _)| {
            let is_layer = |layer: &Layer| path.starts_with(Path::new("layers").join(layer.manifest.base.key.as_str()));
            let is_key = path.starts_with("identities/_builder") || (count > 2 && path.starts_with("identities/jdoe"));
            is_key || layers[..count].iter().any(is_layer)
        });
        let manifest = |path: &Path| path.ends_with("layer.json");
        let without = |tree: BTreeMap<PathBuf, Vec<u8>>| -> BTreeMap<_, _> {
            tree.into_iter().filter(|(path, _)| !manifest(path)).collect()
        };
        assert_eq!(
            without(tree),
            without(wanted.map(|(path, content)| (path.clone(), content.clone())).collect())
        );
        // Again: all is there, and stays as it is.
        let before = to.tree();
        assert_eq!(to.receive(&archive).unwrap(), vec![State::There; count]);
        assert_eq!(to.tree(), before);
        // From there it goes on as it came: the same bytes.
        let there = to.store.get(&layer.manifest.base.key).unwrap();
        assert_eq!(members(&to.send(&there).unwrap()).len(), members(&archive).len());
    }
}

#[test]
fn what_is_missing_of_a_chain_is_added() {
    let (from, layers) = Host::with_all();
    let to = Host::new();
    to.receive(&from.send(&layers[1]).unwrap()).unwrap();
    let states = to.receive(&from.send(&layers[3]).unwrap()).unwrap();
    assert_eq!(states, [State::There, State::There, State::Imported, State::Imported]);
}

#[test]
fn members_come_in_order_and_holes_do_not_come() {
    let (from, layers) = Host::with_all();
    let archive = from.send(&layers[3]).unwrap();
    let members = members(&archive);
    let index = index::Index::parse(&members[0].content).unwrap();
    let names: Vec<String> = members.iter().map(Member::name).collect();
    assert_eq!(names[..names.len() - 1], index.members());
    assert_eq!(names[names.len() - 1], DIGESTS);
    let memory = members
        .iter()
        .find(|member| member.name().ends_with("/memory"))
        .unwrap();
    let is_sparse = fs::metadata(layers[1].folder().join(MEMORY)).unwrap().blocks() * 512 < MEMORY_SIZE / 2;
    assert!(is_sparse, "the tests' file system keeps holes");
    assert!(memory.content.len() < 1 << 20, "{}", memory.content.len());
    let to = Host::new();
    to.receive(&archive).unwrap();
    let there = to.store.get(&layers[1].manifest.base.key).unwrap();
    let data = fs::metadata(there.folder().join(MEMORY)).unwrap();
    assert_eq!(data.len(), MEMORY_SIZE);
    assert!(data.blocks() * 512 < MEMORY_SIZE / 2, "{}", data.blocks());
    assert!(members.iter().all(|member| member.header.mode().unwrap() == 0o600));
}

#[test]
fn memories_stay_here_unless_they_are_wanted() {
    let (from, layers) = Host::with_all();
    let (events, cancel) = (Events::ignore(), Cancel::default());
    let sending = Sending {
        memory: false,
        ..from.sending(&layers[3], &events, &cancel)
    };
    let mut archive = Vec::new();
    send(&sending, &mut archive).unwrap();
    assert!(members(&archive).iter().all(|member| !member.name().contains("memory")));
    let to = Host::new();
    to.receive(&archive).unwrap();
    let docker = to.store.get(&layers[1].manifest.base.key).unwrap();
    assert!(docker.memory().is_none() && layers[1].memory().is_some());
    assert_eq!(docker.manifest.digests.len(), 1);
    assert!(to.store.examine(&docker, &cancel).unwrap().is_empty());
    // It is the same making: what lies on it fits.
    assert_eq!(to.receive(&from.send(&layers[3]).unwrap()).unwrap(), [State::There; 4]);
}

#[test]
fn how_far_it_is_is_told_in_bytes() {
    let (from, layers) = Host::with_all();
    let last = |told: &std::sync::Mutex<Vec<Event>>| {
        let told = told.lock().unwrap();
        let mut progress = told.iter().filter_map(|event| match event {
            Event::Progress { stage, done, total, .. } => Some((*stage, *done, total.unwrap())),
            _ => None,
        });
        progress.next_back().unwrap()
    };
    let (events, told) = Events::recorder();
    let mut archive = Vec::new();
    send(&from.sending(&layers[3], &events, &Cancel::default()), &mut archive).unwrap();
    let (stage, done, total) = last(&told);
    assert_eq!((stage, done), (Stage::Export, total));
    assert!(total > 800_000, "{total}");
    let (events, told) = Events::recorder();
    let to = Host::new();
    let wanted = Receiving {
        paths: &to.paths,
        events: &events,
        cancel: &Cancel::default(),
    };
    receive(&wanted, &*archive).unwrap();
    assert_eq!(last(&told), (Stage::Import, total, total));
}

#[test]
fn two_at_once_and_a_third_make_one_store() {
    let (from, layers) = Host::with_all();
    let archive = from.send(&layers[3]).unwrap();
    let to = Host::new();
    let states: Vec<_> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..3).map(|_| scope.spawn(|| to.receive(&archive))).collect();
        workers
            .into_iter()
            .map(|worker| worker.join().unwrap().unwrap())
            .collect()
    });
    for place in 0..4 {
        let imported = states.iter().filter(|states| states[place] == State::Imported);
        assert_eq!(imported.count(), 1, "{states:?}");
    }
    assert_eq!(to.store.list().unwrap().len(), 4);
    let rubbish = to.store.rubbish().unwrap();
    assert!(rubbish.0.is_empty(), "{rubbish:?}");
}

#[test]
fn a_file_is_there_whole_or_not_at_all() {
    let (from, layers) = Host::with_all();
    let (events, cancel) = (Events::ignore(), Cancel::default());
    let out = tempfile::tempdir().unwrap();
    let file = out.path().join("docker.provision");
    let sending = from.sending(&layers[1], &events, &cancel);
    let sent = send_file(&sending, &file, false).unwrap();
    assert_eq!(sent.bytes, Some(fs::metadata(&file).unwrap().len()));
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let before = fs::read(&file).unwrap();
    let refused = send_file(&sending, &file, false).unwrap_err();
    assert_eq!(Fault::of(&refused).unwrap().cause, Cause::Usage);
    cancel.raise();
    let stopped = send_file(&sending, &file, true).unwrap_err();
    assert_eq!(Fault::of(&stopped).unwrap().cause, Cause::Interrupted);
    assert_eq!(fs::read(&file).unwrap(), before);
    assert_eq!(fs::read_dir(out.path()).unwrap().count(), 1);
    // The same checkpoint gives the same file.
    let calm = Cancel::default();
    send_file(&from.sending(&layers[1], &events, &calm), &file, true).unwrap();
    assert!(fs::read(&file).unwrap() == before);
    let inside = send_file(
        &from.sending(&layers[1], &events, &calm),
        &from.paths.cache.join("x"),
        true,
    );
    assert_eq!(Fault::of(&inside.unwrap_err()).unwrap().cause, Cause::Usage);
}
