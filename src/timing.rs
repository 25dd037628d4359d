//! Where the time goes: what a run's events tell about it, what is typical on this host, and how much is left.
//!
//! One [`Recorder`] listens to the events of a run. From it come the parts of each stage (kept with the stage's layer, shown
//! by `status --timings`), the trace of `--trace`, the estimates, and the history from which later runs are estimated.

mod course;
mod estimate;
mod history;
mod parts;
mod record;
mod recorder;
mod run;
mod trace;
mod typical;

pub use history::{History, Situation};
pub use parts::{Part, about};
pub use record::{StageTime, Timings};
pub use recorder::Recorder;
pub use trace::Trace;

use std::path::Path;

use anyhow::{Context as _, Result};
use serde::Serialize;

/// Writes `value` as JSON to `file`, which is whole at every moment.
///
/// # Errors
/// When it cannot be written; the former one stays then.
pub fn write_json(file: &Path, value: &impl Serialize) -> Result<()> {
    let context = || format!("writing {}", file.display());
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    let mut new = tempfile::NamedTempFile::new_in(folder.unwrap_or_else(|| Path::new("."))).with_context(context)?;
    serde_json::to_writer(&mut new, value).with_context(context)?;
    new.as_file().sync_all().with_context(context)?;
    new.persist(file).with_context(context)?;
    Ok(())
}

#[cfg(test)]
mod tests;
