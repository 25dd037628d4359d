//! Changes to a real folder in which, before any of them, a process can be killed, the power be cut, an error be
//! returned, or another process come in between.
//!
//! The folder is changed as it would be, and beside it an account is kept of what of it has reached the disk. A power cut
//! replaces the folder by what may be left then, as unkind as POSIX allows: of every name that was not synced the former
//! or the later state, each for itself, and of a content that was not synced the former, the later, or a part of it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Result;

use super::Changes;

/// Numbers that follow from a seed (`SplitMix64` by Steele, Lea and Flood).
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// One of `0..count`.
    pub fn below(&mut self, count: usize) -> usize {
        usize::try_from(self.next() % count.max(1) as u64).unwrap()
    }

    /// True once in `count` times.
    pub fn once_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }
}

type Node = usize;
type Name = (Node, String);

#[derive(Debug, Clone, Default)]
struct Content {
    now: Vec<u8>,
    /// What has reached the disk; nothing of a new file.
    synced: Option<Vec<u8>>,
}

/// A folder, and what of it has reached the disk.
#[derive(Debug)]
pub struct Disk {
    root: PathBuf,
    names: BTreeMap<Name, Node>,
    synced: BTreeMap<Name, Node>,
    /// Changes of names that have not reached the disk, oldest first; those of a rename belong together.
    pending: Vec<Vec<(Name, Option<Node>)>>,
    files: BTreeMap<Node, Content>,
    count: Node,
    dice: Dice,
    /// The power is off.
    is_off: bool,
}

const ROOT: Node = 0;

impl Disk {
    /// The empty folder `root`.
    pub fn new(root: &Path, seed: u64) -> Arc<Mutex<Self>> {
        Arc::new(Mutex::new(Self {
            root: root.to_owned(),
            names: BTreeMap::new(),
            synced: BTreeMap::new(),
            pending: Vec::new(),
            files: BTreeMap::new(),
            count: ROOT + 1,
            dice: Dice::new(seed),
            is_off: false,
        }))
    }

    /// The node of the folder of `path`, and its name there.
    fn place(&self, path: &Path) -> Name {
        let inner = path.strip_prefix(&self.root).unwrap();
        let mut parts: Vec<String> = inner.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
        let name = parts.pop().unwrap();
        let folder = parts.into_iter().fold(ROOT, |folder, part| {
            *self.names.get(&(folder, part)).expect("a folder that was made")
        });
        (folder, name)
    }

    fn node(&self, path: &Path) -> Option<Node> {
        if path == self.root {
            return Some(ROOT);
        }
        self.names.get(&self.place(path)).copied()
    }

    fn set(&mut self, changes: Vec<(Name, Option<Node>)>) {
        for (name, node) in &changes {
            match node {
                Some(node) => self.names.insert(name.clone(), *node),
                None => self.names.remove(name),
            };
        }
        self.pending.push(changes);
    }

    fn add(&mut self, path: &Path, content: Option<&[u8]>) {
        let node = self.count;
        self.count += 1;
        if let Some(content) = content {
            let now = content.to_vec();
            self.files.insert(node, Content { now, synced: None });
        }
        let place = self.place(path);
        self.set(vec![(place, Some(node))]);
    }

    fn rewrite(&mut self, path: &Path, content: &[u8]) {
        let node = self.node(path).unwrap();
        self.files.get_mut(&node).unwrap().now = content.to_vec();
    }

    fn sync(&mut self, path: &Path) {
        let node = self.node(path).unwrap();
        if let Some(file) = self.files.get_mut(&node) {
            file.synced = Some(file.now.clone());
            return;
        }
        // The names in this folder, and with each what it needs: the other name of a rename, and what was before it.
        let mut wanted: BTreeSet<Name> = BTreeSet::new();
        let mut reaches = vec![false; self.pending.len()];
        for (place, change) in self.pending.iter().enumerate().rev() {
            if change.iter().any(|(name, _)| name.0 == node || wanted.contains(name)) {
                reaches[place] = true;
                wanted.extend(change.iter().map(|(name, _)| name.clone()));
            }
        }
        let mut reaches = reaches.into_iter();
        let pending = std::mem::take(&mut self.pending);
        for change in pending {
            if reaches.next() == Some(true) {
                apply(&mut self.synced, &change);
            } else {
                self.pending.push(change);
            }
        }
    }

    /// The power has gone, and is there again: the folder is what has reached the disk, and perhaps some of the rest.
    pub fn cut_power(&mut self) {
        let mut stopped: BTreeSet<Name> = BTreeSet::new();
        // Sometimes all that could be lost is, sometimes nothing of the names is, which is where contents hurt.
        let odds = self.dice.below(3);
        for change in std::mem::take(&mut self.pending) {
            let is_lost = match odds {
                0 => true,
                1 => false,
                _ => self.dice.once_in(2),
            };
            if is_lost || change.iter().any(|(name, _)| stopped.contains(name)) {
                stopped.extend(change.into_iter().map(|(name, _)| name));
            } else {
                apply(&mut self.synced, &change);
            }
        }
        self.names = self.synced.clone();
        let dice = &mut self.dice;
        for file in self.files.values_mut() {
            let former = file.synced.clone().unwrap_or_default();
            if former != file.now {
                file.now = match dice.below(3) {
                    0 => former,
                    1 => file.now.clone(),
                    _ => torn(&former, &file.now),
                };
            }
            file.synced = Some(file.now.clone());
        }
        self.is_off = false;
        self.restore();
    }

    /// Makes the folder what this account says.
    fn restore(&self) {
        for entry in std::fs::read_dir(&self.root).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                std::fs::remove_dir_all(path).unwrap();
            } else {
                std::fs::remove_file(path).unwrap();
            }
        }
        self.restore_folder(ROOT, &self.root);
    }

    fn restore_folder(&self, folder: Node, path: &Path) {
        let from = (folder, String::new());
        let names = self.names.range(from..).take_while(|((node, _), _)| *node == folder);
        for ((_, name), node) in names {
            let path = path.join(name);
            if let Some(file) = self.files.get(node) {
                std::fs::write(path, &file.now).unwrap();
            } else {
                std::fs::create_dir(&path).unwrap();
                self.restore_folder(*node, &path);
            }
        }
    }

    /// Damages a file as a failing disk would: nobody changed it, and it is another.
    pub fn damage(&mut self, path: &Path) {
        let node = self.node(path).unwrap();
        let file = self.files.get_mut(&node).unwrap();
        file.now.push(b'!');
        file.synced = Some(file.now.clone());
        std::fs::write(path, &file.now).unwrap();
    }

    /// Whether the power is off.
    pub fn is_off(&self) -> bool {
        self.is_off
    }
}

fn apply(names: &mut BTreeMap<Name, Node>, change: &[(Name, Option<Node>)]) {
    for (name, node) in change {
        match node {
            Some(node) => names.insert(name.clone(), *node),
            None => names.remove(name),
        };
    }
}

/// A content of which a part has reached the disk.
fn torn(former: &[u8], now: &[u8]) -> Vec<u8> {
    let half = now.len() / 2;
    let rest = former.get(half..).unwrap_or_default();
    [&now[..half], rest].concat()
}

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
