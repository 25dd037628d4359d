//! Runs a plan: from the first stage that is not cached to a running, verified machine.

mod inputs;

pub use inputs::{Materials, Parts, plan_offline};

use std::time::Instant;

use anyhow::{Context as _, Result};
use fs_err as fs;

use crate::checkpoint::{Layer, Manifest, Store};
use crate::config::Config;
use crate::event::{Event, Stage};
use crate::fault::{Cause, Fault};
use crate::host;
use crate::identity::Identity;
use crate::instance::{self, Instance, Phase, Record};
use crate::machine::Forward;
use crate::machine::qemu::{self, image};
use crate::operate;
use crate::paths::Paths;
use crate::plan::{Plan, Planned};
use crate::ssh::Target;
use crate::stage::{self, Host, Work};

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
}

/// Turns the configuration into a running, verified machine.
///
/// # Errors
/// Whatever stops a stage; what was finished before stays.
pub fn create(creation: &Creation<'_>) -> Result<()> {
    let Creation {
        config, paths, host, ..
    } = creation;
    let instance = Instance::new(paths, &config.name);
    let _lock = instance.lock()?;
    instance.clear_work()?;
    let store = Store::open(&paths.cache)?;
    let materials = Materials::gather(creation)?;
    let plan = materials.plan(config)?;
    let mut run = Run {
        creation,
        store,
        materials,
        plan,
        record: record(creation, &instance)?,
        instance,
    };
    let whole = run.is_whole()?;
    if whole {
        for planned in &run.plan.stages {
            host.events.emit(cached(planned));
        }
    } else {
        run.stop_old_machine()?;
        run.choose_ports()?;
        run.build()?;
    }
    run.verify()
}

/// The record to begin with: the machine's own, or that of a new machine.
fn record(creation: &Creation<'_>, instance: &Instance) -> Result<Record> {
    let Creation { config, host, .. } = creation;
    let before = instance.record()?;
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
    Ok(Record {
        login: config.login.clone(),
        guest: config.guest.clone(),
        made: before.as_ref().map_or_else(jiff::Timestamp::now, |record| record.made),
        phase: before
            .as_ref()
            .map_or(Phase::Building(Stage::Media), |record| record.phase),
        layer: before.as_ref().and_then(|record| record.layer.clone()),
        https_port: before.as_ref().map_or(0, |record| record.https_port),
        ssh_port: before.as_ref().map_or(0, |record| record.ssh_port),
        cpus: config.machine.cpus,
        memory_mib: config.machine.memory_mib,
        accelerator: host.accelerator,
        project: config.project.dir.clone(),
    })
}

fn cached(planned: &Planned) -> Event {
    Event::StageCached {
        stage: planned.stage,
        key: planned.key.short().to_owned(),
    }
}

/// How many bytes a stage's layer may take while it is made, generously: the reference project's are below a half of
/// these.
const fn room(stage: Stage) -> u64 {
    const GIB: u64 = 1 << 30;
    match stage {
        Stage::Install | Stage::Docker => 2 * GIB,
        Stage::Project => 4 * GIB,
        Stage::Media | Stage::Account | Stage::Verify => GIB,
    }
}

/// One `create` on its way.
struct Run<'a> {
    creation: &'a Creation<'a>,
    store: Store,
    materials: Materials,
    plan: Plan,
    record: Record,
    instance: Instance,
}

