//! `provision cache`

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};
use bytesize::ByteSize;
use clap::Subcommand;
use fs_err as fs;
use serde::Serialize;

use super::App;
use crate::checkpoint::{Base, Layer, Store};
use crate::fault::{Cause, Fault};
use crate::instance::Instance;
use crate::report::{self, Output, Paint};
use crate::{media, moments};

/// The arguments of `cache`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// What to do with it.
    #[command(subcommand)]
    pub action: Action,
}

/// What to do with the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Subcommand)]
pub enum Action {
    /// List what is cached and how large it is
    Ls,
    /// Delete what no machine uses
    Prune,
}

/// Something in the cache.
#[derive(Serialize)]
struct Entry {
    kind: &'static str,
    name: String,
    bytes: u64,
    used: bool,
}

/// What is in the cache, or what was removed from it.
#[derive(Serialize)]
#[serde(transparent)]
struct Shown(Vec<Entry>);

impl Output for Shown {
    fn text(&self, paint: Paint) -> String {
        let row = |entry: &Entry| {
            let used = if entry.used { "yes" } else { "no" };
            [
                entry.kind.to_owned(),
                entry.name.clone(),
                ByteSize(entry.bytes).to_string(),
                used.to_owned(),
            ]
        };
        let mut rows: Vec<_> = self.0.iter().map(row).collect();
        let sum = self.0.iter().map(|entry| entry.bytes).sum();
        rows.push(["total".into(), String::new(), ByteSize(sum).to_string(), String::new()]);
        report::table(["KIND", "NAME", "SIZE", "USED"], &rows, paint)
    }
}

impl Args {
    /// Lists or prunes the cache.
    ///
    /// # Errors
    /// When the cache cannot be read, or something cannot be removed.
    pub fn run(&self, app: &App) -> Result<()> {
        let store = Store::open(&app.paths.cache)?;
        match self.action {
            Action::Ls => app.reporter.output(&Shown(Contents::read(app, &store)?.entries())),
            Action::Prune => {
                let _alone = store.try_alone()?.context(busy())?;
                // Read with the store locked: a machine that was made just before counts.
                let contents = Contents::read(app, &store)?;
                let removed = contents.entries().into_iter().filter(|entry| !entry.used).collect();
                contents.prune(&store)?;
                store.sweep()?;
                app.reporter.output(&Shown(removed))
            }
        }
    }
}

fn busy() -> Fault {
    Fault::new(Cause::Busy, "another provision command uses the checkpoints")
        .hint("wait for it to end: `provision list` tells which machines are unfinished")
}

/// What is in the cache and which of it a machine needs.
struct Contents {
    layers: Vec<Layer>,
    isos: Vec<media::CachedIso>,
    rests: Vec<media::Rest>,
    used: BTreeSet<Base>,
}

impl Contents {
    fn read(app: &App, store: &Store) -> Result<Self> {
        let mut used = BTreeSet::new();
        for instance in Instance::all_of_cache(&app.paths)? {
            let Some(record) = instance.record()? else { continue };
            let moments = moments::bases(&instance)?;
            for base in record.layer.iter().chain(&record.work_layer).chain(&moments) {
                used.extend(store.chain(base).into_iter().map(|layer| layer.manifest.base));
            }
        }
        Ok(Self {
            layers: store.list()?,
            isos: media::list(&app.paths.isos())?,
            rests: media::rests(&app.paths.isos())?,
            used,
        })
    }

    fn needs_layer(&self, layer: &Layer) -> bool {
        self.used.contains(&layer.manifest.base)
    }

    /// An ISO is used while a used layer was installed from it.
    fn needs_iso(&self, iso: &media::CachedIso) -> bool {
        let digest = iso.record.digest.to_string();
        let installed = |layer: &&Layer| layer.manifest.inputs.get("iso") == Some(&digest);
        self.layers
            .iter()
            .filter(installed)
            .any(|layer| self.needs_layer(layer))
    }

    fn entries(&self) -> Vec<Entry> {
        let isos = self.isos.iter().map(|iso| Entry {
            kind: "ISO",
            name: iso.record.name.clone(),
            bytes: iso.record.size,
            used: self.needs_iso(iso),
        });
        let layers = self.layers.iter().map(|layer| Entry {
            kind: layer.manifest.stage.name(),
            name: layer.manifest.base.key.short().to_owned(),
            bytes: layer.size(),
            used: self.needs_layer(layer),
        });
        let rests = self.rests.iter().map(|rest| Entry {
            kind: rest.kind,
            name: rest.path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            bytes: rest.bytes,
            used: false,
        });
        isos.chain(rests).chain(layers).collect()
    }

    fn prune(&self, store: &Store) -> Result<()> {
        // Newest first: a layer goes before the one under it, so that an interruption leaves whole chains.
        for layer in self.layers.iter().rev().filter(|layer| !self.needs_layer(layer)) {
            store.remove(&layer.manifest.base.key)?;
        }
        for iso in self.isos.iter().filter(|iso| !self.needs_iso(iso)) {
            fs::remove_file(&iso.path)?;
        }
        for rest in &self.rests {
            // One that a download is at stays.
            media::remove_rest(rest)?;
        }
        Ok(())
    }
}
