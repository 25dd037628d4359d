//! What a machine was made from, as the stages found it: the ISO and who signed it, packages, images.
//!
//! Each stage's finding is kept with its layer, so that a layer taken from the cache still has it; [`Provenance`] joins
//! those of a machine's layers. Nothing here is secret: what a user gives comes as keyed hashes, addresses without passwords.

pub mod images;
pub mod packages;
mod provenance;

use serde::{Deserialize, Serialize};

pub use images::Image;
pub use packages::Package;
#[cfg(test)]
pub use packages::Source;
pub use provenance::{Provenance, Step};

use crate::media::{self, Digest, Origin};

/// What one stage found.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Facts {
    /// The ISO that was installed; of the stage install alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iso: Option<Iso>,
    /// All packages in the guest, by name; of the stage docker, the last one that installs some.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub packages: Vec<Package>,
    /// All images in the guest, and those that images were built on; of the stage project.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<Image>,
}

/// An ISO as it was verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Iso {
    /// Its name as its publisher gave it.
    pub name: String,
    /// What it hashed to.
    pub digest: Digest,
    /// Why it was trusted: the fingerprint of the key that signed it, or what stood for that.
    pub origin: Origin,
}

impl Iso {
    /// What is remembered of `iso`.
    pub fn of(iso: &media::Iso) -> Self {
        Self {
            name: iso.name.clone(),
            digest: iso.digest.clone(),
            origin: iso.origin.clone(),
        }
    }

    /// The same as `media` has it; whether it is still on this host is another question.
    pub fn known(&self) -> media::Known {
        media::Known {
            name: self.name.clone(),
            digest: self.digest.clone(),
            origin: self.origin.clone(),
            fresh: true,
            path: None,
        }
    }

    /// Why it was trusted, for a person.
    pub fn trust(&self) -> String {
        match &self.origin {
            Origin::Signed { fingerprint } => format!("signed by {fingerprint}"),
            Origin::Checksum => "the user's own checksum".to_owned(),
            Origin::Unverified => "not verified".to_owned(),
        }
    }
}

/// What the stage install knows.
pub fn of_iso(iso: &media::Iso) -> Facts {
    Facts {
        iso: Some(Iso::of(iso)),
        ..Facts::default()
    }
}
