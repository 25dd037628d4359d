//! Gets what a `create` without a network would need, and makes no machine of the user's.

use anyhow::{Context as _, Result};
use fs_err as fs;

use super::kept::missing;
use super::needs::Needs;
use super::record::new_record;
use super::{Creation, Materials, Parts, Run, under_lock};
use crate::checkpoint::{Layer, Store};
use crate::config::MachineName;
use crate::event::Stage;
use crate::fault::{Cause, Fault};
use crate::instance::{self, Instance};
use crate::kept::{Fetcher, Keeper};
use crate::machine::driver::Home;
use crate::plan::making::Makings;
use crate::plan::{Plan, Planned};
use crate::stage::led;
use crate::stage::project::Begin;

/// The machine in which packages are fetched; it is gone afterwards.
const MACHINE: &str = "provision-fetch";

/// Fetches ISO, Docker's packages, the base images of the project, and again what an earlier build of it fetched.
///
/// # Errors
/// When something cannot be had, or cannot be known yet; the rest is kept.
pub fn fetch(creation: &Creation<'_>) -> Result<()> {
    let Creation { paths, host, .. } = creation;
    let keeper = host.keeper.as_deref().context("what guests fetch cannot be kept")?;
    let store = Store::open(&paths.cache)?;
    let _share = store.share(&host.cancel, || {
        host.events
            .note("another provision removes checkpoints; waiting for it");
    })?;
    instance::register(&paths.cache, &paths.machines)?;
    let name = MachineName::try_from(MACHINE.to_owned()).map_err(anyhow::Error::msg)?;
    let instance = Instance::new(paths, &name);
    under_lock(&instance, || fetch_in(creation, keeper, store, instance.clone()))
}

/// The same in the machine `instance`, which is locked.
fn fetch_in(creation: &Creation<'_>, keeper: &Keeper, store: Store, instance: Instance) -> Result<()> {
    let Creation {
        config, paths, host, ..
    } = creation;
    let before = instance.record()?;
    if before.is_some_and(|before| before.layer.is_some() || before.imported) {
        let message = format!("there is a machine {MACHINE}, in whose place packages are fetched");
        return Err(Fault::new(Cause::Usage, message)
            .hint(format!(
                "`provision destroy --name {MACHINE}`, if it is no longer needed"
            ))
            .into());
    }
    // What an interrupted fetch left is nobody's, whoever's login it was for.
    instance.clear_work()?;
    let parts = Parts::gather(config, paths, None)?;
    let pinned = creation.pinned(&store)?;
    let iso = parts.iso(creation, pinned.as_ref())?;
    let record = new_record(creation);
    instance.remember(&record)?;
    let materials = Materials {
        iso,
        is_verified: true,
        parts,
    };
    let plan = {
        let makings = Makings::of(&store, None);
        materials.plan(config, host.engine.features(), &makings, &host.cancel)?
    };
    let mut run = Run {
        creation,
        store,
        plan,
        record,
        instance,
        stage: Stage::Media,
        is_bundled: false,
        has_stopped: false,
        memory: None,
    };
    if let Err(error) = run.fetch_packages(&materials) {
        run.bundle_unless_done(&error);
        // The bundle lies in the machine's folder and stays; of the rest nothing is looked at.
        let cleared = run.clear_work().and_then(|()| {
            run.record = new_record(creation);
            run.instance.remember(&run.record)
        });
        if let Err(error) = cleared {
            host.events.warn(format!("clearing the machine {MACHINE}: {error:#}"));
        }
        return Err(error);
    }
    run.instance.destroy()?;
    images_and_builds(creation, keeper, &materials.parts)?;
    let left = missing(
        config,
        paths,
        host.engine.features(),
        &materials.parts,
        pinned.as_ref(),
        &Makings::of(&run.store, None),
        &host.cancel,
    )?;
    told(creation, keeper, &left.things)
}

impl Run<'_> {
    /// Runs the stage that fetches Docker's packages, unless all that it fetches is kept. Its checkpoint, and the one
    /// before, are made if they are not there.
    fn fetch_packages(&mut self, materials: &Materials) -> Result<()> {
        let Creation { config, paths, .. } = self.creation;
        let needs = Needs::new(config, &materials.parts, &paths.cache);
        if needs.is_kept(Stage::Docker)? {
            return Ok(());
        }
        let until_docker = self.plan.stages.iter().filter(|planned| planned.stage <= Stage::Docker);
        self.plan = Plan {
            stages: until_docker.cloned().collect(),
        };
        self.clear_work()?;
        let is_made = self.plan.last().is_some_and(|key| self.store.get(key).is_some());
        if !is_made {
            return self.build(materials).map(drop);
        }
        let install = self
            .plan
            .stages
            .first()
            .and_then(|planned| self.store.get(&planned.key));
        let docker = self.plan.stages.last().cloned().context("a plan has stages")?;
        self.run_again(
            materials,
            &docker,
            &install.context("a checkpoint has those before it")?,
        )
    }

    /// Runs a stage whose checkpoint is there, for what it fetches alone.
    fn run_again(&mut self, materials: &Materials, planned: &Planned, parent: &Layer) -> Result<()> {
        self.stage = planned.stage;
        self.record.work_layer = Some(parent.manifest.base.clone());
        self.choose_ports()?;
        self.enter(instance::Phase::Building(planned.stage))?;
        let events = &self.host().events;
        events.note("the packages of its checkpoint are not kept: the stage runs again, to fetch them");
        let work = self.work(planned.stage, Some(parent))?;
        self.run_stage(materials, planned.stage, &work, Begin::Account)?;
        self.keep_receipt(&materials.parts, planned.stage);
        Home::of_stage(&work.dir).remove()?;
        Ok(fs::remove_dir_all(&work.dir)?)
    }
}

fn images_and_builds(creation: &Creation<'_>, keeper: &Keeper, parts: &Parts) -> Result<()> {
    let Creation {
        config, paths, host, ..
    } = creation;
    let needs = Needs::new(config, parts, &paths.cache);
    let fetcher = Fetcher::new(keeper, &host.cancel)?;
    let tell = |what: &str, got: Result<()>| {
        host.cancel.check()?;
        if let Err(error) = got {
            host.events.warn(format!("{what} is not to be had: {error:#}"));
        }
        anyhow::Ok(())
    };
    for image in needs.images()? {
        if image.missing(keeper.store()).is_some() {
            host.events.note(format!("fetching the image {}", image.written));
            tell(&image.written, fetcher.image(&image))?;
        }
    }
    let builds = needs.receipt(Stage::Project)?;
    let addresses = builds
        .map(|receipt| receipt.missing(keeper.store()))
        .unwrap_or_default();
    for address in addresses.iter().filter(|address| address.starts_with("http://")) {
        host.events.detail(format!("fetching {address}"));
        tell(address, fetcher.address(address))?;
    }
    Ok(())
}

fn told(creation: &Creation<'_>, keeper: &Keeper, left: &[String]) -> Result<()> {
    let size = keeper.store().size()?;
    let events = &creation.host.events;
    events.note(format!("{} are kept for `--offline`", bytesize::ByteSize(size.bytes)));
    if left.is_empty() {
        return Ok(());
    }
    let message = led::not_kept(left).message;
    Err(Fault::new(Cause::Network, message)
        .hint("`provision create` gets it: what a build fetches is known once it ran with a network")
        .into())
}
