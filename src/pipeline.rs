//! Runs a plan: from the first stage that is not cached to a running, verified machine.

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

pub use fetch::fetch;
pub use inputs::{Foreseen, Materials, Parts, first_unknown, plan_offline};
pub use kept::missing;
pub use portable::{Portable, portable, release_of};

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context as _, Result};

use self::place::Placing;

use crate::checkpoint::{Layer, Store};
use crate::config::{Config, MachineName};
use crate::event::{Event, Stage};
use crate::facts::{self, Provenance};
use crate::fault::{Cause, Fault};
use crate::instance::{self, Instance, Phase, Record};
use crate::machine;
use crate::media::{Installed, Iso};
use crate::moments::{self, Kept};
use crate::operate::{self, Started};
use crate::paths::Paths;
use crate::pins::Lock;
use crate::plan::making::Makings;
use crate::plan::{Plan, Planned};
use crate::project::makefile;
use crate::stage::booted::Start;
use crate::stage::{self, Host};
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
    let lock = instance.lock()?;
    create_locked(creation, instance.clone()).inspect_err(|_| {
        drop(lock);
        // Of a run that came to nothing the folder is empty; of any other it stays.
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
    creation.require_kept(&parts, &store, &creation.makings(&store, &record))?;
    instance.remember(&record)?;
    let mut run = Run {
        creation,
        store,
        plan: Plan::default(),
        record,
        instance,
        stage: Stage::Media,
        is_bundled: false,
        memory: None,
    };
    let result = run.whole(parts);
    result.inspect_err(|error| run.bundle_unless_done(error))
}

/// The record to begin with: the machine's own, or that of a new machine.
fn record(creation: &Creation<'_>, instance: &Instance) -> Result<Record> {
    let Creation { config, host, .. } = creation;
    let before = instance.record()?;
    if let Some(before) = &before {
        refuse_imported(&instance.name, before)?;
    }
    // One of which nothing was made yet is nobody's.
    let before = before.filter(|before| before.layer.is_some() || before.work_layer.is_some());
    if let Some(before) = &before
        && before.login != config.login
    {
        return Err(Fault::new(
            Cause::Config,
            format!("the machine {} belongs to the login {}", instance.name, before.login),
        )
        .hint("choose another `--name`, or `provision destroy` it first")
        .into());
    }
    if let Some(before) = &before
        && before.project != config.project.dir
    {
        let (old, new) = (before.project.display(), config.project.dir.display());
        host.events.warn(format!(
            "the machine {} was made from {old}; now it is from {new}",
            instance.name
        ));
    }
    let mut record = before.unwrap_or_else(|| new_record(creation));
    record.guest.clone_from(&config.guest);
    record.project.clone_from(&config.project.dir);
    record.wish = config.machine.accelerator;
    record.wanted_ports = config.ports.or(record.wanted_ports);
    Ok(record)
}

/// Refuses an imported machine: there is nothing to make it from.
///
/// # Errors
/// A [`Cause::Config`] fault.
pub fn refuse_imported(name: &MachineName, record: &Record) -> Result<()> {
    if !record.imported {
        return Ok(());
    }
    Err(Fault::new(
        Cause::Config,
        format!("the machine {name} was imported: there is no project to make it from"),
    )
    .hint("`provision start` starts it; choose another `--name` for a new one, or `provision destroy` it first")
    .into())
}

/// The record of a machine of which nothing is made yet.
fn new_record(creation: &Creation<'_>) -> Record {
    let Creation { config, host, .. } = creation;
    Record {
        login: config.login.clone(),
        guest: config.guest.clone(),
        made: jiff::Timestamp::now(),
        phase: Phase::Building(Stage::Media),
        layer: None,
        work_layer: None,
        imported: false,
        https_port: 0,
        ssh_port: 0,
        wanted_ports: config.ports,
        cpus: host.size.cpus,
        memory_mib: host.size.memory_mib,
        machine: host.engine.hypervisor(),
        accelerator: host.engine.accelerator(),
        wish: config.machine.accelerator,
        project: config.project.dir.clone(),
        disk_id: None,
        untouched: false,
        restoring: None,
    }
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

    /// How the machine was when it was made, if it shall be that again and its memory of then can serve.
    fn clean(&self) -> Result<Option<Kept>> {
        let host = self.host();
        let stays = self.record.machine == host.engine.hypervisor();
        if self.creation.aim != Aim::Clean || !stays || !self.is_whole() {
            return Ok(None);
        }
        moments::created_with_memory(&self.instance, &self.record, host.size)
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

    /// Tells what the run goes through. Where the machine is there and runs, or goes on from a memory, nothing takes long.
    fn announce(&self, goes_on: bool) {
        let is_there = self.creation.aim == Aim::Current && self.is_whole();
        if goes_on || (is_there && self.instance.home().runs()) {
            return;
        }
        let missing = self
            .plan
            .stages
            .iter()
            .filter(|planned| !is_there && self.store.get(&planned.key).is_none());
        let stages = missing.map(|planned| planned.stage).chain([Stage::Verify]);
        self.host().events.emit(Event::Planned {
            stages: stages.collect(),
        });
    }

    /// Whether every stage's work is there.
    fn is_cached(&self) -> bool {
        self.plan.last().is_some_and(|key| self.store.get(key).is_some())
    }

    /// The ISO that the machine was installed from: as long as the user does not ask for a newer one, a
    /// new point release is no reason to make it anew.
    fn pinned_iso(&self) -> Option<Installed> {
        let is_same_guest = self.record.guest == self.creation.config.guest;
        let base = self.record.layer.as_ref().filter(|_| is_same_guest)?;
        self.store.installed_from(base)
    }

    /// Whether the machine is there already, made from just this plan.
    fn is_whole(&self) -> bool {
        let made = |base: &_| self.store.has(base) && self.instance.disk().exists();
        let base = self.record.layer.as_ref();
        base.is_some_and(|base| Some(&base.key) == self.plan.last() && made(base))
    }

    fn warn_of_replacement(&self) {
        if self.record.layer.is_some() && self.instance.disk().exists() {
            self.host().events.warn(
                "the machine is made anew: what was changed in it since its `create` goes once the new one is built \
                 (until then Ctrl-C keeps it)",
            );
        }
    }

    /// Ends the machine as it was: its ports are needed, and its disk will be another.
    fn stop_old_machine(&self) -> Result<()> {
        let (host, home) = (self.host(), self.instance.home());
        if !home.runs() {
            return home.end();
        }
        let mut machine = host.machine(&home);
        machine::shut_down(machine.as_mut(), host.patience(machine::POWER_OFF), &host.cancel)
            .map(drop)
            .context("stopping the machine as it was")
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
        placing.place(&mut self.record)
    }

    /// The machine's own copy of its keys, so that it stays reachable when the cache is emptied.
    fn place_identity(&self, materials: &Materials) -> Result<()> {
        materials.parts.identity.copy_to(&self.instance.identity())
    }

    /// Starts the machine unless it runs, or takes it back to `clean`, and checks it.
    fn verify(&mut self, clean: Option<&Kept>) -> Result<()> {
        self.stage = Stage::Verify;
        let start = Instant::now();
        self.host().events.emit(Event::StageStarted {
            stage: Stage::Verify,
            reason: "every run is checked".into(),
            typical_seconds: self.creation.recorder.typical_seconds(Stage::Verify),
        });
        self.checked(clean)?;
        let seconds = start.elapsed().as_secs_f64();
        let events = &self.host().events;
        events.emit(Event::StageDone {
            stage: Stage::Verify,
            seconds,
        });
        if let Err(error) = self.remember_timings() {
            // The machine is made, and runs.
            events.warn(format!("what the stages took is not written down: {error:#}"));
        }
        events.emit(operate::ready(&self.instance, &self.record));
        Ok(())
    }

    /// Writes down beside the machine what the run took, and what the stages took that it did not run.
    fn remember_timings(&self) -> Result<()> {
        let Some(base) = &self.record.layer else {
            return Ok(());
        };
        let timings = self.creation.recorder.timings(base, &self.store.chain(base));
        self.instance.remember_timings(&timings)
    }

    fn checked(&mut self, clean: Option<&Kept>) -> Result<()> {
        let Creation { host, config, .. } = self.creation;
        let mut started = self.started(clean)?;
        let machine = stage::verify::Machine {
            name: self.instance.name.as_str(),
            login: &config.login,
            https_port: self.record.https_port,
            start: started.start,
        };
        stage::verify::run(host, &mut started.session, &machine)?;
        if clean.is_some() && started.start != Start::FromMemory {
            return moments::keep_created_anew(host, &self.instance, &self.record);
        }
        moments::keep_created(host, &self.instance, &self.record)
    }

    fn started(&mut self, clean: Option<&Kept>) -> Result<Started> {
        let (host, record) = (self.creation.host, &mut self.record);
        if let Some(kept) = clean
            && let Some(started) = moments::restore(host, &self.instance, &self.store, record, kept)?
        {
            record.project.clone_from(&self.creation.config.project.dir);
            self.instance.remember(record)?;
            return Ok(started);
        }
        operate::warn_of_settings_to_come(host, &self.instance, record);
        operate::start_from(host, &self.instance, &self.store, record, self.memory.as_deref())
    }
}
