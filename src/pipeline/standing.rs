//! What of a machine is there when a run begins, and what the run goes through.

use anyhow::Result;

use super::{Aim, Run};
use crate::event::{Event, Stage};
use crate::media::Installed;
use crate::moments::{self, Kept};

impl Run<'_> {
    /// How the machine was when it was made, if it shall be that again and its memory of then can serve.
    pub(super) fn clean(&self) -> Result<Option<Kept>> {
        let host = self.host();
        let stays = self.record.machine == host.engine.hypervisor();
        if self.creation.aim != Aim::Clean || !stays || !self.is_whole() {
            return Ok(None);
        }
        moments::created_with_memory(&self.instance, &self.record, host.size)
    }

    /// Tells what the run goes through. Where the machine is there and runs, or goes on from a memory, nothing takes long.
    pub(super) fn announce(&self, goes_on: bool) {
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
    pub(super) fn is_cached(&self) -> bool {
        self.plan.last().is_some_and(|key| self.store.get(key).is_some())
    }

    /// The ISO that the machine was installed from: as long as the user does not ask for a newer one, a
    /// new point release is no reason to make it anew.
    pub(super) fn pinned_iso(&self) -> Option<Installed> {
        let is_same_guest = self.record.guest == self.creation.config.guest;
        let base = self.record.layer.as_ref().filter(|_| is_same_guest)?;
        self.store.installed_from(base)
    }

    /// Whether the machine is there already, made from just this plan.
    pub(super) fn is_whole(&self) -> bool {
        let made = |base: &_| self.store.has(base) && self.instance.disk().exists();
        let base = self.record.layer.as_ref();
        base.is_some_and(|base| Some(&base.key) == self.plan.last() && made(base))
    }

    pub(super) fn warn_of_replacement(&self) {
        if self.record.layer.is_some() && self.instance.disk().exists() {
            self.host().events.warn(
                "the machine is made anew: what was changed in it since its `create` goes once the new one is built \
                 (until then Ctrl-C keeps it)",
            );
        }
    }
}
