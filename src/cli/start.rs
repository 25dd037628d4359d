//! `provision start`

use anyhow::Result;

use super::{App, Machine};
use crate::checkpoint::Store;
use crate::event::{Event, Stage};
use crate::fault::{Cause, Fault};
use crate::instance::{Phase, Record};
use crate::operate;
use crate::stage::Host;
use crate::verify;
use crate::wait::Wait;

/// How long, on a real machine, the site may take after a boot.
const SITE: u64 = 60;

/// The arguments of `start`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Which machine.
    #[command(flatten)]
    pub machine: Machine,
}

impl Args {
    /// Starts the machine unless it runs.
    ///
    /// # Errors
    /// When it was never made, or does not come up.
    pub fn run(&self, app: &App) -> Result<()> {
        let instance = app.instance(&self.machine)?;
        let mut record = instance.require()?;
        let _lock = instance.lock()?;
        let host = app.host_of(&record)?;
        let store = Store::open(&app.paths.cache)?;
        let started = operate::start(&host, &instance, &store, &mut record)?;
        if record.phase != Phase::Made {
            app.events
                .warn("its last `create` did not end well: `provision status` tells where it stopped");
        } else if started.is_fresh {
            wait_for_site(&host, &record)?;
        }
        app.events.emit(Event::Ready {
            name: instance.name.to_string(),
            url: format!("https://{}", record.login.domain()),
            https_port: record.https_port,
            ssh_port: record.ssh_port,
        });
        Ok(())
    }
}

/// Waits until the services have started; a site that does not come is told, but the machine runs.
fn wait_for_site(host: &Host, record: &Record) -> Result<()> {
    let domain = record.login.domain();
    host.events.step(Stage::Verify, format!("waiting for https://{domain}"));
    let wait = Wait::new(format!("https://{domain} to answer"), host.patience(SITE)).cancel(&host.cancel);
    match verify::wait_for_site(&record.login, record.https_port, wait) {
        Err(error) if Fault::of(&error).is_some_and(|fault| fault.cause == Cause::Timeout) => {
            host.events.warn(format!("the machine runs, but {error:#}"));
            Ok(())
        }
        waited => waited,
    }
}
