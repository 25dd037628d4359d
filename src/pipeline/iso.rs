//! The ISO of a run. Only the stage install reads it: where that is cached, as it is after `cache import`, an ISO that is not
//! on this host stays away.

use anyhow::Result;

use super::{Creation, Parts, Run};
use crate::event::{Event, Stage};
use crate::facts;
use crate::media::{self, Installed, Iso, Known};
use crate::pins::Lock;

impl Run<'_> {
    /// The ISO, verified; one that nothing will read is only known by its digest.
    pub(super) fn iso(&self, parts: &Parts) -> Result<Iso> {
        let pinned = self.pinned_iso();
        match self.needless(parts, pinned.as_ref())? {
            Some(known) => Ok(self.tell_needless(known)),
            None => parts.iso(self.creation, pinned.as_ref()),
        }
    }

    /// What is known of an ISO that is not on this host, and that no stage of this run will read.
    fn needless(&self, parts: &Parts, pinned: Option<&Installed>) -> Result<Option<Known>> {
        let Creation {
            config, paths, host, ..
        } = self.creation;
        // Most have it, or know that they need it, without asking anybody.
        if self.store.newest(Stage::Install)?.is_none() {
            return Ok(None);
        }
        let request = parts.request(config, self.creation.refresh, self.creation.is_offline(), pinned);
        let locked = self.creation.lock.as_ref().and_then(Lock::released_iso);
        if locked.is_none() && media::cached(&request, &paths.isos())?.is_some_and(|known| known.path.is_some()) {
            return Ok(None);
        }
        let Ok(known) = media::foresee(&request, locked.as_ref(), &paths.isos(), &host.events, &host.cancel) else {
            // Whoever gets it says what is wrong.
            return Ok(None);
        };
        if known.path.is_some() {
            return Ok(None);
        }
        let makings = self.creation.makings(&self.store, &self.record);
        let digest = known.digest.to_string();
        let plan = parts.plan(config, host.engine.features(), &digest, &makings, &host.cancel)?;
        let install = plan.stages.first().and_then(|install| self.store.get(&install.key));
        Ok(install.map(|install| match install.manifest.facts.iso {
            // It was looked at when it was there.
            Some(facts::Iso { origin, .. }) => Known { origin, ..known },
            None => known,
        }))
    }

    fn tell_needless(&self, known: Known) -> Iso {
        let events = &self.host().events;
        let stage = Stage::Media;
        events.emit(Event::StageStarted {
            stage,
            reason: "every run verifies which ISO is meant".into(),
            typical_seconds: None,
        });
        events.step(
            stage,
            format!("{} is not needed: its installation is cached", known.name),
        );
        events.emit(Event::StageDone { stage, seconds: 0.0 });
        Iso {
            // Where nobody looks.
            path: self.creation.paths.isos().join(&known.name),
            name: known.name,
            digest: known.digest,
            origin: known.origin,
        }
    }
}
