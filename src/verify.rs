//! The rules that a running machine must keep, as a catalogue. A new rule is a new line in [`RULES`].

mod containers;
mod docker;
mod http;
mod site;
#[cfg(test)]
mod testing;
mod tls;
mod volumes;

use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

use anyhow::{Result, bail};

pub use site::wait_for_site;

use crate::cancel::Cancel;
use crate::config::Login;
use crate::event::{Event, Events};
use crate::fault::Fault;
use crate::ssh::{Exec, Session};

/// How long a question to the guest may take; an emulated one under load is slow.
const GUEST: Duration = Duration::from_secs(180);

/// How long a look at a request lasts before the user's wish to stop is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// What the rules look at.
pub struct Context<'a> {
    /// The guest's user, who names the site.
    pub login: &'a Login,
    /// The port on 127.0.0.1 that leads to the guest's 443.
    pub https_port: u16,
    /// A session of that user.
    pub session: &'a mut Session,
    /// The project's folder in the user's home.
    pub project: &'a str,
    /// Whether the user asked to stop.
    pub cancel: &'a Cancel,
}

impl Context<'_> {
    /// The standard output of a command in the guest's project folder.
    fn ask(&mut self, command: &str) -> Result<String> {
        let command = format!("cd ~/{} && {command}", self.project);
        self.session.read(&Exec::new(command).limit(GUEST).cancel(self.cancel))
    }

    /// A look at the site, which may stay silent for a minute and cannot be broken off: it has a thread of its own,
    /// which is left to its time-out when the user asks to stop.
    fn look<F>(&self, look: F) -> Result<Verdict>
    where
        F: FnOnce(&Login, u16) -> Result<Verdict> + Send + 'static,
    {
        let (login, port) = (self.login.clone(), self.https_port);
        let (to, from) = sync_channel(1);
        std::thread::spawn(move || drop(to.send(look(&login, port))));
        loop {
            match from.recv_timeout(LOOK) {
                Ok(verdict) => return verdict,
                Err(RecvTimeoutError::Timeout) => self.cancel.check()?,
                Err(RecvTimeoutError::Disconnected) => bail!("the look at it failed"),
            }
        }
    }
}

/// A rule of the catalogue.
pub struct Rule {
    /// Its name, as events and `--json` show it.
    pub id: &'static str,
    /// What it demands, for a person.
    pub title: &'static str,
    check: fn(&mut Context<'_>) -> Result<Verdict>,
}

/// Whether a rule holds, and what was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Verdict {
    Holds(String),
    Broken(String),
}

/// What became of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckResult {
    /// The rule's name.
    pub rule: &'static str,
    /// Whether it holds.
    pub passed: bool,
    /// What was demanded and what was seen.
    pub detail: String,
}

/// Every rule, in the order in which they are checked: first as the site's users see it, then inside.
pub const RULES: &[Rule] = &[
    Rule {
        id: "site",
        title: "the site answers by HTTPS with a page of its own",
        check: |context| context.look(site::check),
    },
    Rule {
        id: "tls-1.2",
        title: "port 443 takes TLS 1.2",
        check: |context| context.look(|login, port| tls::accepted(login, port, tls::Version::Tls12)),
    },
    Rule {
        id: "tls-1.3",
        title: "port 443 takes TLS 1.3",
        check: |context| context.look(|login, port| tls::accepted(login, port, tls::Version::Tls13)),
    },
    Rule {
        id: "tls-1.1-refused",
        title: "port 443 refuses TLS 1.1",
        check: |context| context.look(|login, port| tls::refused(login, port, tls::Version::Tls11)),
    },
    Rule {
        id: "http-refused",
        title: "port 80 refuses connections",
        check: http::check,
    },
    Rule {
        id: "services-running",
        title: "every compose service runs",
        check: containers::check,
    },
    Rule {
        id: "volumes",
        title: "database and site lie in volumes under /home/LOGIN/data",
        check: volumes::check,
    },
];

/// Checks every rule, also after one that is broken, and tells each as an event.
///
/// # Errors
/// Only an interruption: a rule that cannot be checked does not hold.
pub fn run(context: &mut Context<'_>, events: &Events) -> Result<Vec<CheckResult>> {
    RULES
        .iter()
        .map(|rule| {
            let result = rule.apply(context)?;
            events.emit(Event::Check {
                rule: result.rule.to_owned(),
                passed: result.passed,
                detail: result.detail.clone(),
            });
            Ok(result)
        })
        .collect()
}

impl Rule {
    fn apply(&self, context: &mut Context<'_>) -> Result<CheckResult> {
        context.cancel.check()?;
        let (passed, seen) = match (self.check)(context) {
            Ok(Verdict::Holds(seen)) => (true, seen),
            Ok(Verdict::Broken(seen)) => (false, seen),
            Err(error) if Fault::is_stop(&error) => {
                return Err(error);
            }
            Err(error) => (false, format!("it could not be checked: {error:#}")),
        };
        Ok(CheckResult {
            rule: self.id,
            passed,
            detail: format!("{}: {seen}", self.title),
        })
    }
}

#[cfg(test)]
mod tests;
