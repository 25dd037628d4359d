//! What should be in a store, beside the store.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Result;
use jiff::Timestamp;

use super::super::check::examine_digests;
use super::super::prune::{Item, Rules, select};
use super::super::{Base, Layer, MANIFEST, Making, Manifest, Store, USE};
use crate::cancel::Cancel;
use crate::changes::testing::{Dice, Disk, Event, Injected};
use crate::changes::{Changes as _, Real};
use crate::event::Stage;
use crate::key::{Inputs, Key};
use crate::lock::Lock;
use crate::machine::driver::Hypervisor;

/// The layers that there may be: each with the one that it lies on.
const TREE: [(Stage, Option<usize>); 7] = [
    (Stage::Install, None),
    (Stage::Docker, Some(0)),
    (Stage::Docker, Some(0)),
    (Stage::Account, Some(1)),
    (Stage::Account, Some(1)),
    (Stage::Project, Some(3)),
    (Stage::Account, Some(2)),
];

/// What a process does.
#[derive(Debug, Clone, Copy)]
pub enum Step {
    /// Makes the layer at a place of the tree, or the next that can be made.
    Commit(usize),
    /// Puts a machine on a layer, or the next that is there.
    Use(usize),
    /// Removes the oldest machine.
    Leave,
    /// Removes what no machine needs, by some rules.
    Prune(Rules),
    /// A disk's content changes by itself, and `cache check` sees it.
    Check(usize),
    /// Starts and ends.
    Share,
}

impl Step {
    /// Each kind, on what [`World::prepare`] makes.
    pub const ALL: [Self; 7] = [
        Self::Commit(4),
        Self::Commit(6),
        Self::Use(5),
        Self::Leave,
        Self::Prune(Rules {
            keep_last: None,
            older_than: None,
            max_size: None,
        }),
        Self::Check(2),
        Self::Share,
    ];

    pub fn roll(dice: &mut Dice) -> Self {
        match dice.below(20) {
            0..9 => Self::Commit(dice.below(TREE.len())),
            9..11 => Self::Use(dice.below(TREE.len())),
            11..13 => Self::Leave,
            13..17 => Self::Prune(Rules {
                keep_last: dice.once_in(2).then(|| dice.below(3)),
                older_than: None,
                max_size: dice.once_in(2).then(|| dice.below(1000) as u64),
            }),
            17 => Self::Check(dice.below(TREE.len())),
            _ => Self::Share,
        }
    }
}

/// What must be true.
#[derive(Debug, Default)]
struct Truth {
    /// What each making's files hold.
    makings: BTreeMap<String, Made>,
    /// What was reported as made and not removed since.
    reported: BTreeMap<usize, Base>,
    /// What machines lie on.
    machines: Vec<Base>,
    /// Makings whose disk was damaged.
    damaged: BTreeSet<String>,
    /// Where those were put.
    aside: Vec<PathBuf>,
    count: usize,
}

#[derive(Debug, Clone)]
struct Made {
    parent: Option<Base>,
    disk: String,
    memory: String,
}

/// A store with its truth; clones are the same.
#[derive(Clone)]
pub struct World {
    folder: Arc<tempfile::TempDir>,
    disk: Arc<Mutex<Disk>>,
    truth: Arc<Mutex<Truth>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn key(place: usize) -> Key {
    let (stage, parent) = TREE[place];
    let inputs = Inputs::from([("place".to_owned(), place.to_string())]);
    Key::derive(stage, parent.map(key).as_ref(), &inputs)
}

/// All places, from `place` on.
fn from(place: usize) -> impl Iterator<Item = usize> {
    (place..TREE.len()).chain(0..place)
}

fn place_of(base: &Base) -> usize {
    (0..TREE.len()).find(|&place| key(place) == base.key).unwrap()
}

impl World {
    pub fn new(seed: u64) -> Self {
        // In memory, where there is such a place: nothing here depends on a disk.
        let memory = Path::new("/dev/shm");
        let folder = if memory.is_dir() {
            tempfile::tempdir_in(memory)
        } else {
            tempfile::tempdir()
        };
        let folder = folder.unwrap();
        let disk = Disk::new(folder.path(), seed);
        let world = Self {
            folder: Arc::new(folder),
            disk,
            truth: Arc::default(),
        };
        let process = Injected::new(&world.disk, 0, None);
        for dir in [world.work(), world.cache(), world.cache().join("layers")] {
            process.make_dir(&dir).unwrap();
        }
        process.sync(world.folder.path()).unwrap();
        process.sync(&world.cache()).unwrap();
        world
    }

    fn cache(&self) -> PathBuf {
        self.folder.path().join("cache")
    }

    fn work(&self) -> PathBuf {
        self.folder.path().join("work")
    }

    /// Makes some layers and a machine.
    pub fn prepare(&self) {
        for place in [0, 1, 2, 3, 5] {
            assert!(!self.live_through(Step::Commit(place), 0, None));
        }
        self.live_through(Step::Use(3), 0, None);
        assert_eq!(locked(&self.truth).reported.len(), 5);
    }

