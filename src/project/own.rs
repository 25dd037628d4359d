//! Files in the project's folder that this program itself has left there.

use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::paths::Paths;

/// How JUnit's XML of this program begins.
pub const JUNIT: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"provision\"";

/// How its traces begin.
pub const TRACE: &str = "{\"producer\":\"provision\",\"traceEvents\":";

/// Whether the plain file `path` is a record of a run (`--junit`, `--trace`), by how it begins: it tells of the project and is
/// no part of it, or each run would make it another project.
pub fn is_record(path: &Path) -> bool {
    let longest = JUNIT.len().max(TRACE.len());
    let mut head = Vec::with_capacity(longest);
    // What cannot be read is told by whoever needs it.
    let read = File::open(path).and_then(|file| file.take(longest as u64).read_to_end(&mut head));
    read.is_ok() && [JUNIT, TRACE].iter().any(|known| head.starts_with(known.as_bytes()))
}

/// What this process has in some folder while it works, by device and inode: the plain files that its output goes to, and where
/// the user has it keep checkpoints, keys and machines.
#[derive(Debug)]
pub struct Own(Vec<(u64, u64)>);

impl Own {
    /// This process's.
    pub fn of_process() -> Self {
        let outputs = [
            rustix::fs::fstat(std::io::stdout()),
            rustix::fs::fstat(std::io::stderr()),
        ];
        let is_plain = |data: &rustix::fs::Stat| rustix::fs::FileType::from_raw_mode(data.st_mode).is_file();
        let outputs = outputs.into_iter().flatten().filter(is_plain);
        let mut nodes: Vec<(u64, u64)> = outputs.map(|data| (data.st_dev, data.st_ino)).collect();
        if let Ok(paths) = Paths::of_user() {
            let stores = [paths.cache.as_path(), paths.machines.as_path()];
            let above = stores.iter().filter_map(|store| store.parent());
            let above = above.filter(|parent| holds_only(parent, &stores));
            nodes.extend(stores.into_iter().chain(above).filter_map(node));
        }
        Self(nodes)
    }

    /// Whether `path` is one of them.
    pub fn has(&self, path: &Path) -> bool {
        fs::symlink_metadata(path).is_ok_and(|data| self.0.contains(&(data.dev(), data.ino())))
    }
}

fn node(path: &Path) -> Option<(u64, u64)> {
    fs::metadata(path).ok().map(|data| (data.dev(), data.ino()))
}

/// Whether nothing but `stores` is in `parent`, which was made for them then.
fn holds_only(parent: &Path, stores: &[&Path]) -> bool {
    let is_store = |entry: fs::DirEntry| stores.contains(&entry.path().as_path());
    fs::read_dir(parent).is_ok_and(|mut entries| entries.all(|entry| entry.is_ok_and(is_store)))
}
