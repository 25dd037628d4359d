//! What a snapshot may be called.

use serde::Serialize;

/// The longest name: one component of a path, and one column of a table.
const MAX: usize = 64;

/// Words that follow `snapshot` on the command line.
const COMMANDS: [&str; 2] = ["rm", "help"];

/// A snapshot's name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct SnapshotName(String);

impl SnapshotName {
    /// It.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for SnapshotName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&self.0)
    }
}

impl std::str::FromStr for SnapshotName {
    type Err = String;

    /// Accepts what is one path component on every file system, is not hidden, needs no quoting in a shell and cannot be
    /// taken for a flag.
    fn from_str(name: &str) -> Result<Self, String> {
        let inner = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        let reason = if name.is_empty() {
            "it is empty"
        } else if name.len() > MAX {
            "it is longer than 64 characters"
        } else if !name.starts_with(|c: char| c.is_ascii_alphanumeric()) {
            "it must begin with a letter or a digit"
        } else if !name.chars().all(inner) {
            "only letters, digits, `-`, `_` and `.` are allowed"
        } else if COMMANDS.contains(&name) {
            "it is a command"
        } else {
            return Ok(Self(name.to_owned()));
        };
        Err(format!("`{name}` cannot be a snapshot's name: {reason}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_folders_and_no_flags() {
        let long = "a".repeat(65);
        for name in ["", ".hidden", "-x", "a/b", "..", "a b", "rm", "help", "ä", &long] {
            assert!(name.parse::<SnapshotName>().is_err(), "{name}");
        }
        for name in ["a", "before-update", "1.2_x", "Rm"] {
            assert_eq!(name.parse::<SnapshotName>().unwrap().as_str(), name);
        }
    }
}
