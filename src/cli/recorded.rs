//! What `create`, `rebuild` and `fetch` share: their time is taken.

use std::path::Path;

use anyhow::Result;
use jiff::Timestamp;

use super::App;
use crate::config::Config;
use crate::stage::Host;
use crate::timing::{History, Recorder, Situation, Trace};

impl App {
    /// Does `job` on this host. Its time is remembered for later estimates, and written to the file `trace`, also when it
    /// fails.
    ///
    /// # Errors
    /// The job's own; a [`crate::fault::Cause::Usage`] fault, before anything is done, when nothing can be written to `trace`.
    pub fn recorded(
        &self,
        config: &Config,
        offline: bool,
        trace: Option<&Path>,
        job: impl FnOnce(&Host, &Recorder) -> Result<()>,
    ) -> Result<()> {
        let trace = trace.map(|file| Trace::place(&self.cwd.join(file))).transpose()?;
        let host = self.host_for(config, offline)?;
        let situation = Situation {
            accelerator: host.engine.pace().to_owned(),
            cpus: host.size.cpus,
            guest: config.guest.clone(),
            machine: config.name.to_string(),
        };
        let recorder = Recorder::new(History::read(&self.paths.cache, situation.clone()));
        let host = Host {
            events: recorder.events(&host.events),
            ..host
        };
        let done = job(&host, &recorder);
        if let Err(error) = remember(&recorder, &self.paths.cache, situation) {
            self.events.detail(format!("{error:#}"));
        }
        let Some(file) = trace else { return done };
        let written = recorder.trace().write(&file);
        match (done, written) {
            (Err(error), Err(of_trace)) => {
                self.events.warn(format!("{of_trace:#}"));
                Err(error)
            }
            (done, written) => done.and(written),
        }
    }
}

/// Adds what the run took to the history, which another run may have written to meanwhile.
fn remember(recorder: &Recorder, cache: &Path, situation: Situation) -> Result<()> {
    let ended = recorder.ended();
    if ended.is_empty() {
        return Ok(());
    }
    History::read(cache, situation)
        .with(ended, Timestamp::now())
        .write(cache)
}
