//! The ISO of a run. Only the stage install reads it: where that is cached, an ISO that is on this host is not hashed, and
//! one that is not, as after `cache import`, stays away.

use anyhow::{Result, bail};

use super::{Creation, Materials, Parts, Run};
use crate::config::Location;
use crate::event::{Event, Stage};
use crate::facts;
use crate::fault::{Cause, Fault};
use crate::media::{self, Installed, Iso, Known, Request};
use crate::pins::Lock;

impl Run<'_> {
    /// What the stages are made of. An ISO that nothing will read is only known by its digest.
    pub(super) fn materials(&self, parts: Parts) -> Result<Materials> {
        let pinned = self.pinned_iso();
        let (iso, is_verified) = match self.needless(&parts, pinned.as_ref())? {
            Some(known) => (self.tell_needless(known), false),
            None => (parts.iso(self.creation, pinned.as_ref())?, true),
        };
        Ok(Materials {
            iso,
            is_verified,
            parts,
        })
    }

    /// The ISO for the stage that reads it.
    pub(super) fn readable_iso<'a>(&self, materials: &'a Materials) -> Result<&'a Iso> {
        if materials.is_verified {
            return Ok(&materials.iso);
        }
        // Nobody removes checkpoints while this runs, but by hand.
        let what = format!(
            "the checkpoint of the installation has gone from {} meanwhile",
            self.store.folder().display()
        );
        bail!(Fault::new(Cause::Other, what).hint("the same command makes it again"))
    }

    /// What is known of an ISO that no stage of this run will read.
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
        if locked.is_none()
            && media::cached(&request, &paths.isos())?.is_some_and(|known| is_looked_at(&request, &known))
        {
            return Ok(None);
        }
        let Ok(known) = media::foresee(&request, locked.as_ref(), &paths.isos(), &host.events, &host.cancel) else {
            // Whoever gets it says what is wrong.
            return Ok(None);
        };
        if is_looked_at(&request, &known) {
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

/// Whether a run looks at an ISO though nothing may read it, if it is on this host: a file of the user's own can be another than
/// it was, and of a release there may be a newer one.
pub(super) fn is_looked_at(request: &Request<'_>, known: &Known) -> bool {
    let is_own = request
        .choice
        .is_some_and(|choice| matches!(choice.location, Location::File(_)));
    known.path.is_some() && (is_own || !known.fresh)
}
