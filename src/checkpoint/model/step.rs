//! What processes do to a store.

use super::super::prune::Rules;
use super::truth::TREE;
use crate::changes::testing::Dice;

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
