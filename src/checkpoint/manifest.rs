//! What is known of a layer.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::event::Stage;
use crate::facts::Facts;
use crate::key::{FORMAT, Inputs, Key};
use crate::machine::driver::Hypervisor;
use crate::timing::Part;

/// One very layer: what an overlay lies on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Base {
    /// What it was made from.
    pub key: Key,
    /// Which making of it: random hexadecimal digits.
    pub id: String,
}

/// What a layer was made from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// The store's format, [`FORMAT`].
    pub format: u32,
    /// The stage that made it.
    pub stage: Stage,
    /// Its key and identifier.
    #[serde(flatten)]
    pub base: Base,
    /// The layer under it.
    pub parent: Option<Base>,
    /// Everything that the stage read.
    pub inputs: Inputs,
    /// When it was made.
    pub made: jiff::Timestamp,
    /// How long the stage took.
    pub seconds: f64,
    /// The version of this program that made it.
    pub tool: String,
    /// The SHA-256 of each of its files, by its path in the layer's folder; none of a layer from before they were noted.
    #[serde(default)]
    pub digests: BTreeMap<String, String>,
    /// What the stage found in the guest.
    #[serde(default)]
    pub facts: Facts,
    /// What of its time the stage spent on what; nothing of a layer from before that was noted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<Part>,
}

impl Manifest {
    /// The manifest of a layer made just now on `parent`. Its digests are noted when it is put in place.
    pub fn new(stage: Stage, key: Key, parent: Option<&Layer>, inputs: Inputs, seconds: f64) -> Self {
        let id = hex::encode(rand::random::<[u8; 8]>());
        Self {
            format: FORMAT,
            stage,
            base: Base { key, id },
            parent: parent.map(|layer| layer.manifest.base.clone()),
            inputs,
            made: jiff::Timestamp::now(),
            seconds,
            tool: env!("CARGO_PKG_VERSION").to_owned(),
            digests: BTreeMap::new(),
            facts: Facts::default(),
            parts: Vec::new(),
        }
    }
}

/// A finished layer.
#[derive(Debug, Clone, PartialEq)]
pub struct Layer {
    /// What it was made from.
    pub manifest: Manifest,
    /// Its disk; never to be written to.
    pub disk: PathBuf,
}

impl Layer {
    /// How much the layer takes on the host's disk, in bytes: its disk and what is kept beside that.
    pub fn size(&self) -> u64 {
        use std::os::unix::fs::MetadataExt as _;
        let beside = super::digest::names(self.folder()).unwrap_or_default();
        let beside = beside.iter().map(|name| self.folder().join(name));
        let beside = beside.filter(|file| !file.starts_with(&self.disk));
        // st_blocks counts units of 512 bytes whatever the file system (stat(3type)).
        let blocks = |file: PathBuf| std::fs::metadata(file).map_or(0, |data| data.blocks() * 512);
        self.hypervisor().driver().size(&self.disk) + beside.map(blocks).sum::<u64>()
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        self.disk.parent().unwrap_or(&self.disk)
    }

    /// The folder of the memory that the guest had when its stage ended, where that was kept.
    pub fn memory(&self) -> Option<PathBuf> {
        let folder = self.folder();
        let is_kept = !self.hypervisor().driver().memory_in(folder).is_empty();
        is_kept.then(|| folder.to_owned())
    }

    /// Whose disk it is.
    pub fn hypervisor(&self) -> Hypervisor {
        Hypervisor::of(self.folder())
    }
}
