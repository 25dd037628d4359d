//! Runs a plan: from the first stage that is not cached to a running, verified machine.

mod checked;
mod failed;
mod fetch;
mod former;
mod inputs;
mod iso;
mod kept;
mod layers;
mod needs;
mod place;
mod portable;
mod record;
mod standing;

pub use fetch::fetch;
pub use inputs::{Foreseen, Materials, Parts, first_unknown, plan_offline};
pub use kept::missing;
pub use portable::{Portable, portable, release_of};
pub use record::refuse_imported;

use std::path::PathBuf;

use anyhow::{Context as _, Result};

use self::place::Placing;
use self::record::record;
use crate::checkpoint::{Layer, Store};
use crate::config::{Config, Ports};
use crate::event::{Event, Stage};
use crate::facts::{self, Provenance};
use crate::instance::{self, Instance, Phase, Record};
use crate::media::Iso;
use crate::moments;
use crate::operate;
use crate::paths::Paths;
use crate::pins::Lock;
use crate::plan::making::Makings;
use crate::plan::{Plan, Planned};
use crate::project::{self, makefile};
use crate::stage::Host;
use crate::timing::Recorder;

/// Everything `create` needs.
pub struct Creation<'a> {
    /// What the user wants.
    pub config: &'a Config,
    /// Where things are kept.
    pub paths: &'a Paths,
    /// How machines are started here.
    pub host: &'a Host,
    /// Whether the point release is looked up again.
    pub refresh: bool,
    /// Whether the machine becomes clean, and of what.
    pub aim: Aim,
    /// What alone it may be made of.
    pub lock: Option<Lock>,
    /// Listens to the events of `host`.
    pub recorder: &'a Recorder,
}

/// What becomes of a machine that is made already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aim {
    /// It stays as it is unless something that it is made from has changed.
    Current,
    /// It is clean again, as its last checkpoint left it.
    Clean,
    /// This stage and those after it run anew, even if their checkpoints are there.
    Anew(Stage),
}

/// Turns the configuration into a running, verified machine.
///
/// # Errors
/// Whatever stops a stage; what was finished before stays, and so does the machine as it was before.
pub fn create(creation: &Creation<'_>) -> Result<()> {
    let Creation { config, paths, .. } = creation;
    let instance = Instance::new(paths, &config.name);
    under_lock(&instance, || create_locked(creation, instance.clone()))
}

/// Does `job` while no other command is at the machine. Of a job that came to nothing no folder stays.
fn under_lock(instance: &Instance, job: impl FnOnce() -> Result<()>) -> Result<()> {
    let lock = instance.lock()?;
    job().inspect_err(|_| {
        // Where it cannot be removed it is still a machine that can be destroyed. One with snapshots is not nothing.
        if moments::all(instance).is_ok_and(|kept| kept.is_empty()) {
            let _ = instance.forget_if_nothing_came();
        }
        drop(lock);
        // It holds whatever else the job left, and stays then.
        let _ = instance.remove_empty();
    })
}

fn create_locked(creation: &Creation<'_>, instance: Instance) -> Result<()> {
    let Creation {
        config, paths, host, ..
    } = creation;
    let store = Store::open(&paths.cache)?;
    let _share = store.share(&host.cancel, || {
        host.events
            .note("another provision removes checkpoints; waiting for it");
    })?;
    instance::register(&paths.cache, &paths.machines)?;
    let mut record = record(creation, &instance)?;
    moments::give_up_if_lost(&host.events, &instance, &mut record)?;
    moments::settle(&host.events, &instance, &mut record)?;
    // What is cheap to get wrong is read first: nobody wants to hear of a bad link after a long download.
    let parts = Parts::gather(config, paths, creation.lock.as_ref())?;
    if let Some(lack) = makefile::lacks(&config.project) {
        host.events.warn(lack);
    }
    for file in project::from_elsewhere(&config.project) {
        host.events.note(format!("{} goes into the guest, too", file.display()));
    }
    creation.require_kept(&parts, &store, &creation.makings(&store, &record))?;
    require_ports(creation, &instance, &record)?;
    instance.remember(&record)?;
    let mut run = Run {
        creation,
        store,
        plan: Plan::default(),
        record,
        instance,
        stage: Stage::Media,
        is_bundled: false,
        has_stopped: false,
        memory: None,
    };
    let result = run.whole(parts);
    result.inspect_err(|error| {
        run.bundle_unless_done(error);
        run.tell_what_is_off();
    })
}

/// Refuses ports that the user insists on and somebody else has: sooner than after a long download. Later runs may find
/// others taken, which is seen to when the machine starts.
fn require_ports(creation: &Creation<'_>, instance: &Instance, record: &Record) -> Result<()> {
    let is_its_own = instance.runs(record) || instance.home().runs();
    if is_its_own || record.wanted_ports == Ports::default() {
        return Ok(());
    }
    let others = operate::ports_of_others(creation.paths, instance)?;
    operate::choose_ports(&mut record.clone(), &others)
}

/// The makings on which the machine lies now.
fn present_makings<'a>(store: &'a Store, record: &Record) -> Makings<'a> {
    Makings::of(store, record.layer.as_ref().or(record.work_layer.as_ref()))
}

