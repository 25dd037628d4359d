//! Files in the project's folder that this program itself has left there.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

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
