//! Changes to a real folder in which, before any of them, a process can be killed, the power be cut, an error be
//! returned, or another process come in between.
//!
//! The folder is changed as it would be, and beside it an account is kept of what of it has reached the disk. A power cut
//! replaces the folder by what may be left then, as unkind as POSIX allows: of every name that was not synced the former
//! or the later state, each for itself, and of a content that was not synced the former, the later, or a part of it.

mod dice;
mod disk;

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Result;

use super::Changes;
pub use dice::Dice;
pub use disk::Disk;
use disk::torn;

/// What happens before a change.
pub enum Event {
    /// The change fails.
    Error(io::ErrorKind),
    /// The process is killed.
    Kill,
    /// The power goes.
    PowerCut,
    /// Another process does something.
    Visit(Box<dyn FnOnce() + Send>),
}

impl std::fmt::Debug for Event {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Error(_) => "an error",
            Self::Kill => "a kill",
            Self::PowerCut => "a power cut",
            Self::Visit(_) => "a visit",
        })
    }
}

/// What one process does to a disk.
#[derive(Debug)]
pub struct Injected {
    disk: Arc<Mutex<Disk>>,
    fate: Mutex<Fate>,
}

#[derive(Debug, Default)]
struct Fate {
    /// How many changes come before the event.
    before: usize,
    event: Option<Event>,
    /// How many changes there were.
    count: usize,
    is_killed: bool,
}

impl Injected {
    /// A process to which `event` happens before the change number `before`, counted from 0.
    pub fn new(disk: &Arc<Mutex<Disk>>, before: usize, event: Option<Event>) -> Arc<Self> {
        let fate = Fate {
            before,
            event,
            ..Fate::default()
        };
        Arc::new(Self {
            disk: Arc::clone(disk),
            fate: Mutex::new(fate),
        })
    }

    /// Whether what was to happen has happened.
    pub fn has_happened(&self) -> bool {
        locked(&self.fate).event.is_none()
    }

    /// Makes a change, unless something happens. A process that is killed, or a write that fails, may have done a
    /// `part`.
    fn step(
        &self,
        change: impl FnOnce(&mut Disk) -> io::Result<()>,
        part: impl FnOnce(&mut Disk) -> io::Result<()>,
    ) -> io::Result<()> {
        let event = {
            let mut fate = locked(&self.fate);
            if fate.is_killed || locked(&self.disk).is_off {
                return Err(io::Error::other("the process has ended"));
            }
            fate.count += 1;
            (fate.count > fate.before).then(|| fate.event.take()).flatten()
        };
        match event {
            None => {}
            Some(Event::Visit(visit)) => {
                visit();
                if locked(&self.disk).is_off {
                    return Err(io::Error::other("the power is off"));
                }
            }
            Some(Event::Error(kind)) => {
                part(&mut locked(&self.disk))?;
                return Err(io::Error::from(kind));
            }
            Some(Event::Kill) => {
                locked(&self.fate).is_killed = true;
                part(&mut locked(&self.disk))?;
                return Err(io::Error::other("the process was killed"));
            }
            Some(Event::PowerCut) => {
                part(&mut locked(&self.disk))?;
                locked(&self.disk).is_off = true;
                return Err(io::Error::other("the power is off"));
            }
        }
        change(&mut locked(&self.disk))
    }

    fn whole(&self, change: impl FnOnce(&mut Disk) -> io::Result<()>) -> io::Result<()> {
        self.step(change, |_| Ok(()))
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Changes for Injected {
    fn make_dir(&self, dir: &Path) -> io::Result<()> {
        self.whole(|disk| {
            std::fs::create_dir(dir)?;
            disk.add(dir, None);
            Ok(())
        })
    }

    fn write(&self, file: &Path, content: &[u8]) -> io::Result<()> {
        let write = |content: &[u8], disk: &mut Disk| {
            let mut new = std::fs::File::create_new(file)?;
            io::Write::write_all(&mut new, content)?;
            disk.add(file, Some(content));
            Ok(())
        };
        self.step(
            |disk| write(content, disk),
            |disk| write(&content[..content.len() / 2], disk),
        )
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        self.whole(|disk| {
            std::fs::metadata(path)?;
            disk.sync(path);
            Ok(())
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.whole(|disk| {
            std::fs::rename(from, to)?;
            let node = disk.node(from);
            let (from, to) = (disk.place(from), disk.place(to));
            disk.set(vec![(from, None), (to, node)]);
            Ok(())
        })
    }

    fn protect(&self, file: &Path) -> io::Result<()> {
        self.whole(|_| std::fs::metadata(file).map(drop))
    }

    fn remove_file(&self, file: &Path) -> io::Result<()> {
        self.whole(|disk| {
            std::fs::remove_file(file)?;
            // Locks are made by others, and stay over no power cut.
            if disk.node(file).is_some() {
                let place = disk.place(file);
                disk.set(vec![(place, None)]);
            }
            Ok(())
        })
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        self.whole(|disk| {
            std::fs::remove_dir(dir)?;
            let place = disk.place(dir);
            disk.set(vec![(place, None)]);
            Ok(())
        })
    }

    /// The first line of these disks names what they lie on; it is written in place, as qemu-img does.
    fn relink(&self, overlay: &Path, backing: &Path) -> Result<()> {
        let former = std::fs::read_to_string(overlay)?;
        let (_, rest) = former.split_once('\n').unwrap_or_default();
        let new = format!("{}\n{rest}", backing.display());
        let half = torn(former.as_bytes(), new.as_bytes());
        let write = |content: &[u8], disk: &mut Disk| {
            std::fs::write(overlay, content)?;
            disk.rewrite(overlay, content);
            Ok(())
        };
        self.step(|disk| write(new.as_bytes(), disk), |disk| write(&half, disk))?;
        Ok(())
    }

    fn copy(&self, from: &Path, to: &Path) -> Result<()> {
        Ok(self.write(to, &std::fs::read(from)?)?)
    }
}

#[test]
fn a_power_cut_loses_what_was_not_synced() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let (mut lost_name, mut lost_content) = (0, 0);
    for seed in 0..40 {
        let disk = Disk::new(root, seed);
        let process = Injected::new(&disk, 0, None);
        let [kept, named, written] = ["kept", "named", "written"].map(|name| root.join(name));
        for file in [&kept, &named, &written] {
            process.write(file, b"content").unwrap();
        }
        process.sync(&kept).unwrap();
        process.sync(&named).unwrap();
        process.rename(&kept, &root.join("k")).unwrap();
        process.sync(root).unwrap();
        process.rename(&named, &root.join("n")).unwrap();
        locked(&disk).cut_power();
        assert_eq!(std::fs::read(root.join("k")).unwrap(), b"content");
        let [old, new] = [&named, &root.join("n")].map(|path| path.exists());
        assert!(old != new, "a rename is done or not");
        lost_name += usize::from(old);
        lost_content += usize::from(std::fs::read(&written).unwrap() != b"content");
        std::fs::remove_dir_all(root).unwrap();
        std::fs::create_dir(root).unwrap();
    }
    assert!((5..40).contains(&lost_name), "{lost_name}");
    assert!((5..40).contains(&lost_content), "{lost_content}");
}
