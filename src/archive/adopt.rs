//! Keys that come with an archive, and those that this host has already.
//!
//! Checkpoints open with the keys that were put into them, and their own keys follow from those, too: this host plans with one
//! pair. So a pair that others lie on here is never replaced, and checkpoints of another one are refused: they would lie
//! here and be found by no plan.

use std::path::PathBuf;

use anyhow::{Result, bail};

use super::index::{BUILDER, Index, Keys};
use crate::checkpoint::{Layer, Store};
use crate::event::Stage;
use crate::fault::{Cause, Fault};
use crate::host;
use crate::identity::Identity;
use crate::paths::Paths;

/// An identity that came with an archive.
pub struct Arrived {
    name: String,
    identity: Identity,
    place: PathBuf,
}

/// What becomes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// This host has the same.
    Same,
    /// This host has none.
    New,
    /// This host has another one, with which nothing opens here.
    Replaces,
}

/// Whether an error is the host's, which could not write, and not the archive's.
fn is_hosts(error: &anyhow::Error) -> bool {
    let mut causes = error.chain().filter_map(|cause| cause.downcast_ref::<std::io::Error>());
    causes.any(|error| error.raw_os_error().is_some())
}

impl Arrived {
    /// The identity of `keys`, whose files were read.
    ///
    /// # Errors
    /// When they are no whole identity.
    pub fn new(keys: &Keys, contents: &[Vec<u8>], paths: &Paths) -> Result<Self> {
        let place = if keys.name == BUILDER {
            paths.builder()
        } else {
            paths.identity(&keys.name)
        };
        let named = keys.files.iter().zip(contents);
        let files = named.map(|(file, content)| (file.name.as_str(), content.as_slice()));
        let identity = match Identity::from_files(files, &place) {
            Ok(identity) => identity,
            Err(error) if is_hosts(&error) => return host::disk::or_full(Err(error), &paths.cache),
            // What is wrong with keys may show something of them.
            Err(_) => bail!(super::index::refused(&format!(
                "the keys {} in it are not whole",
                keys.name
            ))),
        };
        Ok(Self {
            name: keys.name.clone(),
            identity,
            place,
        })
    }

    /// What becomes of it on this host, beside the layers of `index`.
    ///
    /// # Errors
    /// A [`Cause::Config`] fault when checkpoints of this host open with other keys.
    pub fn fate(&self, index: &Index, store: &Store) -> Result<Fate> {
        if !self.place.exists() {
            return Ok(Fate::New);
        }
        let own = Identity::load(&self.place);
        if own.as_ref().is_ok_and(|own| *own == self.identity) {
            return Ok(Fate::Same);
        }
        let arrives = |layer: &Layer| index.layers.iter().any(|packed| *packed.base() == layer.manifest.base);
        let opens = |layer: &Layer| {
            let inputs = &layer.manifest.inputs;
            let is_logins = || {
                let fingerprint = own.as_ref().ok().map(Identity::fingerprint);
                layer.manifest.stage == Stage::Account
                    && inputs.get("login") == Some(&self.name)
                    && fingerprint.is_none_or(|fingerprint| inputs.get("identity") == Some(&fingerprint))
            };
            self.name == BUILDER || is_logins()
        };
        let others = store.list()?;
        if !others.iter().any(|layer| !arrives(layer) && opens(layer)) {
            return Ok(Fate::Replaces);
        }
        let whose = if self.name == BUILDER {
            "this host's".to_owned()
        } else {
            format!("the login {}'s", self.name)
        };
        let message =
            format!("{whose} checkpoints open with other keys than those in the file: they could not be used here");
        bail!(Fault::new(Cause::Config, message).hint(
            "import it into a cache of its own (PROVISION_CACHE_DIR), or `provision cache prune` first, if no machine needs \
             the checkpoints that are here"
        ))
    }

    /// Puts it in place.
    ///
    /// # Errors
    /// When it cannot be written, or another command has made other keys meanwhile.
    pub fn settle(&self, fate: Fate) -> Result<()> {
        match fate {
            Fate::Same => Ok(()),
            Fate::New => self.identity.settle_in(&self.place, false),
            Fate::Replaces => self.identity.settle_in(&self.place, true),
        }
    }
}
