//! What the run took that made the machine: a file of its own beside the record.

use anyhow::{Context as _, Result, bail};

use super::{Instance, Record};
use crate::checkpoint::Store;
use crate::fault::{Cause, Fault};
use crate::timing::{self, Timings};

const FILE: &str = "timings.json";

impl Instance {
    /// Remembers what the run took that made the machine.
    ///
    /// # Errors
    /// When it cannot be written; the former one stays then.
    pub fn remember_timings(&self, timings: &Timings) -> Result<()> {
        timing::write_json(&self.dir().join(FILE), timings)
    }

    /// What making the machine of `record` took: its last run, or, where that is not known, its checkpoints in `store`.
    ///
    /// # Errors
    /// A [`Cause::Usage`] fault when neither is known.
    pub fn timings(&self, record: &Record, store: &Store) -> Result<Timings> {
        if record.imported {
            let message = format!("the machine {} was imported: no `create` made it", self.name);
            bail!(Fault::new(Cause::Usage, message));
        }
        let base = record.layer.as_ref().or(record.work_layer.as_ref());
        // One that cannot be read is as good as none.
        let bytes = std::fs::read(self.dir().join(FILE)).unwrap_or_default();
        let known = serde_json::from_slice(&bytes).ok();
        // The machine may have become another since.
        let known = known.filter(|known: &Timings| Some(&known.layer) == base);
        let of_layers = || base.and_then(|base| Timings::of_layers(&store.chain(base)));
        known.or_else(of_layers).with_context(|| {
            let message = format!("what making the machine {} took is not written down", self.name);
            Fault::new(Cause::Usage, message).hint(self.to_be_made())
        })
    }
}
