//! Whether an index can be one. Nothing in it is believed: it may have been made to do harm.

use std::collections::BTreeSet;
use std::path::Path;

use super::{Index, Packed, Small, identities};
use crate::archive::parts;
use crate::checkpoint::Manifest;
use crate::identity::Identity;
use crate::key::Key;
use crate::media;

/// No key, password or list is larger, nor what is known of a memory, in bytes.
const SMALL: u64 = 8 << 20;

/// No file of a layer is larger, in bytes, its holes counted.
const LARGE: u64 = 1 << 42;

impl Index {
    /// What is wrong with it.
    pub(super) fn check(&self) -> Result<(), String> {
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
        let is_known_of_memory = Path::new(&file.name).extension().is_some_and(|end| end == "json");
        let most = if is_known_of_memory { SMALL } else { LARGE };
        if !is_known || file.size > most || !parts::are_sound(&file.data, file.size) {
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
