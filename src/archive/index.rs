//! What is in an archive: its first member, by which all others are looked for.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use super::FORMAT;
use super::parts::{self, Part};
use crate::checkpoint::{Base, Manifest};
use crate::config::Login;
use crate::event::Stage;
use crate::fault::{Cause, Fault};
use crate::identity::Identity;
use crate::key::{self, Key};
use crate::machine::driver::{Hypervisor, MEMORY};
use crate::media;

/// The name of the identity that opens the checkpoints that know no login.
pub const BUILDER: &str = "_builder";

/// No key, password or list is larger, in bytes.
const SMALL: u64 = 8 << 20;

/// No file of a layer is larger, in bytes.
const LARGE: u64 = 1 << 44;

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

    /// Nothing in it is believed: it may have been made to do harm.
    fn check(&self) -> Result<(), String> {
        let names = self.hypervisor.driver().portable();
        let names = names.ok_or_else(|| format!("{} disks cannot be carried", self.hypervisor.title()))?;
        let mut below: Option<&Manifest> = None;
        for layer in &self.layers {
            check_layer(layer, below, names)?;
            below = Some(&layer.manifest);
        }
        let top = below.ok_or("it holds no checkpoint")?;
        let wanted = identities(&self.layers)?;
        let found: Vec<_> = self.identities.iter().map(|keys| keys.name.as_str()).collect();
        if found != wanted {
            return Err(format!(
                "a checkpoint of {} needs the keys {wanted:?}, not {found:?}",
                top.stage
            ));
        }
        for keys in &self.identities {
            let mut seen = BTreeSet::new();
            let is_sound = |file: &Small| Identity::FILES.contains(&file.name.as_str()) && file.size <= SMALL;
            if !keys.files.iter().all(|file| is_sound(file) && seen.insert(&file.name)) {
                return Err(format!("the files of the keys {} are not those of keys", keys.name));
            }
        }
        let is_sound = |list: &Small| media::is_name_of_release(&list.name) && list.size <= SMALL;
        if !self.release.iter().all(is_sound) {
            return Err("its list of ISOs has another name than such lists have".into());
        }
        Ok(())
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

fn check_layer(layer: &Packed, below: Option<&Manifest>, names: &[&str]) -> Result<(), String> {
    let Manifest {
        stage, base, parent, ..
    } = &layer.manifest;
    let is_hex = |text: &str| text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if !(1..=32).contains(&base.id.len()) || !is_hex(&base.id) {
        return Err(format!("the checkpoint {stage} has no sound identifier"));
    }
    if parent.as_ref() != below.map(|below| &below.base) || below.is_some_and(|below| below.stage >= *stage) {
        return Err(format!("the checkpoint {stage} does not lie on the one before it"));
    }
    let derived = Key::derive(
        *stage,
        parent.as_ref().map(|parent| &parent.key),
        &layer.manifest.inputs,
    );
    if base.key != derived {
        return Err(format!("the checkpoint {stage} was not made from what it says"));
    }
    let mut seen = BTreeSet::new();
    for file in &layer.files {
        let is_known = names.contains(&file.name.as_str()) && seen.insert(file.name.as_str());
        if !is_known || file.size > LARGE || !parts::are_sound(&file.data, file.size) {
            return Err(format!("the checkpoint {stage} has a file that no checkpoint has"));
        }
    }
    if layer.files.first().map(|file| file.name.as_str()) != names.first().copied() {
        return Err(format!("the checkpoint {stage} has no disk"));
    }
    if layer.manifest.digests.keys().any(|name| !seen.contains(name.as_str())) {
        return Err(format!("the checkpoint {stage} lacks a file"));
    }
    Ok(())
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
