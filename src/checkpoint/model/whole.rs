//! What makes a store whole.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use super::super::{Base, Layer, MANIFEST, Store, USE};
use super::truth::{Made, TREE, key, locked, place_of};
use super::world::World;
use crate::changes::Real;
use crate::changes::testing::Injected;

impl World {
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
