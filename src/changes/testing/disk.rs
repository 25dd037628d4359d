//! A folder, and what of it has reached the disk.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::Dice;

pub(super) type Node = usize;
pub(super) type Name = (Node, String);

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
    pub(super) is_off: bool,
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
    pub(super) fn place(&self, path: &Path) -> Name {
        let inner = path.strip_prefix(&self.root).unwrap();
        let mut parts: Vec<String> = inner.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
        let name = parts.pop().unwrap();
        let folder = parts.into_iter().fold(ROOT, |folder, part| {
            *self.names.get(&(folder, part)).expect("a folder that was made")
        });
        (folder, name)
    }

    pub(super) fn node(&self, path: &Path) -> Option<Node> {
        if path == self.root {
            return Some(ROOT);
        }
        self.names.get(&self.place(path)).copied()
    }

    pub(super) fn set(&mut self, changes: Vec<(Name, Option<Node>)>) {
        for (name, node) in &changes {
            match node {
                Some(node) => self.names.insert(name.clone(), *node),
                None => self.names.remove(name),
            };
        }
        self.pending.push(changes);
    }

    pub(super) fn add(&mut self, path: &Path, content: Option<&[u8]>) {
        let node = self.count;
        self.count += 1;
        if let Some(content) = content {
            let now = content.to_vec();
            self.files.insert(node, Content { now, synced: None });
        }
        let place = self.place(path);
        self.set(vec![(place, Some(node))]);
    }

    pub(super) fn rewrite(&mut self, path: &Path, content: &[u8]) {
        let node = self.node(path).unwrap();
        self.files.get_mut(&node).unwrap().now = content.to_vec();
    }

    pub(super) fn sync(&mut self, path: &Path) {
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
pub(super) fn torn(former: &[u8], now: &[u8]) -> Vec<u8> {
    let half = now.len() / 2;
    let rest = former.get(half..).unwrap_or_default();
    [&now[..half], rest].concat()
}
