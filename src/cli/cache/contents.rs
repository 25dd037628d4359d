//! What is in the cache, what lies on what, and which of it a machine needs.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::Result;
use jiff::Timestamp;

use super::others;
use crate::checkpoint::prune::Item;
use crate::checkpoint::{Base, Layer, Store};
use crate::cli::App;
use crate::event::Stage;
use crate::instance::{Instance, Record};
use crate::key::Key;
use crate::{media, moments};

/// The kind of an ISO.
const ISO: &str = "ISO";

/// Something in the cache.
#[derive(Debug, Clone)]
pub struct Thing {
    /// What it is, in a word or two.
    pub kind: String,
    /// How it is called beside its kind.
    pub name: String,
    /// How much of the host's disk it takes.
    pub bytes: u64,
    /// When it was made.
    pub made: Timestamp,
    /// The place of what it is shown under.
    pub under: Option<usize>,
    /// The places of all that it lies on.
    pub on: Vec<usize>,
    /// The machines that need it.
    pub needed_by: BTreeSet<String>,
    /// How it is removed.
    pub removal: Removal,
}

/// How something is removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removal {
    /// By the store.
    Layer(Key),
    /// Unless a download is at it.
    Rest(media::Rest),
    /// With all in it; the first ones come first.
    Paths(Vec<PathBuf>),
    /// File by file, by a bound of its own: no rule lets all of it go.
    Kept,
}

/// A machine that uses the cache.
#[derive(Debug, Clone)]
pub struct Machine {
    /// Its name, and its folder if that is not this data folder's.
    pub name: String,
    /// How much of the host's disk its own disk takes.
    pub bytes: u64,
    /// When it was made.
    pub made: Timestamp,
    /// The place of the layer under its disk.
    pub under: Option<usize>,
}

/// All of the cache.
#[derive(Debug, Clone)]
pub struct Contents {
    /// What is kept: what lies on another comes after it.
    pub things: Vec<Thing>,
    /// Who uses it.
    pub machines: Vec<Machine>,
    /// What the sum of all is called.
    pub sum: &'static str,
    /// When it was looked at.
    pub now: Timestamp,
}

impl Contents {
    /// Looks at the cache; nothing in it changes.
    ///
    /// # Errors
    /// When something cannot be read; what a damaged machine, one with a damaged snapshot, or one on a disk that is not
    /// mounted needs is not known.
    pub fn read(app: &App, store: &Store) -> Result<Self> {
        Self::read_with(app, store, Err)
    }

    /// The same for a look alone: what is not known of a machine or its snapshots is told.
    ///
    /// # Errors
    /// When something else cannot be read.
    pub fn read_known(app: &App, store: &Store) -> Result<Self> {
        Self::read_with(app, store, |error| {
            app.events
                .warn(format!("what a machine needs is not known in full: {error:#}"));
            Ok(())
        })
    }

    fn read_with(app: &App, store: &Store, unknown: impl Fn(anyhow::Error) -> Result<()>) -> Result<Self> {
        let mut contents = Self {
            things: Vec::new(),
            machines: Vec::new(),
            sum: "total in the cache",
            now: Timestamp::now(),
        };
        contents.add_isos(media::list(&app.paths.isos())?);
        contents.things.extend(others::identities(&app.paths)?);
        contents.add_layers(store.list()?);
        contents.things.extend(others::all(&app.paths, store)?);
        for fault in Instance::away_from_cache(&app.paths)? {
            unknown(fault.into())?;
        }
        for instance in Instance::all_of_cache(&app.paths)? {
            let record = match instance.record() {
                Ok(Some(record)) => record,
                Ok(None) => continue,
                Err(error) => {
                    unknown(error)?;
                    continue;
                }
            };
            let is_here = instance.dir().parent() == Some(app.paths.machines.as_path());
            let name = match instance.dir().parent() {
                Some(folder) if !is_here => format!("{} in {}", instance.name, folder.display()),
                _ => instance.name.to_string(),
            };
            let moments = moments::bases(&instance).or_else(|error| unknown(error).map(|()| Vec::new()))?;
            contents.add_machine(name, &instance, &record, &moments);
        }
        Ok(contents)
    }

    fn add_isos(&mut self, isos: Vec<media::CachedIso>) {
        self.things.extend(isos.into_iter().map(|iso| Thing {
            kind: ISO.to_owned(),
            name: iso.record.name,
            bytes: iso.record.size,
            made: seconds(iso.record.fetched_at),
            under: None,
            on: Vec::new(),
            needed_by: BTreeSet::new(),
            removal: Removal::Paths(vec![iso.path]),
        }));
    }

