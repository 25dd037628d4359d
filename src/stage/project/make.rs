//! Runs `make` and decides when it is done.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::super::booted::Log;
use super::super::{Host, Work};
use super::diagnosis::{Diagnosis, Said};
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

/// How often `make` is run again for a folder that was not there: a project has one for each of its volumes, and none
/// has more than a few.
const FOLDERS: usize = 8;

/// Runs `make` until it returns, or until it is silent while the site answers. Where it fails because a volume's
/// folder is not there, the folder is made and `make` is run again: a third of all projects leave that to their user.
pub fn run(host: &Host, work: &Work, session: &mut Session, site: &Site, input: &Input) -> Result<()> {
    let mut made = Vec::new();
    loop {
        let (what, tail, diagnosis) = match attempt(host, work, session, site, input)? {
            Outcome::Done => return Ok(()),
            Outcome::Failed { what, tail, diagnosis } => (what, tail, diagnosis),
        };
        match diagnosis {
            Some(Diagnosis::NoFolder(folder)) if may_make(&folder, site) && !made.contains(&folder) => {
                host.events.warn(format!(
                    "the project does not make {folder}, which a volume is bound to; it was made, and make is run again"
                ));
                make_folder(host, session, &folder)?;
                made.push(folder);
                if made.len() < FOLDERS {
                    continue;
                }
                return Err(failure(work, &what, &tail, None));
            }
            diagnosis => return Err(failure(work, &what, &tail, diagnosis)),
        }
    }
}

/// How one `make` ended.
enum Outcome {
    /// What it was to do is done.
    Done,
    /// It failed.
    Failed {
        what: String,
        tail: String,
        diagnosis: Option<Diagnosis>,
    },
}

fn attempt(host: &Host, work: &Work, session: &mut Session, site: &Site, input: &Input) -> Result<Outcome> {
    let command = command(input.target.as_deref())?;
    let limit = input.make_timeout.unwrap_or_else(|| host.patience(LIMIT));
    host.events
        .step(Stage::Project, format!("running make as {}", site.login));
    let mut log = Log::new(host, work, Stage::Project)?;
    let mut said = Said::default();
    let watch = Watch::default();
    let ran = std::thread::scope(|scope| {
        scope.spawn(|| watch.until_over(host, site));
        let ran = session.exec(
            &Exec::new(command).limit(limit).cancel(&watch.give_up),
            None,
            &mut |stream, line| {
                watch.heard();
                said.line(line);
                log.line(stream, line);
            },
        );
        watch.over.store(true, Ordering::SeqCst);
        ran
    });
    host.cancel.check()?;
    let what = match ran {
        Ok(0) => return Ok(Outcome::Done),
        Err(_) if watch.give_up.is_raised() => {
            host.events.warn(
                "make does not return, but the site answers: it seems to start the services in the foreground; it is \
                 not waited for any longer",
            );
            return Ok(Outcome::Done);
        }
        Ok(status) => format!("make failed with exit code {status}"),
        Err(error) if Fault::of(&error).is_some_and(|f| f.cause == Cause::Timeout) => {
            let limit = humantime::format_duration(Duration::from_secs(limit.as_secs()));
            format!("make did not return within {limit} (`--make-timeout` changes that)")
        }
        Err(error) => return Err(error),
    };
    Ok(Outcome::Failed {
        what,
        tail: log.tail(),
        diagnosis: said.diagnosis(),
    })
}

/// Whether a folder is one that provision may make: below the data folder of the site's user, and nowhere else.
fn may_make(folder: &str, site: &Site) -> bool {
    let data = format!("/home/{}/data/", site.login);
    folder.starts_with(&data) && !folder.split('/').any(|part| part == "..")
}

fn make_folder(host: &Host, session: &mut Session, folder: &str) -> Result<()> {
    let quoted = shlex::try_quote(folder).context("quoting the folder of a volume")?;
    let job = Exec::new(format!("mkdir -p -- {quoted}"))
        .limit(host.patience(60))
        .cancel(&host.cancel);
    let mut said = String::new();
    match session.exec(&job, None, &mut |_, line| said += line)? {
        0 => Ok(()),
        _ => bail!(Fault::new(
            Cause::Guest,
            format!("making {folder} in the guest: {said}")
        )),
    }
}

fn failure(work: &Work, what: &str, tail: &str, diagnosis: Option<Diagnosis>) -> anyhow::Error {
    let look = format!(
        "the machine was kept: `provision ssh --name {}`, then `cd {GUEST_DIR} && make`",
        work.machine
    );
    let (because, hint) = match diagnosis {
        Some(Diagnosis::Mend { what, hint }) => (format!(": {what}"), format!("{hint}\n{look}")),
        Some(Diagnosis::NoFolder(folder)) => (
            format!(": the folder {folder}, which a volume is bound to, is not there"),
            format!("let the Makefile make it\n{look}"),
        ),
        None => (String::new(), look),
    };
    Fault::new(Cause::Make, format!("{what}{because}; its last lines:\n{tail}"))
        .hint(hint)
        .into()
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
    use crate::config::Login;

    #[test]
    fn folders_are_made_below_the_data_folder_only() {
        let login = Login::try_from("jdoe".to_owned()).unwrap();
        let site = Site {
            login: &login,
            https_port: 443,
        };
        for (folder, may) in [
            ("/home/jdoe/data/mariadb", true),
            ("/home/jdoe/data/../../other", false),
            ("/home/other/data/mariadb", false),
            ("/etc/data", false),
        ] {
            assert_eq!(may_make(folder, &site), may, "{folder}");
        }
    }

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
