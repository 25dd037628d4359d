//! Builds the project in the machine in which it was built before, with what Docker kept of that build: what has not changed is
//! not built again. The layer is one like any other: it lies on the account, and on nothing of the former build.

use anyhow::{Result, bail};
use fs_err as fs;

use super::{Aim, Materials, Run};
use crate::checkpoint::Layer;
use crate::event::Stage;
use crate::facts::{Facts, Image};
use crate::fault::{Cause, Fault};
use crate::machine::driver::Home;
use crate::stage::Work;
use crate::stage::project::{Begin, Unclean};

impl Run<'_> {
    /// Runs the stage on the former build, if there is one that serves. Nothing where it did not work: it is run on `parent`
    /// then.
    pub(super) fn on_former_build(
        &mut self,
        materials: &Materials,
        stage: Stage,
        parent: Option<&Layer>,
    ) -> Result<Option<(Work, Facts)>> {
        let (Some(parent), Some(former)) = (parent, self.former_build(stage, parent)) else {
            return Ok(None);
        };
        let work = self.begin(stage, Some(&former))?;
        let ran = self.run_stage(materials, stage, &work, Begin::FormerBuild);
        let ran = ran.and_then(|facts| {
            if pulled(&facts) != pulled(&former.manifest.facts) {
                // The engine does not tell which build needs which.
                bail!(Unclean::new("it is built on other images by now"));
            }
            let host = self.host();
            let driver = host.engine.hypervisor().driver();
            driver.lay_on(&work.disk, &parent.disk, &host.cancel)?;
            Ok(facts)
        });
        self.keep_logs(stage, &work, ran.is_ok())?;
        match ran {
            Ok(facts) => Ok(Some((work, facts))),
            Err(error) if is_final(&error) => Err(self.failed(materials, stage, &work, error)),
            Err(error) => {
                self.give_up(&work, &error)?;
                Ok(None)
            }
        }
    }

    /// The build that the machine lies on, if the project can be built on it: it is one on the same account, with its memory,
    /// and nothing is to be clean or made of what is pinned.
    fn former_build(&self, stage: Stage, parent: Option<&Layer>) -> Option<Layer> {
        let creation = self.creation;
        let may = stage == Stage::Project
            && creation.aim == Aim::Current
            && creation.lock.is_none()
            && self.host().engine.features().hibernates;
        let base = self.record.layer.as_ref().filter(|base| may && self.store.has(base))?;
        let former = self.store.get(&base.key)?;
        let is_sibling =
            former.manifest.stage == stage && former.manifest.parent == parent.map(|it| it.manifest.base.clone());
        (is_sibling && former.memory().is_some()).then_some(former)
    }

    /// Removes what was tried, and tells why it did not work.
    fn give_up(&self, work: &Work, error: &anyhow::Error) -> Result<()> {
        let events = &self.host().events;
        match error.downcast_ref::<Unclean>() {
            Some(why) => events.note(format!(
                "the former build cannot be taken back ({why}): a clean machine builds it"
            )),
            None => events.warn(format!(
                "it did not work in the machine of the former build, so that a clean one builds it: {error:#}"
            )),
        }
        Home::of_stage(&work.dir).remove()?;
        Ok(fs::remove_dir_all(&work.dir)?)
    }
}

/// The images that were not built.
fn pulled(facts: &Facts) -> Vec<&Image> {
    facts.images.iter().filter(|image| image.digest.is_some()).collect()
}

/// Whether a clean machine would not do any better.
fn is_final(error: &anyhow::Error) -> bool {
    Fault::is_stop(error) || Fault::of(error).is_some_and(|fault| fault.cause == Cause::Space)
}