    /// A process does `step`, and `event` comes before its change number `before`; whether it came.
    pub fn live_through(&self, step: Step, before: usize, event: Option<Event>) -> bool {
        let is_given = event.is_some();
        let process = Injected::new(&self.disk, before, event);
        let taken = self.take(step, &process);
        // Errors are what this is about, but only where there is a reason for one.
        assert!(is_given || taken.is_ok(), "{step:?} fails without an event: {taken:?}");
        let mut disk = locked(&self.disk);
        if disk.is_off() {
            disk.cut_power();
        }
        is_given && process.has_happened()
    }

    /// The power goes while nobody does anything.
    pub fn cut_power(&self) {
        locked(&self.disk).cut_power();
    }

    /// The same between two changes of another.
    pub fn visit(&self, step: Step, before: usize, event: Option<Event>) {
        let process = Injected::new(&self.disk, before, event);
        let _ = self.take(step, &process);
    }

    fn take(&self, step: Step, process: &Arc<Injected>) -> Result<()> {
        let store = Store::with(&self.cache(), Arc::clone(process) as _);
        match step {
            Step::Commit(place) => self.commit(&store, process, place),
            Step::Use(place) => self.put_machine(&store, place),
            Step::Leave => {
                let machines = &mut locked(&self.truth).machines;
                if !machines.is_empty() {
                    machines.remove(0);
                }
                Ok(())
            }
            Step::Prune(rules) => self.prune(&store, rules),
            Step::Check(place) => self.check(&store, place),
            Step::Share => Self::share(&store).map(drop),
        }
    }

    /// `None` while somebody holds the store alone: that one stands still until this process has ended.
    fn share(store: &Store) -> Result<Option<Lock>> {
        if Lock::try_share(&store.folder().join(USE))?.is_none() {
            return Ok(None);
        }
        store.share(&Cancel::default(), || ()).map(Some)
    }

    fn commit(&self, store: &Store, process: &Injected, place: usize) -> Result<()> {
        let Some(_share) = Self::share(store)? else {
            return Ok(());
        };
        // The next that can be made.
        let is_there = |place: usize| store.get(&key(place)).is_some();
        let can_be_made = |place: &usize| !is_there(*place) && TREE[*place].1.is_none_or(is_there);
        let Some(place) = from(place).find(can_be_made) else {
            return Ok(());
        };
        let (stage, parent) = TREE[place];
        let parent = parent.and_then(|parent| store.get(&key(parent)));
        let Some(_lock) = Lock::try_take(&store.folder().join(format!("{}.lock", key(place))))? else {
            return Ok(());
        };
        if store.get(&key(place)).is_some() {
            return Ok(());
        }
        let inputs = Inputs::from([("place".to_owned(), place.to_string())]);
        let manifest = Manifest::new(stage, key(place), parent.as_ref(), inputs, 1.0);
        let [disk, memory] = self.note_making(&manifest, process)?;
        let making = Making {
            hypervisor: Hypervisor::Qemu,
            disk: &disk,
            beside: &[&memory],
        };
        let layer = store.commit_all(making, &manifest)?;
        locked(&self.truth).reported.insert(place, layer.manifest.base);
        Ok(())
    }

    /// Makes the disk and the memory of a layer where a stage works, and notes what should become of them.
    fn note_making(&self, manifest: &Manifest, process: &Injected) -> Result<[PathBuf; 2]> {
        let mut truth = locked(&self.truth);
        truth.count += 1;
        let dir = self.work().join(truth.count.to_string());
        let (content, memory) = (
            format!("disk of {}\n", manifest.base.id),
            format!("memory of {}", manifest.base.id),
        );
        let parent = manifest.parent.clone();
        let backing = parent
            .as_ref()
            .map_or_else(String::new, |parent| format!("../{}/disk.qcow2", parent.key));
        let made = Made {
            disk: format!("{backing}\n{content}"),
            memory: memory.clone(),
            parent,
        };
        truth.makings.insert(manifest.base.id.clone(), made);
        drop(truth);
        process.make_dir(&dir)?;
        let files = [dir.join("disk.qcow2"), dir.join("memory")];
        let absolute = if manifest.parent.is_some() { "/store/parent" } else { "" };
        process.write(&files[0], format!("{absolute}\n{content}").as_bytes())?;
        process.write(&files[1], memory.as_bytes())?;
        Ok(files)
    }

    fn put_machine(&self, store: &Store, place: usize) -> Result<()> {
        let Some(_share) = Self::share(store)? else {
            return Ok(());
        };
        if let Some(layer) = from(place).find_map(|place| store.get(&key(place))) {
            store.settle()?;
            locked(&self.truth).machines.push(layer.manifest.base);
        }
        Ok(())
    }

