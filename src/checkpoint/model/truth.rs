//! What should be in a store.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::super::Base;
use crate::event::Stage;
use crate::key::{Inputs, Key};

/// The layers that there may be: each with the one that it lies on.
pub(super) const TREE: [(Stage, Option<usize>); 7] = [
    (Stage::Install, None),
    (Stage::Docker, Some(0)),
    (Stage::Docker, Some(0)),
    (Stage::Account, Some(1)),
    (Stage::Account, Some(1)),
    (Stage::Project, Some(3)),
    (Stage::Account, Some(2)),
];

/// What must be true.
#[derive(Debug, Default)]
pub(super) struct Truth {
    /// What each making's files hold.
    pub(super) makings: BTreeMap<String, Made>,
    /// What was reported as made and not removed since.
    pub(super) reported: BTreeMap<usize, Base>,
    /// What machines lie on.
    pub(super) machines: Vec<Base>,
    /// Makings whose disk was damaged.
    pub(super) damaged: BTreeSet<String>,
    /// Where those were put.
    pub(super) aside: Vec<PathBuf>,
    pub(super) count: usize,
}

#[derive(Debug, Clone)]
pub(super) struct Made {
    pub(super) parent: Option<Base>,
    pub(super) disk: String,
    pub(super) memory: String,
}

pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn key(place: usize) -> Key {
    let (stage, parent) = TREE[place];
    let inputs = Inputs::from([("place".to_owned(), place.to_string())]);
    Key::derive(stage, parent.map(key).as_ref(), &inputs)
}

/// All places, from `place` on.
pub(super) fn from(place: usize) -> impl Iterator<Item = usize> {
    (place..TREE.len()).chain(0..place)
}

pub(super) fn place_of(base: &Base) -> usize {
    (0..TREE.len()).find(|&place| key(place) == base.key).unwrap()
}
