//! What is in an archive: its first member, by which all others are looked for.

mod check;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use super::FORMAT;
use super::parts::{self, Part};
use crate::checkpoint::{Base, Manifest};
use crate::config::Login;
use crate::event::Stage;
use crate::fault::{Cause, Fault};
use crate::key;
use crate::machine::driver::{Hypervisor, MEMORY};

/// The name of the identity that opens the checkpoints that know no login.
pub const BUILDER: &str = "_builder";

/// What is in an archive.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Index {
    /// The version of the format.
    pub format: u32,
    /// The version of this program that wrote it.
    pub tool: String,
    /// Whose disks they are.
    pub hypervisor: Hypervisor,
    /// The keys that open the checkpoint.
    pub identities: Vec<Keys>,
    /// The signed list that says which ISO is meant.
    pub release: Option<Small>,
    /// The layers, the lowest first.
    pub layers: Vec<Packed>,
}

/// An identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Keys {
    /// The login's name, or [`BUILDER`].
    pub name: String,
    /// Its files.
    pub files: Vec<Small>,
}

/// A small file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Small {
    /// Its name.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
}

/// A layer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Packed {
    /// What it was made from.
    pub manifest: Manifest,
    /// Its files, the disk first.
    pub files: Vec<Sparse>,
}

/// A file that may have holes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sparse {
    /// Its name.
    pub name: String,
    /// Its size in bytes, holes included.
    pub size: u64,
    /// Where it holds data.
    pub data: Vec<Part>,
}

impl Sparse {
    /// Whether its digest counts its holes: as that in the manifest does, which a memory has none in.
    pub fn counts_holes(&self) -> bool {
        self.name != MEMORY
    }
}

impl Packed {
    /// Its key and making.
    pub const fn base(&self) -> &Base {
        &self.manifest.base
    }

    /// The member with its file `name`.
    pub fn member(&self, name: &str) -> String {
        format!("layers/{}/{name}", self.base().key)
    }

    /// How many bytes of data its files hold.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| parts::bytes(&file.data)).sum()
    }
}

impl Keys {
    /// The member with its file `name`.
    pub fn member(&self, name: &str) -> String {
        format!("identities/{}/{name}", self.name)
    }
}

impl Index {
    /// What `text` says, if it can be used.
    ///
    /// # Errors
    /// A [`Cause::Usage`] fault when another version wrote it, one of [`Cause::Verification`] when it makes no sense.
    pub fn parse(text: &[u8]) -> Result<Self> {
        #[derive(Deserialize)]
        struct Version {
            format: u32,
            #[serde(default)]
            tool: String,
        }
        let version: Version = serde_json::from_slice(text).map_err(|error| refused(&error.to_string()))?;
        if version.format != FORMAT {
            let (theirs, tool) = (version.format, version.tool);
            let message = format!(
                "it has the format {theirs}, written by provision {tool}; this program reads the format {FORMAT}"
            );
            return Err(other_version(message).into());
        }
        let index: Self = serde_json::from_slice(text).map_err(|error| refused(&error.to_string()))?;
        if let Some(other) = index.layers.iter().find(|layer| layer.manifest.format != key::FORMAT) {
            let theirs = other.manifest.format;
            let message = format!(
                "its checkpoints have the format {theirs}; this program's have {}",
                key::FORMAT
            );
            return Err(other_version(message).into());
        }
        index.check().map_err(|reason| refused(&reason))?;
        Ok(index)
    }

    /// The layer that was asked for, and that lies on the others.
    ///
    /// # Errors
    /// When there is none.
    pub fn top(&self) -> Result<&Packed> {
        self.layers.last().context("an archive holds a checkpoint")
    }

    /// How many bytes of data its layers hold.
    pub fn bytes(&self) -> u64 {
        self.layers.iter().map(Packed::bytes).sum()
    }

    /// Every member but the digests, in order.
    #[cfg(test)]
    pub fn members(&self) -> Vec<String> {
        let keys = self
            .identities
            .iter()
            .flat_map(|keys| keys.files.iter().map(|file| keys.member(&file.name)));
        let layers = self
            .layers
            .iter()
            .flat_map(|layer| layer.files.iter().map(|file| layer.member(&file.name)));
        std::iter::once(super::INDEX.to_owned())
            .chain(keys)
            .chain(self.release.iter().map(|list| release_member(&list.name)))
            .chain(layers)
            .collect()
    }
}

/// The member with the signed list of ISOs `name`.
pub fn release_member(name: &str) -> String {
    format!("release/{name}")
}

/// The identities that open the last of `layers`: this host's, and the login's that the stage account has made.
///
/// # Errors
/// When that is no login.
pub fn identities(layers: &[Packed]) -> Result<Vec<&str>, String> {
    let mut names = vec![BUILDER];
    let account = layers.iter().find(|layer| layer.manifest.stage == Stage::Account);
    if let Some(login) = account.and_then(|layer| layer.manifest.inputs.get("login")) {
        Login::try_from(login.clone()).map_err(|reason| format!("its login is none: {reason}"))?;
        names.push(login);
    }
    Ok(names)
}

/// The fault of an archive that cannot be what it should be.
pub fn refused(reason: &str) -> Fault {
    let message = format!("it is damaged, or nothing that `provision cache export` wrote: {reason}");
    Fault::new(Cause::Verification, message).hint("export the checkpoint again on the host where it was made")
}

fn other_version(message: String) -> Fault {
    Fault::new(Cause::Usage, message)
        .hint("use the same version of provision on both hosts, or let `provision create` make the checkpoint here")
}
