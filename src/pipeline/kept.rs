//! What a run needs that is kept on the host: looked at before it begins, written down once a stage has fetched it.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use jiff::Timestamp;

use super::needs::Needs;
use super::{Creation, Parts, Run};
use crate::cancel::Cancel;
use crate::checkpoint;
use crate::config::Config;
use crate::event::Stage;
use crate::instance::Instance;
use crate::kept::dates::{self, Clock};
use crate::kept::need::Receipt;
use crate::kept::{Keeper, Past};
use crate::machine::driver::Features;
use crate::media::{self, Installed};
use crate::paths::Paths;
use crate::plan::Standing;
use crate::plan::making::Makings;
use crate::stage::led;

/// What is missing for a run without a network.
#[derive(Debug, Default)]
pub struct Missing {
    /// In words, one each.
    pub things: Vec<String>,
    /// What may turn out to be missing, if anything.
    pub doubt: Option<String>,
    /// What the stages that run were given earlier.
    pub pasts: BTreeMap<Stage, Past>,
}

/// Looks what a run without a network would lack; touches neither network nor guest. `pinned` is the digest of the ISO
/// that the machine was made from.
///
/// # Errors
/// When the cache or a file of the project cannot be read.
pub fn missing(
    config: &Config,
    paths: &Paths,
    features: Features,
    parts: &Parts,
    pinned: Option<&Installed>,
    makings: &Makings<'_>,
    cancel: &Cancel,
) -> Result<Missing> {
    let mut missing = Missing::default();
    let needs = Needs::new(config, parts, &paths.cache);
    let known = media::cached(&parts.request(config, false, true, pinned), &paths.isos())?;
    let stages = match &known {
        Some(known) => {
            let plan = parts.plan(config, features, &known.digest.to_string(), makings, cancel)?;
            let standing = plan.standing(&checkpoint::Store::open(&paths.cache)?, None)?;
            let runs = plan
                .stages
                .iter()
                .zip(standing)
                .filter(|(_, standing)| *standing != Standing::Cached);
            runs.map(|(planned, _)| planned.stage).collect()
        }
        None => Stage::ALL.to_vec(),
    };
    match known {
        // Only the stage install reads it.
        Some(known) if known.path.is_none() && stages.contains(&Stage::Install) => {
            missing.things.push(format!("the ISO {}", known.name));
        }
        Some(_) => {}
        None => missing.things.push(format!("the ISO of {}", config.guest)),
    }
    for stage in stages {
        if let Some(receipt) = needs.receipt(stage)? {
            let clock = match dates::clock(&needs.kept, &receipt, needs.expires(stage), Timestamp::now()) {
                Clock::Now => None,
                Clock::At(time) => Some(time),
                Clock::Never => {
                    missing.things.push(format!(
                        "lists of packages for the stage {stage} that are valid at the same time"
                    ));
                    None
                }
            };
            let fetched = receipt.fetched;
            missing.pasts.insert(stage, Past { fetched, clock });
        }
        let (things, is_supposed) = needs.missing(stage)?;
        missing.things.extend(things);
        if is_supposed {
            missing.doubt = Some(
                "these Dockerfiles were not built with this cache yet: whether all that they fetch is kept shows in the \
                 build"
                    .into(),
            );
        }
    }
    Ok(missing)
}

impl Creation<'_> {
    /// Whether nothing may be fetched.
    pub fn is_offline(&self) -> bool {
        self.host.keeper.as_deref().is_some_and(Keeper::is_offline)
    }

    /// The digest of the ISO that the user's machine is made from, if there is one and no newer one is asked for.
    ///
    /// # Errors
    /// When the machine's record cannot be read.
    pub fn pinned(&self, store: &checkpoint::Store) -> Result<Option<Installed>> {
        let record = Instance::new(self.paths, &self.config.name).record()?;
        let record = record.filter(|record| record.guest == self.config.guest && !self.refresh);
        Ok(record.and_then(|record| store.installed_from(&record.layer?)))
    }

    /// Refuses a run without a network that would lack something.
    ///
    /// # Errors
    /// A fault that names what is missing.
    pub fn require_kept(&self, parts: &Parts, store: &checkpoint::Store, makings: &Makings<'_>) -> Result<()> {
        if !self.is_offline() {
            return Ok(());
        }
        let (features, pinned) = (self.host.engine.features(), self.pinned(store)?);
        let pinned = pinned.as_ref();
        let cancel = &self.host.cancel;
        let missing = missing(self.config, self.paths, features, parts, pinned, makings, cancel)
            .context("looking what is kept")?;
        if !missing.things.is_empty() {
            return Err(led::not_kept(&missing.things).into());
        }
        if let Some(doubt) = missing.doubt {
            self.host.events.warn(doubt);
        }
        for (stage, past) in &missing.pasts {
            if let Some(clock) = past.clock {
                self.host.events.warn(format!(
                    "{stage}: apt would refuse the kept lists of packages by now: the guest's clock says {clock} while \
                     it fetches"
                ));
            }
        }
        if let Some(keeper) = &self.host.keeper {
            keeper.set_pasts(missing.pasts);
        }
        Ok(())
    }
}

impl Run<'_> {
    /// Writes down what `stage` has fetched. What cannot be written is said: the stage's work is not lost by it.
    pub(super) fn keep_receipt(&self, parts: &Parts, stage: Stage) {
        let Creation {
            config, paths, host, ..
        } = self.creation;
        let Some(keeper) = &host.keeper else { return };
        let (fetched, unkept) = (keeper.take_fetched(), keeper.take_unkept());
        let is_known = !fetched.is_empty() || !unkept.is_empty();
        let needs = Needs::new(config, parts, &paths.cache);
        let kept = needs.receipt_of(stage).and_then(|name| match name {
            // A guest that was not led has fetched nothing that is known.
            Some(name) if is_known && !keeper.is_offline() => {
                keeper.store().keep_receipt(&name, &Receipt { fetched, unkept })
            }
            _ => Ok(()),
        });
        if let Err(error) = kept {
            host.events.warn(format!(
                "what {stage} fetched is not written down for `--offline`: {error:#}"
            ));
        }
    }
}
