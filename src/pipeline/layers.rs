//! Makes the layers of a plan that are not there.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result};
use fs_err as fs;

use super::{Materials, Parts, Run, cached};
use crate::checkpoint::{Layer, Making, Manifest};
use crate::event::{Event, Stage};
use crate::facts::{self, Facts};
use crate::host;
use crate::identity::Identity;
use crate::instance::{self, Phase};
use crate::machine::driver::Home;
use crate::machine::{self, Forward, PortTaken};
use crate::plan::Planned;
use crate::ssh::Target;
use crate::stage::project::Begin;
use crate::stage::{self, Work, warm};

/// How many bytes a stage's layer may take while it is made, generously: the reference project's are below a half of
/// these.
const fn room(stage: Stage) -> u64 {
    const GIB: u64 = 1 << 30;
    match stage {
        Stage::Install | Stage::Docker => 2 * GIB,
        Stage::Project => 4 * GIB,
        Stage::Media | Stage::Account | Stage::Verify | Stage::Seal | Stage::Export | Stage::Import => GIB,
    }
}

impl Run<'_> {
    /// Runs every stage that is not cached and returns the last one's layer.
    pub(super) fn build(&mut self, materials: &Materials) -> Result<Layer> {
        let mut layer = None;
        let standing = self.plan.standing(&self.store, self.record.layer.as_ref())?;
        for (planned, standing) in self.plan.stages.clone().into_iter().zip(standing) {
            layer = Some(match self.store.get(&planned.key) {
                Some(layer) => {
                    self.host().events.emit(cached(&planned));
                    layer
                }
                None => self.make_layer(materials, &planned, standing.reason(), layer.as_ref())?,
            });
        }
        layer.context("a plan has stages")
    }

    fn make_layer(
        &mut self,
        materials: &Materials,
        planned: &Planned,
        reason: &str,
        parent: Option<&Layer>,
    ) -> Result<Layer> {
        let stage = planned.stage;
        let events = self.host().events.clone();
        let _lock = self.store.lock(&planned.key, &self.host().cancel, || {
            events.note(format!(
                "another provision makes the checkpoint {stage}; waiting for it"
            ));
        })?;
        if let Some(layer) = self.store.get(&planned.key) {
            events.emit(cached(planned));
            return Ok(layer);
        }
        events.emit(Event::StageStarted {
            stage,
            reason: reason.to_owned(),
            typical_seconds: self.creation.recorder.typical_seconds(stage),
        });
        self.stage = stage;
        // Where the two folders lie on different disks the layer is made on one and kept on the other.
        host::disk::require(self.instance.dir(), room(stage))?;
        host::disk::require(self.store.folder(), room(stage))?;
        let start = Instant::now();
        let (work, facts) = match self.on_former_build(materials, stage, parent)? {
            Some(made) => made,
            None => self.on_parent(materials, stage, parent)?,
        };
        let seconds = start.elapsed().as_secs_f64();
        let Planned { key, inputs, .. } = planned.clone();
        let manifest = Manifest {
            facts,
            parts: self.creation.recorder.parts(stage),
            ..Manifest::new(stage, key, parent, inputs, seconds)
        };
        let hypervisor = self.host().engine.hypervisor();
        let memory = work
            .keeps
            .as_deref()
            .map(|folder| hypervisor.driver().memory_in(folder));
        let memory = memory.unwrap_or_default();
        let making = Making {
            hypervisor,
            disk: &work.disk,
            beside: &memory.iter().map(PathBuf::as_path).collect::<Vec<_>>(),
            arrives: false,
        };
        let layer = self.store.commit_all(making, &manifest)?;
        fs::remove_dir_all(&work.dir)?;
        events.emit(Event::StageDone { stage, seconds });
        Ok(layer)
    }

    /// Runs the stage on a disk that lies on `parent`.
    fn on_parent(&mut self, materials: &Materials, stage: Stage, parent: Option<&Layer>) -> Result<(Work, Facts)> {
        let work = self.begin(stage, parent)?;
        let ran = self.run_stage(materials, stage, &work, Begin::Account);
        self.keep_logs(stage, &work, ran.is_ok())?;
        match ran {
            Ok(facts) => {
                self.keep_receipt(&materials.parts, stage);
                Ok((work, facts))
            }
            Err(error) => Err(self.failed(materials, stage, &work, error)),
        }
    }

    /// Writes down what the stage's machine lies on, and makes its disk.
    pub(super) fn begin(&mut self, stage: Stage, on: Option<&Layer>) -> Result<Work> {
        self.record.work_layer = on.map(|layer| layer.manifest.base.clone());
        self.choose_ports()?;
        self.enter(Phase::Building(stage))?;
        self.work(stage, on)
    }

    /// The stage's folder with its disk: an overlay on the checkpoint before, or an empty one.
    pub(super) fn work(&self, stage: Stage, parent: Option<&Layer>) -> Result<Work> {
        let dir = self.instance.new_work_dir(stage)?;
        let machine = self.instance.name.to_string();
        let name = format!("{machine}-{stage}");
        let driver = self.host().engine.hypervisor().driver();
        let disk = driver.disk_in(&dir);
        match parent {
            Some(layer) => driver.create_overlay(&disk, &name, &self.store.disks(layer))?,
            None => driver.create(&disk, &name, self.creation.config.machine.disk_gib)?,
        }
        Ok(Work {
            machine,
            name,
            from: parent.and_then(Layer::memory),
            keeps: self.keeps_memory(stage).then(|| dir.join(warm::FOLDER)),
            oem_strings: Vec::new(),
            dir,
            disk,
        })
    }

    /// Whether the stage ends with its memory kept beside its disk; where there is no room for it the next one boots.
    fn keeps_memory(&self, stage: Stage) -> bool {
        let memory = self.host().size.memory_mib << 20;
        let has_room = |folder: &Path| host::disk::require(folder, room(stage) + memory).is_ok();
        warm::is_worth_it(stage)
            && self.host().engine.features().hibernates
            && has_room(self.instance.dir())
            && has_room(self.store.folder())
    }

    /// Runs a stage; on other ports where somebody has taken these since they were chosen.
    pub(super) fn run_stage(
        &mut self,
        materials: &Materials,
        stage: Stage,
        work: &Work,
        begin: Begin,
    ) -> Result<Facts> {
        let mut tries = machine::PORT_TRIES;
        loop {
            match self.run_stage_once(materials, stage, work, begin) {
                Err(error) if tries > 0 && error.is::<PortTaken>() => {
                    tries -= 1;
                    self.choose_ports()?;
                    self.instance.remember(&self.record)?;
                }
                ran => return ran,
            }
        }
    }

    fn run_stage_once(&self, materials: &Materials, stage: Stage, work: &Work, begin: Begin) -> Result<Facts> {
        let Materials { parts, .. } = materials;
        let Parts {
            recipe,
            docker,
            project,
            builder,
            identity,
            ..
        } = parts;
        let (host, login) = (self.host(), &self.creation.config.login);
        let installer =
            stage::install::installer(self.creation.config.machine.installer, self.host().engine.features())?;
        let forwards = self.forwards();
        let root = self.target("root", builder);
        match stage {
            Stage::Install => {
                let iso = self.readable_iso(materials)?;
                stage::install::run(host, work, &iso.path, recipe, installer)?;
                Ok(facts::of_iso(iso))
            }
            Stage::Docker => stage::docker::run(host, work, &forwards, &root, docker),
            Stage::Account => {
                stage::account::run(host, work, &forwards, &root, login, identity)?;
                Ok(Facts::default())
            }
            Stage::Project => {
                let user = self.target(login.as_str(), identity);
                stage::project::run(host, work, &forwards, &user, login, project, begin)
            }
            Stage::Media | Stage::Verify | Stage::Seal | Stage::Export | Stage::Import => Ok(Facts::default()),
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

    pub(super) fn keep_logs(&self, stage: Stage, work: &Work, has_worked: bool) -> Result<()> {
        let kept = instance::copy_logs(&work.dir, &self.instance.logs(stage));
        // A failed stage's own error matters more.
        if has_worked { kept } else { Ok(()) }
    }

    /// Leaves a bundle, and the machine where the user should look at it.
    pub(super) fn failed(
        &mut self,
        materials: &Materials,
        stage: Stage,
        work: &Work,
        error: anyhow::Error,
    ) -> anyhow::Error {
        let kept = stage::project::is_make(&error);
        if !self.is_users_own(&error) {
            self.bundle(&work.dir, &error);
        }
        let settled = if kept {
            self.place_identity(materials)
                .and_then(|()| self.enter(Phase::Failed(stage)))
        } else {
            let home = Home::of_stage(&work.dir);
            home.remove().and_then(|()| Ok(fs::remove_dir_all(&work.dir)?))
        };
        if let Err(error) = settled {
            self.host().events.warn(format!("{error:#}"));
        }
        error
    }
}
