//! What is kept when a run fails.

use std::path::Path;

use super::Run;
use crate::event::Stage;
use crate::fault::{Cause, Fault};
use crate::instance::{self, Phase};

impl Run<'_> {
    /// Keeps what the stage at work left in the folder `work`.
    pub(super) fn bundle(&mut self, work: &Path, error: &anyhow::Error) {
        self.is_bundled = true;
        let plan = serde_json::to_string_pretty(&self.plan.stages).unwrap_or_default();
        let events = &self.host().events;
        match instance::bundle(&self.instance, self.stage, work, &plan, error) {
            // A warning: it is shown when the user asked for quiet too.
            Ok(dir) => events.warn(format!("what happened is kept in {}", dir.display())),
            Err(error) => events.warn(format!("keeping what happened: {error:#}")),
        }
    }

    /// Tells that the machine as it was, which ran before this run, is there, but off.
    pub(super) fn tell_what_is_off(&self) {
        let is_as_before = matches!(self.record.phase, Phase::Building(_)) && self.record.layer.is_some();
        if self.has_stopped && is_as_before && self.instance.disk().exists() {
            let name = &self.instance.name;
            self.host().events.warn(format!(
                "{name} is as it was before, but off: `provision start --name {name}` starts it"
            ));
        }
    }

    /// Whether `error` is the end that somebody at the keyboard asked for: they know what was going on. Whoever finds a
    /// run that SIGTERM or the time limit has ended does not.
    pub(super) fn is_users_own(&self, error: &anyhow::Error) -> bool {
        let cause = Fault::of(error).map(|fault| fault.cause);
        cause == Some(Cause::Interrupted) && self.host().cancel.is_users_own()
    }

    /// Keeps what happened of every failure that has not been kept yet and is not the user's own doing.
    pub(super) fn bundle_unless_done(&mut self, error: &anyhow::Error) {
        let cause = Fault::of(error).map(|fault| fault.cause);
        let is_mistake = matches!(cause, Some(Cause::Config | Cause::Usage));
        if self.is_bundled || is_mistake || self.is_users_own(error) {
            return;
        }
        let folder = match self.stage {
            Stage::Verify => self.instance.run_dir(),
            stage => self.instance.work_dir(stage),
        };
        self.bundle(&folder, error);
    }
}
