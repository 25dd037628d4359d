//! Finds and removes what interrupted runs left, of any age: a process whose guardian was killed too, a stage's disk, half
//! a checkpoint, what a program that runs machines still has in its lists.
//!
//! Whoever works holds a lock (of a machine, of the store, of a place of export), and nothing under such a lock is
//! touched. What is not known for certain to be this program's own rubbish stays.

mod cache;
mod exports;
mod lists;
mod machines;

use std::path::{Path, PathBuf};

use anyhow::Result;
use serde::Serialize;

use crate::event::Events;
use crate::paths::Paths;
use crate::process::table::Runner;

/// Something that a run left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Leftover {
    /// What it is, in a word or two.
    pub kind: &'static str,
    /// Which: a path, or a process with its folder.
    pub name: String,
    /// Whether it is removed now.
    pub removed: bool,
}

/// One search.
pub struct Search<'a> {
    paths: &'a Paths,
    events: &'a Events,
    removes: bool,
    found: Vec<Leftover>,
}

/// Looks for what interrupted runs left, in the folder of machines and the cache of `paths`, and removes it if `removes`.
/// What cannot be removed is warned of, and told as such.
///
/// # Errors
/// When a folder cannot be read.
pub fn search(paths: &Paths, events: &Events, removes: bool) -> Result<Vec<Leftover>> {
    let mut search = Search {
        paths,
        events,
        removes,
        found: Vec::new(),
    };
    search.machines()?;
    search.exports()?;
    search.cache()?;
    search.lists();
    Ok(search.found)
}

impl Search<'_> {
    /// Notes something down, and removes it if that is wanted.
    fn found(&mut self, kind: &'static str, name: String, remove: impl FnOnce() -> Result<()>) {
        let removed = self.removes
            && remove()
                .inspect_err(|error| self.events.warn(format!("removing {kind} {name}: {error:#}")))
                .is_ok();
        self.found.push(Leftover { kind, name, removed });
    }

    fn found_path(&mut self, kind: &'static str, path: &Path, remove: impl FnOnce() -> Result<()>) {
        self.found(kind, path.display().to_string(), remove);
    }

    fn found_runner(&mut self, runner: &Runner) {
        let Runner {
            pid, program, folder, ..
        } = runner;
        let name = format!("{pid} ({program}) in {}", folder.display());
        self.found("process", name, || runner.kill());
    }
}

/// The entries of a folder; none where there is no such folder.
fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = match fs_err::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        // What cannot be looked into is not empty.
        entries => entries?.map(|entry| Ok(entry?.path())),
    };
    let mut entries: Vec<PathBuf> = entries.collect::<Result<_>>()?;
    entries.sort();
    Ok(entries)
}

/// A file that is written under this name before it is renamed: `.tmp` and six letters or digits (tempfile's names).
fn is_temporary(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let rest = name.strip_prefix(".tmp");
    rest.is_some_and(|rest| rest.len() == 6 && rest.chars().all(char::is_alphanumeric)) && path.is_file()
}

/// A folder in which keys are made before it is renamed.
fn is_half_identity(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let rest = name.strip_prefix(".identity-");
    rest.is_some_and(|rest| rest.len() == 6 && rest.chars().all(char::is_alphanumeric)) && path.is_dir()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_this_program_gives_are_temporary() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, "").unwrap();
            path
        };
        assert!(is_temporary(&file(".tmpAb3dE6")));
        for name in [".tmp", ".tmpfile1", "tmpAb3dE6", ".tmpAb3d-6", ".tmpAb3dE6.bak"] {
            assert!(!is_temporary(&file(name)), "{name}");
        }
        let dir = folder.path().join(".identity-Ab3dE6");
        std::fs::create_dir(&dir).unwrap();
        assert!(is_half_identity(&dir) && !is_temporary(&dir));
        assert!(!is_half_identity(&file(".identity-Ab3dE7")));
    }
}
