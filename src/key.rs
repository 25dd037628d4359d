//! The content key of a stage: what was read to make it, as one SHA-256.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::event::Stage;

/// Raised when the meaning of a stage's inputs changes, so that older checkpoints are no longer taken.
pub const FORMAT: u32 = 1;

/// Everything that a stage reads: a name for the user ("srcs/nginx/Dockerfile") and a digest or plain value that
/// holds no secret.
pub type Inputs = BTreeMap<String, String>;

/// A stage's key, as 64 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Key(String);

impl Key {
    /// The key of `stage` after the stage of key `parent`, made from `inputs`.
    pub fn derive(stage: Stage, parent: Option<&Self>, inputs: &Inputs) -> Self {
        let mut hash = Sha256::new();
        let mut add = |part: &str| {
            // Lengths keep "ab" + "c" apart from "a" + "bc".
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part.as_bytes());
        };
        add(&FORMAT.to_string());
        add(stage.name());
        add(parent.map_or("", Self::as_str));
        for (name, value) in inputs {
            add(name);
            add(value);
        }
        Self(hex::encode(hash.finalize()))
    }

    /// All digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first twelve digits: enough for a person to tell keys apart.
    pub fn short(&self) -> &str {
        self.0.get(..12).unwrap_or(&self.0)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// The SHA-256 of `bytes` in hexadecimal digits.
pub fn digest(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// What differs from `old` to `new`, at most a few names, for a person; `None` if nothing does.
pub fn difference(old: &Inputs, new: &Inputs) -> Option<String> {
    const SHOWN: usize = 3;
    let changed = new
        .iter()
        .filter_map(|(name, value)| match old.get(name) {
            None => Some(format!("{name} is new")),
            Some(before) if before != value => Some(format!("{name} changed")),
            Some(_) => None,
        })
        .chain(
            old.keys()
                .filter(|name| !new.contains_key(*name))
                .map(|name| format!("{name} is gone")),
        )
        .collect::<Vec<_>>();
    let more = changed.len().saturating_sub(SHOWN);
    let shown = changed[..changed.len() - more].join(", ");
    match (changed.len(), more) {
        (0, _) => None,
        (_, 0) => Some(shown),
        (_, more) => Some(format!("{shown} and {more} more")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inputs(pairs: &[(&str, &str)]) -> Inputs {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn every_part_counts() {
        let base = Key::derive(Stage::Install, None, &inputs(&[("a", "1")]));
        let others = [
            Key::derive(Stage::Docker, None, &inputs(&[("a", "1")])),
            Key::derive(Stage::Install, Some(&base), &inputs(&[("a", "1")])),
            Key::derive(Stage::Install, None, &inputs(&[("a", "2")])),
            Key::derive(Stage::Install, None, &inputs(&[("a1", "")])),
        ];
        assert!(others.iter().all(|key| *key != base));
        assert_eq!(base, Key::derive(Stage::Install, None, &inputs(&[("a", "1")])));
    }

    #[test]
    fn differences_are_named_and_counted() {
        let old = inputs(&[("a", "1"), ("b", "1"), ("c", "1")]);
        let new = inputs(&[("a", "2"), ("b", "1"), ("d", "1"), ("e", "1")]);
        assert_eq!(
            difference(&old, &new).unwrap(),
            "a changed, d is new, e is new and 1 more"
        );
        assert_eq!(difference(&old, &old), None);
    }
}