impl Run<'_> {
    fn host(&self) -> &Host {
        self.creation.host
    }

    /// Whether the machine is there already, made from just this plan.
    fn is_whole(&self) -> Result<bool> {
        let made = self.record.phase == Phase::Made && self.record.layer.as_ref() == self.plan.last();
        let layer = self.plan.last().map(|key| self.store.get(key)).transpose()?.flatten();
        Ok(made && layer.is_some() && self.instance.disk().exists())
    }

    /// Ends the machine as it was: its ports are needed, and its disk will be another.
    fn stop_old_machine(&self) -> Result<()> {
        if !self.instance.runs(&self.record) {
            return qemu::end_leftover(&self.instance.run_dir());
        }
        let events = &self.host().events;
        events.warn("the machine is made anew: what was changed in it since its `create` is replaced");
        let mut machine = self.host().machine(&self.instance.run_dir());
        let limit = self.host().patience(crate::machine::POWER_OFF);
        // Its disk is about to be replaced: whether its power had to be cut does not matter.
        crate::machine::shut_down(&mut machine, limit, &self.host().cancel)
            .map(drop)
            .context("stopping the machine as it was")
    }

    fn choose_ports(&mut self) -> Result<()> {
        let config = self.creation.config;
        let others: Vec<u16> = Instance::all(self.creation.paths)?
            .iter()
            .filter(|other| other.name != self.instance.name)
            .filter_map(|other| other.record().ok().flatten())
            .flat_map(|record| [record.https_port, record.ssh_port])
            .collect();
        let ports = host::ports::choose(config.ports, &others)?;
        self.record.https_port = ports.https;
        self.record.ssh_port = ports.ssh;
        Ok(())
    }

    /// Runs every stage that is not cached, then gives the machine a fresh disk on the last checkpoint.
    fn build(&mut self) -> Result<()> {
        let mut layer = None;
        let standing = self.plan.standing(&self.store)?;
        for (planned, standing) in self.plan.stages.clone().into_iter().zip(standing) {
            layer = Some(match (self.store.get(&planned.key)?, standing) {
                (Some(layer), _) => {
                    self.host().events.emit(cached(&planned));
                    layer
                }
                (None, standing) => self.make_layer(&planned, standing.reason(), layer.as_ref())?,
            });
        }
        let layer = layer.context("a plan has stages")?;
        self.place_disk(&layer)
    }

    fn make_layer(&mut self, planned: &Planned, reason: &str, parent: Option<&Layer>) -> Result<Layer> {
        let stage = planned.stage;
        let events = self.host().events.clone();
        let _lock = self.store.lock(&planned.key, &self.host().cancel, || {
            events.note(format!(
                "another provision makes the checkpoint {stage}; waiting for it"
            ));
        })?;
        if let Some(layer) = self.store.get(&planned.key)? {
            events.emit(cached(planned));
            return Ok(layer);
        }
        events.emit(Event::StageStarted {
            stage,
            reason: reason.to_owned(),
            typical_seconds: self.typical_seconds(stage)?,
        });
        host::disk::require(self.instance.dir(), room(stage))?;
        self.enter(Phase::Building(stage))?;
        let start = Instant::now();
        let work = self.work(stage, parent)?;
        let ran = self.run_stage(stage, &work);
        self.keep_logs(stage, &work, &ran)?;
        if let Err(error) = ran {
            return Err(self.failed(stage, &work, error));
        }
        let seconds = start.elapsed().as_secs_f64();
        let Planned {
            key, parent, inputs, ..
        } = planned.clone();
        let manifest = Manifest::new(stage, key, parent, inputs, seconds);
        let layer = self.store.commit(&work.disk, &manifest)?;
        fs::remove_dir_all(&work.dir)?;
        events.emit(Event::StageDone { stage, seconds });
        Ok(layer)
    }

    /// How long the stage took here last time; nothing where it never ran under this accelerator.
    fn typical_seconds(&self, stage: Stage) -> Result<Option<u64>> {
        let newest = self.store.newest(stage)?;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "whole, positive seconds are meant"
        )]
        let whole = |seconds: f64| seconds.max(0.0) as u64;
        Ok(newest.map(|layer| whole(layer.manifest.seconds)))
    }

    fn enter(&mut self, phase: Phase) -> Result<()> {
        self.record.phase = phase;
        self.instance.remember(&self.record)
    }

    /// The stage's folder with its disk: an overlay on the checkpoint before, or an empty one.
    fn work(&self, stage: Stage, parent: Option<&Layer>) -> Result<Work> {
        let dir = self.instance.new_work_dir(stage)?;
        let disk = dir.join("disk.qcow2");
        match parent {
            Some(layer) => image::create_overlay(&disk, &layer.disk)?,
            None => image::create(&disk, self.creation.config.machine.disk_gib)?,
        }
        let name = format!("{}-{stage}", self.instance.name);
        Ok(Work { name, dir, disk })
    }

    fn run_stage(&self, stage: Stage, work: &Work) -> Result<()> {
        let Materials { iso, parts } = &self.materials;
        let Parts {
            recipe,
            docker,
            project,
            builder,
            identity,
        } = parts;
        let (host, login) = (self.host(), &self.creation.config.login);
        let forwards = self.forwards();
        let root = self.target("root", builder);
        match stage {
            Stage::Install => stage::install::run(host, work, &iso.path, recipe),
            Stage::Docker => stage::docker::run(host, work, &forwards, &root, docker),
            Stage::Account => stage::account::run(host, work, &forwards, &root, login, identity),
            Stage::Project => {
                let user = self.target(login.as_str(), identity);
                stage::project::run(host, work, &forwards, &user, login, project)
            }
            Stage::Media | Stage::Verify => Ok(()),
        }
    }

    fn forwards(&self) -> [Forward; 2] {
        [
            Forward {
                host: self.record.https_port,
                guest: 443,
            },
            Forward {
                host: self.record.ssh_port,
                guest: 22,
            },
        ]
    }

    fn target(&self, user: &str, identity: &Identity) -> Target {
        Target::new(self.record.ssh_port, user, identity)
    }

    fn keep_logs(&self, stage: Stage, work: &Work, ran: &Result<()>) -> Result<()> {
        let kept = instance::copy_logs(&work.dir, &self.instance.logs(stage));
        // A failed stage's own error matters more.
        if ran.is_ok() { kept } else { Ok(()) }
    }

    /// Leaves a bundle, and the machine where the user should look at it.
    fn failed(&mut self, stage: Stage, work: &Work, error: anyhow::Error) -> anyhow::Error {
        let interrupted = Fault::of(&error).is_some_and(|fault| fault.cause == Cause::Interrupted);
        let kept = stage::project::is_make(&error);
        if !interrupted {
            self.bundle(stage, &work.dir, &error);
        }
        let settled = if kept {
            self.place_identity().and_then(|()| self.enter(Phase::Failed(stage)))
        } else {
            fs::remove_dir_all(&work.dir).map_err(Into::into)
        };
        if let Err(error) = settled {
            self.host().events.warn(format!("{error:#}"));
        }
        error
    }

    fn bundle(&self, stage: Stage, work: &std::path::Path, error: &anyhow::Error) {
        let plan = serde_json::to_string_pretty(&self.plan.stages).unwrap_or_default();
        let events = &self.host().events;
        match instance::bundle(&self.instance, stage, work, &plan, error) {
            Ok(dir) => events.note(format!("what happened is kept in {}", dir.display())),
            Err(error) => events.warn(format!("keeping what happened: {error:#}")),
        }
    }

    /// Gives the machine an empty overlay on `layer` as its disk.
    fn place_disk(&mut self, layer: &Layer) -> Result<()> {
        let new = self.instance.dir().join("disk.new.qcow2");
        image::create_overlay(&new, &layer.disk)?;
        fs::rename(&new, self.instance.disk())?;
        self.place_identity()?;
        self.record.layer = Some(layer.manifest.key.clone());
        self.enter(Phase::Made)
    }

    /// The machine's own copy of its keys, so that it stays reachable when the cache is emptied.
    fn place_identity(&self) -> Result<()> {
        self.materials.parts.identity.copy_to(&self.instance.identity())
    }

    /// Starts the machine unless it runs, and checks it.
    fn verify(&mut self) -> Result<()> {
        let start = Instant::now();
        self.host().events.emit(Event::StageStarted {
            stage: Stage::Verify,
            reason: "every run is checked".into(),
            typical_seconds: None,
        });
        let checked = self.checked();
        if let Err(error) = &checked
            && Fault::of(error).is_none_or(|fault| fault.cause != Cause::Interrupted)
        {
            self.bundle(Stage::Verify, &self.instance.run_dir(), error);
        }
        checked?;
        let seconds = start.elapsed().as_secs_f64();
        let events = &self.host().events;
        events.emit(Event::StageDone {
            stage: Stage::Verify,
            seconds,
        });
        events.emit(Event::Ready {
            name: self.instance.name.to_string(),
            url: format!("https://{}", self.record.login.domain()),
            https_port: self.record.https_port,
            ssh_port: self.record.ssh_port,
        });
        Ok(())
    }

    fn checked(&mut self) -> Result<()> {
        let Creation { host, config, .. } = self.creation;
        let mut session = operate::start(host, &self.instance, &mut self.record, config.ports)?;
        stage::verify::run(host, &mut session, &config.login, self.record.https_port)
    }
}
