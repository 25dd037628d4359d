//! Whether the layers are still what they were when they were made.

use anyhow::Result;

use super::{Layer, Store, digest};
use crate::cancel::Cancel;
use crate::fault::{Cause, Fault};

impl Store {
    /// What is wrong with `layer`, for a person; empty if nothing is. All of it is read: its digests are compared, and
    /// its program looks at the disk's tables and at what the disk lies on.
    ///
    /// What cannot be read is damage, too.
    ///
    /// # Errors
    /// When its program is missing, or the user interrupts.
    pub fn examine(&self, layer: &Layer, cancel: &Cancel) -> Result<Vec<String>> {
        self.read_through(layer, cancel).or_else(|error| {
            let is_ours = Fault::of(&error).is_some_and(|fault| fault.cause == Cause::HostMissing);
            if is_ours || Fault::is_stop(&error) {
                Err(error)
            } else {
                Ok(vec![format!("{error:#}")])
            }
        })
    }

    fn read_through(&self, layer: &Layer, cancel: &Cancel) -> Result<Vec<String>> {
        let mut wrong = examine_digests(layer, cancel)?;
        // What reads changed bytes says nothing that could be relied on.
        if wrong.is_empty() {
            let below = layer.manifest.parent.as_ref();
            let below = below.map_or_else(Vec::new, |parent| self.chain(parent));
            let below: Vec<_> = below.into_iter().map(|layer| layer.disk).collect();
            let driver = layer.hypervisor().driver();
            wrong.extend(driver.check(&layer.disk, &below, cancel)?);
            wrong.extend(driver.check_memory(layer.folder())?);
        }
        Ok(wrong)
    }
}

/// The digests alone.
pub(super) fn examine_digests(layer: &Layer, cancel: &Cancel) -> Result<Vec<String>> {
    digest::compare(layer.folder(), &layer.manifest.digests, cancel)
}