    /// Those on which others lie first, whatever the clock said when they were made.
    fn add_layers(&mut self, layers: Vec<Layer>) {
        let isos = self.isos();
        let mut waiting = layers;
        while !waiting.is_empty() {
            let there: BTreeSet<Base> = waiting.iter().map(|layer| layer.manifest.base.clone()).collect();
            let (late, next): (Vec<_>, Vec<_>) = waiting.into_iter().partition(|layer| {
                let parent = layer.manifest.parent.as_ref();
                parent.is_some_and(|parent| there.contains(parent))
            });
            if next.is_empty() {
                break;
            }
            for layer in next {
                let thing = self.of_layer(&layer, &isos);
                self.things.push(thing);
            }
            waiting = late;
        }
    }

    /// The places of the ISOs, with their digests.
    fn isos(&self) -> Vec<(usize, String)> {
        let digest = |thing: &Thing| match &thing.removal {
            // The folder is named after the digest: `sha512-…`, which manifests write with a colon.
            Removal::Paths(paths) => paths[0].parent()?.file_name()?.to_str().map(str::to_owned),
            _ => None,
        };
        let isos = self.things.iter().enumerate().filter(|(_, thing)| thing.kind == ISO);
        isos.filter_map(|(place, thing)| Some((place, digest(thing)?)))
            .collect()
    }

    fn of_layer(&self, layer: &Layer, isos: &[(usize, String)]) -> Thing {
        let manifest = &layer.manifest;
        let iso = manifest.inputs.get("iso").map(|digest| digest.replace(':', "-"));
        let iso = isos.iter().find(|(_, folder)| Some(folder) == iso.as_ref());
        let under = match &manifest.parent {
            Some(parent) => self.place(parent),
            None => iso.map(|(place, _)| *place),
        };
        let keys = match manifest.stage {
            Stage::Install => Some(others::BUILDER),
            _ => manifest.inputs.get("login").map(String::as_str),
        };
        let keys = keys.and_then(|name| self.identity(name));
        let login = manifest.inputs.get("login").map(|login| format!(" ({login})"));
        Thing {
            kind: manifest.stage.to_string(),
            name: format!("{}{}", manifest.base.key.short(), login.unwrap_or_default()),
            bytes: layer.size(),
            made: manifest.made,
            under,
            on: under.into_iter().chain(keys).collect(),
            needed_by: BTreeSet::new(),
            removal: Removal::Layer(manifest.base.key.clone()),
        }
    }

    /// The layer `base`; another making of it is not meant, but has the same place in the store.
    fn place(&self, base: &Base) -> Option<usize> {
        let removal = Removal::Layer(base.key.clone());
        self.things.iter().position(|thing| thing.removal == removal)
    }

    fn identity(&self, login: &str) -> Option<usize> {
        let is_it = |thing: &Thing| thing.kind == others::IDENTITY && thing.name == login;
        self.things.iter().position(is_it)
    }

    fn add_machine(&mut self, name: String, instance: &Instance, record: &Record, moments: &[Base]) {
        let layer = record.layer.as_ref().and_then(|base| self.place(base));
        let work = record.work_layer.as_ref().and_then(|base| self.place(base));
        let keys = self.identity(record.login.as_str());
        let moments: Vec<_> = moments.iter().map(|base| self.place(base)).collect();
        for place in [layer, work, keys].into_iter().chain(moments).flatten() {
            self.need(place, &name);
        }
        let home = instance.home();
        let hypervisor = crate::machine::driver::Hypervisor::of(&home.folder);
        self.machines.push(Machine {
            name,
            bytes: hypervisor.driver().size(&home.disk()),
            made: record.made,
            under: layer.or(work),
        });
    }

    fn need(&mut self, place: usize, machine: &str) {
        if self.things[place].needed_by.insert(machine.to_owned()) {
            for on in self.things[place].on.clone() {
                self.need(on, machine);
            }
        }
    }

    /// What the rules are asked about.
    pub fn items(&self) -> Vec<Item> {
        let item = |thing: &Thing| Item {
            kind: thing.kind.clone(),
            // What guests fetched goes by rules of its own, and into the room that the rest leaves.
            bytes: if thing.removal == Removal::Kept { 0 } else { thing.bytes },
            made: thing.made,
            on: thing.on.clone(),
            needed: thing.removal == Removal::Kept || !thing.needed_by.is_empty(),
        };
        self.things.iter().map(item).collect()
    }

    /// All of it in bytes, machines not counted.
    pub fn bytes(&self) -> u64 {
        self.things.iter().map(|thing| thing.bytes).sum()
    }
}

/// A time in seconds since 1970.
fn seconds(seconds: u64) -> Timestamp {
    i64::try_from(seconds)
        .ok()
        .and_then(|seconds| Timestamp::from_second(seconds).ok())
        .unwrap_or_default()
}
