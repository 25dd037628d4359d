//! A store, and beside it what should be in it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use anyhow::Result;
use jiff::Timestamp;

use super::super::check::examine_digests;
use super::super::prune::{Item, Rules, select};
use super::super::{Base, Layer, Making, Manifest, Store, USE};
use super::step::Step;
use super::truth::{Made, TREE, Truth, from, key, locked};
use crate::cancel::Cancel;
use crate::changes::Changes as _;
use crate::changes::testing::{Disk, Event, Injected};
use crate::key::Inputs;
use crate::lock::Lock;
use crate::machine::driver::Hypervisor;

/// A store with its truth; clones are the same.
#[derive(Clone)]
pub struct World {
    folder: Arc<tempfile::TempDir>,
    pub(super) disk: Arc<Mutex<Disk>>,
    pub(super) truth: Arc<Mutex<Truth>>,
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

    pub(super) fn cache(&self) -> PathBuf {
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
            arrives: false,
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
