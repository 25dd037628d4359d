//! File systems without room.

use std::time::Duration;

use super::*;
use crate::event::Event;
use crate::process::{self, CommandLine};

/// A file system of its own; goes when it is dropped.
struct Small(PathBuf);

impl Small {
    /// `None` where the tests may not mount.
    fn new(at: &Path, size: &str) -> Option<Self> {
        fs::create_dir_all(at).unwrap();
        let mount = CommandLine::new("mount", ["-t", "tmpfs", "-o", &format!("size={size}"), "none"]).arg(at);
        if process::run(&mount, Duration::from_secs(20), &Cancel::default()).is_err() {
            eprintln!("SKIPPED: a full file system needs mount(8), and the tests may not use it here");
            return None;
        }
        Some(Self(at.to_owned()))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let umount = CommandLine::new("umount", ["-l"]).arg(&self.0);
        let _ = process::run(&umount, Duration::from_secs(20), &Cancel::default());
    }
}

#[test]
fn too_little_room_is_told_before_anything_is_written() {
    let (from, layers) = Host::with_all();
    let archive = from.send(&layers[3]).unwrap();
    let to = Host::new();
    let Some(_small) = Small::new(&to.paths.cache, "8M") else {
        return;
    };
    let fault = to.refuses(&archive);
    assert_eq!(fault.cause, Cause::Space);
    assert!(
        fault.message.contains("are needed") && fault.hint.is_some(),
        "{fault:?}"
    );
}

#[test]
fn a_disk_that_fills_up_meanwhile_is_told_and_leaves_nothing() {
    let (from, layers) = Host::with_all();
    let archive = from.send(&layers[3]).unwrap();
    let to = Host::new();
    let Some(_small) = Small::new(&to.paths.cache, "32M") else {
        return;
    };
    let filler = to.paths.cache.join("filler");
    let fill = {
        let filler = filler.clone();
        move |event: Event| {
            let is_it = |text: &str| text.starts_with("unpacking");
            if matches!(&event, Event::Step { text, .. } if is_it(text)) {
                let room = crate::host::disk::free_space(filler.parent().unwrap()).unwrap();
                fs::write(&filler, vec![1; usize::try_from(room - (300 << 10)).unwrap()]).unwrap();
            }
        }
    };
    let (events, cancel) = (Events::new(fill), Cancel::default());
    let wanted = Receiving {
        paths: &to.paths,
        events: &events,
        cancel: &cancel,
    };
    let error = receive(&wanted, &*archive).unwrap_err();
    let fault = Fault::of(&error).unwrap_or_else(|| panic!("{error:?}"));
    assert_eq!(fault.cause, Cause::Space, "{error:?}");
    fs::remove_file(&filler).unwrap();
    assert!(to.tree().is_empty(), "{:?}", to.tree().keys());
    assert!(to.store.rubbish().unwrap().0.is_empty());
    to.receive(&archive).unwrap();
}

#[test]
fn a_file_that_does_not_fit_leaves_nothing() {
    let (from, layers) = Host::with_all();
    let out = tempfile::tempdir().unwrap();
    let (events, cancel) = (Events::ignore(), Cancel::default());
    let sending = from.sending(&layers[3], &events, &cancel);
    // Too small to begin with, and too small to end.
    for size in ["64k", "500k"] {
        let folder = out.path().join(size);
        let Some(_small) = Small::new(&folder, size) else {
            return;
        };
        let error = send_file(&sending, &folder.join("x"), false).unwrap_err();
        let fault = Fault::of(&error).unwrap_or_else(|| panic!("{error:?}"));
        assert_eq!(fault.cause, Cause::Space, "{size}: {error:?}");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0, "{size}");
    }
}
