//! Runs `make` and decides when it is done.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::super::booted::Log;
use super::super::{Host, Work};
use super::{GUEST_DIR, Input, Site};
use crate::cancel::Cancel;
use crate::event::Stage;
use crate::fault::{Cause, Fault};
use crate::ssh::{Exec, Session};
use crate::verify;
use crate::wait::Wait;

/// How long `make` may take on a real machine unless the user says otherwise.
const LIMIT: u64 = 3600;

/// How long, on a real machine, `make` may be silent while the site answers already: one that starts its services in
/// the foreground never returns, and what counts is what runs.
const QUIET: u64 = 60;

/// How long, on a real machine, the site may take to answer then.
const LOOK: u64 = 2;

/// Runs `make` until it returns, or until it is silent while the site answers.
pub fn run(host: &Host, work: &Work, session: &mut Session, site: &Site, input: &Input) -> Result<()> {
    let command = command(input.target.as_deref())?;
    let limit = input.make_timeout.unwrap_or_else(|| host.patience(LIMIT));
    host.events
        .step(Stage::Project, format!("running make as {}", site.login));
    let mut log = Log::new(host, work, Stage::Project)?;
    let watch = Watch::default();
    let ran = std::thread::scope(|scope| {
        scope.spawn(|| watch.until_over(host, site));
        let ran = session.exec(
            &Exec::new(command).limit(limit).cancel(&watch.give_up),
            None,
            &mut |stream, line| {
                watch.heard();
                log.line(stream, line);
            },
        );
        watch.over.store(true, Ordering::SeqCst);
        ran
    });
    host.cancel.check()?;
    let what = match ran {
        Ok(0) => return Ok(()),
        Err(_) if watch.give_up.is_raised() => {
            host.events.warn(
                "make does not return, but the site answers: it seems to start the services in the foreground; it is \
                 not waited for any longer",
            );
            return Ok(());
        }
        Ok(status) => format!("make failed with exit code {status}"),
        Err(error) if Fault::of(&error).is_some_and(|f| f.cause == Cause::Timeout) => {
            let limit = humantime::format_duration(Duration::from_secs(limit.as_secs()));
            format!("make did not return within {limit} (`--make-timeout` changes that)")
        }
        Err(error) => return Err(error),
    };
    Err(
        Fault::new(Cause::Make, format!("{what}; its last lines:\n{}", log.tail()))
            .hint(format!(
                "the machine was kept: `provision ssh --name {}`, then `cd {GUEST_DIR} && make`",
                work.machine
            ))
            .into(),
    )
}

/// Looks, beside a running `make`, whether it is still needed.
struct Watch {
    /// When `make` last printed something.
    last: Mutex<Instant>,
    /// Whether `make` has ended.
    over: AtomicBool,
    /// Ends the wait for `make`.
    give_up: Cancel,
}

impl Default for Watch {
    fn default() -> Self {
        Self {
            last: Mutex::new(Instant::now()),
            over: AtomicBool::new(false),
            give_up: Cancel::default(),
        }
    }
}

impl Watch {
    fn heard(&self) {
        if let Ok(mut last) = self.last.lock() {
            *last = Instant::now();
        }
    }

    fn quiet_for(&self) -> Duration {
        self.last.lock().map_or(Duration::ZERO, |last| last.elapsed())
    }

    /// Gives `make` up when the user asks to stop, or when it is silent while the site answers; returns once it is
    /// over.
    fn until_over(&self, host: &Host, site: &Site) {
        let quiet = host.patience(QUIET);
        let waited = Wait::new("make to return", Duration::MAX)
            .cancel(&host.cancel)
            .until(|| {
                if self.over.load(Ordering::SeqCst) {
                    return Ok(Some(false));
                }
                if self.quiet_for() < quiet {
                    return Ok(None);
                }
                // It is not asked again until there was some more silence.
                self.heard();
                let look = Wait::new("the site to answer", host.patience(LOOK)).cancel(&host.cancel);
                let answers = verify::wait_for_site(site.login, site.https_port, look).is_ok();
                Ok(answers.then_some(true))
            });
        if !matches!(waited, Ok(false)) {
            self.give_up.raise();
        }
    }
}

/// `make` in a login shell, whatever the shell: many projects read `$USER` and `$HOME`.
fn command(target: Option<&str>) -> Result<String> {
    let mut make = format!("cd ~/{GUEST_DIR} && exec make");
    for word in target.unwrap_or_default().split_whitespace() {
        make.push(' ');
        make += &shlex::try_quote(word).context("quoting the make target")?;
    }
    let quoted = shlex::try_quote(&make).context("quoting the make target")?.into_owned();
    Ok(format!("exec \"$SHELL\" -l -c {quoted}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn make_runs_in_a_login_shell() {
        let table = [
            (None, "exec \"$SHELL\" -l -c 'cd ~/inception && exec make'"),
            (Some("up"), "exec \"$SHELL\" -l -c 'cd ~/inception && exec make up'"),
            (
                Some("up; reboot"),
                "exec \"$SHELL\" -l -c \"cd ~/inception && exec make 'up;' reboot\"",
            ),
        ];
        for (target, line) in table {
            assert_eq!(command(target).unwrap(), line);
        }
    }
}
