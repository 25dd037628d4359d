//! Waits until the site answers and checks the running machine against the rule catalogue.

use anyhow::Result;

use super::Host;
use crate::config::Login;
use crate::event::Stage;
use crate::fault::{Cause, Fault};
use crate::ssh::Session;
use crate::verify::{self, CheckResult, Context};
use crate::wait::Wait;

use super::project::GUEST_DIR;

/// How long, on a real machine, the site may take: many projects download and install themselves when their
/// containers start, minutes after `make` returned.
const SITE: u64 = 600;

/// Runs the checks; each is told as an event.
///
/// # Errors
/// A [`Cause::Verify`] fault that names the rules that do not hold.
pub fn run(host: &Host, session: &mut Session, login: &Login, https_port: u16) -> Result<()> {
    host.events
        .step(Stage::Verify, format!("waiting for https://{}", login.domain()));
    let wait = Wait::new(format!("https://{} to answer", login.domain()), host.patience(SITE))
        .cancel(&host.cancel)
        .hint("`provision ssh -- docker ps -a` and `provision logs` show the services");
    let waited = verify::wait_for_site(login, https_port, wait);
    // Whatever else ended the wait: the rules look again, and say more than "it does not answer".
    if let Err(error) = &waited
        && Fault::of(error).is_some_and(|fault| fault.cause == Cause::Interrupted)
    {
        return waited;
    }
    let mut context = Context {
        login,
        https_port,
        session,
        project: GUEST_DIR,
        cancel: &host.cancel,
    };
    judge(&verify::run(&mut context, &host.events)?)
}

/// The rules decide, `site` among them: it may have come up just after the wait for it ended.
fn judge(results: &[CheckResult]) -> Result<()> {
    let failed = results.iter().filter(|result| !result.passed);
    let failed: Vec<&str> = failed.map(|result| result.rule).collect();
    if failed.is_empty() {
        return Ok(());
    }
    Err(Fault::new(
        Cause::Verify,
        format!("the machine runs, but these checks failed: {}", failed.join(", ")),
    )
    .hint("`provision ssh` leads into the machine; `provision create` checks again")
    .into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rules_decide_whatever_became_of_the_wait() {
        let result = |rule, passed| CheckResult {
            rule,
            passed,
            detail: String::new(),
        };
        judge(&[result("site", true), result("volumes", true)]).unwrap();
        let error = judge(&[result("site", false), result("volumes", true)]).unwrap_err();
        let fault = Fault::of(&error).unwrap();
        assert_eq!(fault.cause, Cause::Verify);
        assert!(fault.message.ends_with("failed: site"), "{fault}");
    }
}
