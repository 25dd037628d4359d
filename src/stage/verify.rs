//! Waits until the site answers and checks the running machine against the rule catalogue.

use anyhow::Result;

use super::Host;
use super::booted::Start;
use crate::config::Login;
use crate::event::Stage;
use crate::fault::{Cause, Fault};
use crate::ssh::{Exec, Session};
use crate::verify::{self, CheckResult, Context};
use crate::wait::Wait;

use super::project::GUEST_DIR;

/// How long, on a real machine, the site may take: many projects download and install themselves when their
/// containers start, minutes after `make` returned.
const SITE: u64 = 600;

/// A running machine.
pub struct Machine<'a> {
    /// Its name.
    pub name: &'a str,
    /// The guest's user.
    pub login: &'a Login,
    /// The port on 127.0.0.1 that leads to the guest's 443.
    pub https_port: u16,
    /// How it came to run.
    pub start: Start,
}

/// How long, on a real machine, Docker may take to answer.
const ASK: u64 = 60;

/// Runs the checks; each is told as an event.
///
/// # Errors
/// A [`Cause::Verify`] fault that names the rules that do not hold.
pub fn run(host: &Host, session: &mut Session, machine: &Machine<'_>) -> Result<()> {
    let Machine {
        name,
        login,
        https_port,
        start,
    } = *machine;
    match start {
        Start::Before => {}
        Start::Booted => start_what_stayed_down(host, session)?,
        Start::FromMemory => warn_of_what_will_stay_down(host, session)?,
    }
    host.events
        .step(Stage::Verify, format!("waiting for https://{}", login.domain()));
    let wait = Wait::new(format!("https://{} to answer", login.domain()), host.patience(SITE))
        .cancel(&host.cancel)
        .hint(format!(
            "`provision ssh --name {name} -- docker ps -a` shows the services"
        ));
    let waited = verify::wait_for_site(login, https_port, wait);
    // Whatever else ended the wait: the rules look again, and say more than "it does not answer".
    if let Err(error) = &waited
        && Fault::is_stop(error)
    {
        return waited;
    }
    host.events.step(Stage::Verify, "checking the machine");
    let mut context = Context {
        login,
        https_port,
        session,
        project: GUEST_DIR,
        cancel: &host.cancel,
    };
    judge(name, &verify::run(&mut context, &host.events)?)
}

/// Starts the containers that did not start with the machine: those without a restart policy, for which the project's
/// users run `make` again. Docker answers once it has started those that have one.
fn start_what_stayed_down(host: &Host, session: &mut Session) -> Result<()> {
    let job = |command: String| Exec::new(command).limit(host.patience(ASK)).cancel(&host.cancel);
    // What `compose run` did once is done.
    let filters = "--filter label=com.docker.compose.oneoff=False --filter status=exited";
    let down = session.read(&job(format!("docker ps --all {filters} --format '{{{{.Names}}}}'")))?;
    let down: Vec<&str> = down.split_whitespace().collect();
    if down.is_empty() {
        return Ok(());
    }
    host.events.warn(format!(
        "{} did not start with the machine (no `restart:` policy?) and is started now",
        down.join(", ")
    ));
    // One that does not start is for the checks to judge.
    let start = format!("docker start {}", crate::ssh::quote(&down)?);
    session
        .exec(&job(start), None, &mut |_, line| host.events.detail(line))
        .map(drop)
}

/// What each container that compose made does when its machine starts, and its name, a line each.
const POLICIES: &str = "docker ps --quiet --filter label=com.docker.compose.project | xargs --no-run-if-empty \
                        docker inspect --format '{{.HostConfig.RestartPolicy.Name}} {{.Name}}'";

/// Tells which containers will not start with the machine, which has not booted since they were made.
fn warn_of_what_will_stay_down(host: &Host, session: &mut Session) -> Result<()> {
    let job = Exec::new(POLICIES).limit(host.patience(ASK)).cancel(&host.cancel);
    // A container may go between the two questions.
    let told = match session.read(&job) {
        Err(error) if Fault::is_stop(&error) => return Err(error),
        told => told.unwrap_or_default(),
    };
    let down = without_policy(&told);
    if !down.is_empty() {
        host.events.warn(format!(
            "{} will not start with the machine (no `restart:` policy): after `provision stop` and `provision start` its \
             `make` has to run again",
            down.join(", ")
        ));
    }
    Ok(())
}

/// The containers that no policy starts with the engine, of [`POLICIES`]: `on-failure` does not either (docs.docker.com, "Start
/// containers automatically").
fn without_policy(told: &str) -> Vec<&str> {
    let pairs = told.lines().filter_map(|line| line.split_once(" /"));
    let without = pairs.filter(|(policy, _)| matches!(*policy, "" | "no" | "on-failure"));
    without.map(|(_, name)| name).collect()
}

/// The rules decide, `site` among them: it may have come up just after the wait for it ended.
fn judge(name: &str, results: &[CheckResult]) -> Result<()> {
    let failed = results.iter().filter(|result| !result.passed);
    let failed: Vec<&str> = failed.map(|result| result.rule).collect();
    if failed.is_empty() {
        return Ok(());
    }
    Err(Fault::new(
        Cause::Verify,
        format!("the machine runs, but these checks failed: {}", failed.join(", ")),
    )
    .hint(format!(
        "`provision ssh --name {name}` leads into the machine; the same command checks again"
    ))
    .into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_without_a_policy_are_named() {
        let told = "always /nginx\nno /wordpress\nunless-stopped /redis\n /mariadb\non-failure /ftp\n";
        assert_eq!(without_policy(told), ["wordpress", "mariadb", "ftp"]);
        assert!(without_policy("").is_empty());
    }

    #[test]
    fn the_rules_decide_whatever_became_of_the_wait() {
        let result = |rule, passed| CheckResult {
            rule,
            passed,
            detail: String::new(),
        };
        judge("eval", &[result("site", true), result("volumes", true)]).unwrap();
        let error = judge("eval", &[result("site", false), result("volumes", true)]).unwrap_err();
        let fault = Fault::of(&error).unwrap();
        assert_eq!(fault.cause, Cause::Verify);
        assert!(fault.message.ends_with("failed: site"), "{fault}");
    }
}
