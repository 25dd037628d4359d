//! What differs between what is pinned and what was found.

use std::collections::BTreeSet;
use std::fmt;

use super::File;

/// Names with what stands for each: a version, a digest.
pub type Things = BTreeSet<(String, String)>;

/// One thing that is on one side only.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Difference {
    name: String,
    /// What was found; before it stands what is pinned.
    is_found: bool,
    value: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.is_found { '+' } else { '-' };
        write!(f, "{sign} {} {}", self.name, self.value)
    }
}

/// What is in one of both only, by name.
pub fn between(pinned: &Things, found: &Things) -> Vec<Difference> {
    let side = |is_found| {
        move |(name, value): &(String, String)| Difference {
            name: name.clone(),
            is_found,
            value: value.clone(),
        }
    };
    let gone = pinned.difference(found).map(side(false));
    let new = found.difference(pinned).map(side(true));
    let mut all: Vec<Difference> = gone.chain(new).collect();
    all.sort();
    all
}

/// What differs between two locks, a line each.
pub fn files(old: &File, new: &File) -> Vec<String> {
    let all = |file: &File| -> Things {
        let pins = file.pins();
        let name = file.iso.name.clone().unwrap_or_else(|| "the ISO".to_owned());
        let iso = (name, file.iso.digest.to_string());
        pins.packages.into_iter().chain(pins.images).chain([iso]).collect()
    };
    between(&all(old), &all(new)).iter().map(ToString::to_string).collect()
}