impl Creation<'_> {
    /// The makings on which the machine shall lie.
    fn makings<'a>(&'a self, store: &'a Store, record: &Record) -> Makings<'a> {
        let makings = present_makings(store, record).locked(self.lock.as_ref());
        match self.aim {
            Aim::Anew(stage) => makings.anew(stage),
            Aim::Current | Aim::Clean => makings,
        }
    }
}

fn cached(planned: &Planned) -> Event {
    Event::StageCached {
        stage: planned.stage,
        key: planned.key.short().to_owned(),
    }
}

/// One `create` on its way.
struct Run<'a> {
    creation: &'a Creation<'a>,
    store: Store,
    plan: Plan,
    record: Record,
    instance: Instance,
    /// The stage at work.
    stage: Stage,
    /// Whether what happened is kept already.
    is_bundled: bool,
    /// Whether the machine as it was ran and was powered off for this run.
    has_stopped: bool,
    /// The memory with which the disk that was just placed goes on.
    memory: Option<PathBuf>,
}

impl Run<'_> {
    fn host(&self) -> &Host {
        self.creation.host
    }

    fn whole(&mut self, parts: Parts) -> Result<()> {
        let materials = self.materials(parts)?;
        self.plan = self.plan(&materials)?;
        let clean = self.clean()?;
        self.announce(clean.is_some());
        if clean.is_some() || (self.creation.aim == Aim::Current && self.is_whole()) {
            for planned in &self.plan.stages {
                self.host().events.emit(cached(planned));
            }
            self.clear_work()?;
            // Its user may have mended by hand what the checks found.
            self.record.untouched = false;
            self.record.guest.clone_from(&self.creation.config.guest);
            self.enter(Phase::Made)?;
        } else {
            // Sooner than after a long build.
            place::require_possible(&self.instance, self.host().engine.hypervisor())?;
            self.warn_of_replacement();
            // Where every checkpoint is there, nothing can fail that would need the machine as it was.
            if !self.is_cached() {
                self.stop_old_machine()?;
            }
            self.clear_work()?;
            let layer = self.build(&materials)?;
            self.place_disk(&materials, &layer)?;
            self.memory = layer.memory();
            self.choose_ports()?;
        }
        self.remember_provenance(&materials.iso)?;
        self.verify(clean.as_ref())
    }

    fn plan(&self, materials: &Materials) -> Result<Plan> {
        let Creation { config, aim, lock, .. } = self.creation;
        let lock = lock.as_ref();
        let plan = |makings: &Makings<'_>| {
            let host = self.host();
            materials.plan(config, host.engine.features(), makings, &host.cancel)
        };
        if let Some(lock) = lock {
            lock.require_iso(&materials.iso)?;
            if *aim == Aim::Current && self.record.layer.is_some() {
                lock.require_layers(&self.store, &plan(&present_makings(&self.store, &self.record))?)?;
            }
        }
        plan(&self.creation.makings(&self.store, &self.record))
    }

    /// Ends the machine as it was: its ports are needed, and its disk will be another.
    fn stop_old_machine(&mut self) -> Result<()> {
        let (host, home) = (self.host(), self.instance.home());
        if !home.runs() {
            return home.end();
        }
        operate::power_off(host, &home, &host.cancel).context("stopping the machine as it was")?;
        self.has_stopped = true;
        Ok(())
    }

    /// Ends and removes what an interrupted run left, or one whose `make` failed.
    fn clear_work(&mut self) -> Result<()> {
        if let Phase::Failed(stage) = self.record.phase {
            let events = &self.host().events;
            events.warn(format!("the machine that was kept when {stage} failed is replaced"));
            self.enter(Phase::Building(stage))?;
        }
        self.instance.clear_work()
    }

    /// Nothing holds the ports while no machine runs: whoever takes one meanwhile makes this choose another.
    fn choose_ports(&mut self) -> Result<()> {
        let others = operate::ports_of_others(self.creation.paths, &self.instance)?;
        operate::choose_ports(&mut self.record, &others)
    }

    fn enter(&mut self, phase: Phase) -> Result<()> {
        self.record.phase = phase;
        self.instance.remember(&self.record)
    }

    /// Writes down beside the machine what it was made from.
    fn remember_provenance(&self, iso: &Iso) -> Result<()> {
        let Some(base) = &self.record.layer else {
            return Ok(());
        };
        let known = facts::Iso::of(iso);
        let provenance = Provenance::of(&self.store, base, &self.record, Some(known));
        self.instance.remember_provenance(&provenance)
    }

    /// Gives the machine an empty overlay on `layer` as its disk.
    fn place_disk(&mut self, materials: &Materials, layer: &Layer) -> Result<()> {
        let placing = Placing {
            events: &self.creation.host.events,
            instance: &self.instance,
            store: &self.store,
            hypervisor: self.creation.host.engine.hypervisor(),
            layer,
            identity: &materials.parts.identity,
        };
        self.record.guest.clone_from(&self.creation.config.guest);
        placing.place(&mut self.record)
    }

    /// The machine's own copy of its keys, so that it stays reachable when the cache is emptied.
    fn place_identity(&self, materials: &Materials) -> Result<()> {
        materials.parts.identity.copy_to(&self.instance.identity())
    }
}
