//! SIGKILL between any two steps of an import.

use super::*;
use crate::process::kill_point::testing::{given, run_killed};

/// What the test starts and kills; it does nothing by itself.
#[test]
#[ignore = "a process of another test's"]
fn killed_at_its_work() {
    let Some(folder) = given() else { return };
    let folder = Path::new(&folder);
    let (events, cancel) = (Events::ignore(), Cancel::default());
    let wanted = Receiving {
        paths: &paths(folder),
        events: &events,
        cancel: &cancel,
    };
    receive(&wanted, fs::File::open(folder.join("archive")).unwrap()).unwrap();
}

#[test]
fn what_is_left_is_whole_and_the_next_import_completes_it() {
    let (from, layers) = Host::with_all();
    let archive = from.send(&layers[3]).unwrap();
    let mut at = 1;
    loop {
        let to = Host::new();
        fs::write(to.folder.path().join("archive"), &archive).unwrap();
        let name = "archive::tests::kills::killed_at_its_work";
        let killed = run_killed(name, &to.folder.path().to_string_lossy(), at);
        for layer in to.store.list().unwrap() {
            let from = layers
                .iter()
                .find(|from| from.manifest.base == layer.manifest.base)
                .unwrap();
            assert_eq!(layer.manifest, from.manifest, "point {at}");
            assert!(
                fs::read(&layer.disk).unwrap() == fs::read(&from.disk).unwrap(),
                "point {at}"
            );
            assert!(to.store.get(&layer.manifest.base.key).is_some(), "point {at}");
        }
        if !killed {
            assert!(at > 6, "there are {at} points");
            return;
        }
        // Whoever comes next sweeps, and the same command goes on.
        to.receive(&archive).unwrap();
        assert_eq!(to.store.list().unwrap().len(), 4, "point {at}");
        let rubbish = to.store.rubbish().unwrap();
        assert!(rubbish.0.is_empty(), "point {at}: {rubbish:?}");
        at += 1;
    }
}
