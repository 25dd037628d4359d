//! The end of every run: the machine runs, and is checked.

use std::time::Instant;

use anyhow::Result;

use super::{Creation, Run};
use crate::event::{Event, Stage};
use crate::moments::{self, Kept};
use crate::operate::{self, Started};
use crate::stage;
use crate::stage::booted::Start;

impl Run<'_> {
    /// Starts the machine unless it runs, or takes it back to `clean`, and checks it.
    pub(super) fn verify(&mut self, clean: Option<&Kept>) -> Result<()> {
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
