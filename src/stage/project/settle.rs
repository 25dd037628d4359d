//! Waits for what `make` started: many projects download and install themselves when their containers first start,
//! minutes after `make` returned. A checkpoint taken before would hold a half of that.

use anyhow::Result;

use super::super::Host;
use super::Site;
use crate::event::Stage;
use crate::fault::{Cause, Fault};
use crate::ssh::{Exec, Session};
use crate::verify;
use crate::wait::Wait;

/// How long, on a real machine, the site's first start may take.
const FIRST_START: u64 = 300;

/// How long, on a real machine, Docker may take to list its containers.
const ASK: u64 = 60;

/// Waits until the site answers; a project that publishes no site is not waited for.
///
/// # Errors
/// When the user interrupts or the guest is lost. A site that does not come is for the checks to judge.
pub fn wait(host: &Host, session: &mut Session, site: &Site) -> Result<()> {
    let ask = Exec::new("docker ps --quiet --filter publish=443")
        .limit(host.patience(ASK))
        .cancel(&host.cancel);
    if session.read(&ask)?.trim().is_empty() {
        host.events.warn("nothing that make started has port 443 open");
        return Ok(());
    }
    host.events.step(Stage::Project, "waiting for the site's first start");
    let wait = Wait::new("the site's first start", host.patience(FIRST_START)).cancel(&host.cancel);
    match verify::wait_for_site(site.login, site.https_port, wait) {
        Err(error) if Fault::of(&error).is_some_and(|fault| fault.cause == Cause::Timeout) => {
            host.events.warn(format!("{error:#}"));
            Ok(())
        }
        waited => waited,
    }
}