    fn prune(&self, store: &Store, rules: Rules) -> Result<()> {
        let Some(_alone) = store.try_alone()? else {
            return Ok(());
        };
        let layers = store.list()?;
        let machines = locked(&self.truth).machines.clone();
        let needed: BTreeSet<Base> = machines
            .iter()
            .flat_map(|base| store.chain(base))
            .map(|layer| layer.manifest.base)
            .collect();
        let items: Vec<Item> = layers.iter().map(|layer| item(layer, &layers, &needed)).collect();
        for place in select(&items, rules, Timestamp::now()) {
            let base = &layers[place].manifest.base;
            locked(&self.truth).reported.retain(|_, reported| reported != base);
            store.remove(&base.key)?;
        }
        store.sweep()
    }

    /// Damages a layer, and lets it be found.
    fn check(&self, store: &Store, place: usize) -> Result<()> {
        let Some(_alone) = store.try_alone()? else {
            return Ok(());
        };
        if let Some(layer) = store.get(&key(place)) {
            locked(&self.truth).damaged.insert(layer.manifest.base.id.clone());
            locked(&self.disk).damage(&layer.disk);
        }
        for layer in store.list()? {
            if !examine_digests(&layer, &Cancel::default())?.is_empty() {
                let place = store.set_aside(&layer)?;
                locked(&self.truth).aside.push(place);
            }
        }
        Ok(())
    }

    /// What is wrong with the store. With `sweeps` somebody cleans up first, and then there must be no rubbish.
    pub fn is_whole(&self, sweeps: bool) -> Result<(), String> {
        if sweeps {
            let store = Store::with(&self.cache(), Injected::new(&self.disk, 0, None));
            let alone = store.try_alone().unwrap();
            store.sweep().map_err(|error| format!("sweeping: {error:#}"))?;
            drop(alone);
            Self::is_clean(&store)?;
        }
        let store = Store::with(&self.cache(), Arc::new(Real));
        let there: Vec<Layer> = (0..TREE.len()).filter_map(|place| store.get(&key(place))).collect();
        there.iter().try_for_each(|layer| self.is_sound(layer))?;
        let has = |base: &Base| there.iter().any(|layer| layer.manifest.base == *base);
        let lonely = there
            .iter()
            .find(|layer| layer.manifest.parent.as_ref().is_some_and(|parent| !has(parent)));
        if let Some(layer) = lonely {
            let place = place_of(&layer.manifest.base);
            return Err(format!("the layer {place} is taken without the one that it lies on"));
        }
        let aside = locked(&self.truth).aside.clone();
        if let Some(lost) = aside.iter().find(|place| !place.join("disk.qcow2").exists()) {
            return Err(format!("what was set aside in {} is gone", lost.display()));
        }
        // What lies on a damaged layer is lost with it.
        let truth = &mut *locked(&self.truth);
        let (makings, damaged) = (&truth.makings, &truth.damaged);
        let is_lost = |base: &Base| lies_on_damage(base, makings, damaged);
        truth.reported.retain(|_, base| !is_lost(base));
        truth.machines.retain(|base| !is_lost(base));
        for base in truth.reported.values() {
            if !has(base) {
                return Err(format!("the reported layer {} is gone", place_of(base)));
            }
        }
        for base in &truth.machines {
            if !has(base) {
                return Err(format!("the layer {} under a machine is gone", place_of(base)));
            }
        }
        Ok(())
    }

    /// What is taken for a layer must hold what was made.
    fn is_sound(&self, layer: &Layer) -> Result<(), String> {
        let truth = locked(&self.truth);
        let base = &layer.manifest.base;
        let made = truth.makings.get(&base.id).ok_or("nobody made this layer")?;
        if truth.damaged.contains(&base.id) {
            return Ok(());
        }
        let holds = |path: &Path, content: &str| match std::fs::read_to_string(path) {
            Ok(found) if found == content => Ok(()),
            found => Err(format!(
                "the layer {} has {found:?} in {}",
                place_of(base),
                path.display()
            )),
        };
        holds(&layer.disk, &made.disk)?;
        holds(&layer.folder().join("memory"), &made.memory)
    }

    /// Whether nothing but layers, their locks and that of the store is left.
    fn is_clean(store: &Store) -> Result<(), String> {
        for entry in std::fs::read_dir(store.folder()).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let is_layer = |name: &str| store.folder().join(name).join(MANIFEST).exists();
            let belongs = name == USE || is_layer(&name) || name.strip_suffix(".lock").is_some_and(is_layer);
            if !belongs {
                return Err(format!("the rubbish {name} is left"));
            }
        }
        Ok(())
    }
}

fn lies_on_damage(base: &Base, makings: &BTreeMap<String, Made>, damaged: &BTreeSet<String>) -> bool {
    let below = |base: &Base| makings[&base.id].parent.clone();
    std::iter::successors(Some(base.clone()), below).any(|base| damaged.contains(&base.id))
}

fn item(layer: &Layer, layers: &[Layer], needed: &BTreeSet<Base>) -> Item {
    let parent = layer.manifest.parent.as_ref();
    let place = |base: &Base| layers.iter().position(|layer| layer.manifest.base == *base);
    Item {
        kind: layer.manifest.stage.to_string(),
        bytes: 100,
        made: layer.manifest.made,
        on: parent.and_then(place).into_iter().collect(),
        needed: needed.contains(&layer.manifest.base),
    }
}
