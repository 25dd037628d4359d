//! `provision logs`

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};
use fs_err as fs;
use rustix::event::{PollFd, PollFlags, Timespec};
use serde::Serialize;

use super::{App, Machine};
use crate::cancel::Cancel;
use crate::event::{Stage, Stream};
use crate::fault::{Cause, Fault};
use crate::instance::Instance;
use crate::report::{self, Output, Paint};
use crate::wait::Wait;

/// The logs of a stage, in the order in which they are shown.
const LOGS: [&str; 3] = ["console.log", "installer.log", "output.log"];

/// Nothing may come for as long as the user likes to look.
const PATIENCE: Duration = Duration::from_secs(365 * 24 * 3600);

/// The arguments of `logs`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Which machine.
    #[command(flatten)]
    pub machine: Machine,
    /// Only the log of this stage [default: all, in order]
    #[arg(long, value_enum, value_name = "STAGE")]
    pub stage: Option<Stage>,
    /// Go on showing what is added, until Ctrl-C
    #[arg(short, long)]
    pub follow: bool,
}

impl Args {
    /// Prints the logs.
    ///
    /// # Errors
    /// When there is no such machine, or nothing was logged.
    pub fn run(&self, app: &App) -> Result<()> {
        let instance = app.instance(&self.machine)?;
        let record = instance.require()?;
        let files = self.files(&instance);
        // A console that is followed may say something yet.
        let says = |log: &Log| self.follow || fs::metadata(&log.file).is_ok_and(|data| data.len() > 0);
        if !files.iter().any(says) {
            let failure = instance.failures()?.pop();
            let hint = failure.map_or_else(
                || {
                    if record.imported || record.layer.is_some() {
                        why(instance.name.as_str(), record.imported)
                    } else {
                        instance.to_be_made()
                    }
                },
                |dir| format!("what happened when it failed last is in {}", dir.display()),
            );
            bail!(Fault::new(Cause::Usage, "nothing was logged").hint(hint));
        }
        app.reporter.end();
        let mut shown = Shown::default();
        self.print(app, &instance, &mut shown)
            .and_then(|()| self.follow(app, &instance, &mut shown))
            .or_else(report::quietly)
    }

    /// Prints what has been added to the logs since the last time.
    fn print(&self, app: &App, instance: &Instance, shown: &mut Shown) -> Result<()> {
        for log in self.files(instance) {
            // A stage's log moves when the stage is done; one that is shorter than before is another.
            let from = shown.upto.get(&log.key()).copied().unwrap_or(0);
            let bytes = match fs::read(&log.file) {
                // Its stage has just ended: the next look finds it where it is kept.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                read => read?,
            };
            let from = if from > bytes.len() { 0 } else { from };
            let end = if self.follow && (app.reporter.is_json() || report::is_tamed()) {
                whole_lines(&bytes)
            } else {
                bytes.len()
            };
            if end > from {
                shown.print(app, &log, &bytes[from..end])?;
            }
            shown.upto.insert(log.key(), end.max(from));
        }
        Ok(())
    }

    /// Goes on until Ctrl-C or until nobody reads it, where the user asked for that.
    fn follow(&self, app: &App, instance: &Instance, shown: &mut Shown) -> Result<()> {
        if !self.follow {
            return Ok(());
        }
        let waited = Wait::new("more of the logs", PATIENCE).cancel(&app.cancel).until(|| {
            self.print(app, instance, shown)?;
            Ok(nobody_reads().then_some(()))
        });
        // Ctrl-C is how one stops looking.
        match waited {
            Err(error) if Fault::is_stop(&error) && Fault::exit_code(&error) == Cause::Interrupted.exit_code() => {
                Ok(())
            }
            waited => waited.map_err(|error| Cancel::in_vain(error, "the machine goes on")),
        }
    }

    /// The files that are there: of a stage that runs now from its work folder, of the others from where they are kept.
    fn files(&self, instance: &Instance) -> Vec<Log> {
        let stages = self.stage.map_or_else(|| Stage::ALL.to_vec(), |stage| vec![stage]);
        let logs = stages.into_iter().flat_map(|stage| {
            let folder = match stage {
                Stage::Verify => instance.run_dir(),
                _ if instance.work_dir(stage).exists() => instance.work_dir(stage),
                _ => instance.logs(stage),
            };
            LOGS.map(|name| Log {
                stage,
                name,
                file: folder.join(name),
            })
        });
        logs.filter(|log| fs::metadata(&log.file).is_ok_and(|data| data.len() > 0))
            .collect()
    }
}

/// Why a machine that is made has no log, and what to type.
fn why(name: &str, is_imported: bool) -> String {
    if is_imported {
        return format!("an imported machine logs its console alone: `provision start --name {name}`");
    }
    format!(
        "a stage that was taken from the cache leaves no log, and a machine that goes on from a kept memory says nothing on \
         its console at first; `provision exec --name {name} -- sudo journalctl --boot` shows the guest's own"
    )
}

/// A stage's log.
struct Log {
    stage: Stage,
    name: &'static str,
    file: PathBuf,
}

impl Log {
    fn key(&self) -> (Stage, &'static str) {
        (self.stage, self.name)
    }
}

/// How much of each log has been printed, and which was the last.
#[derive(Default)]
struct Shown {
    upto: BTreeMap<(Stage, &'static str), usize>,
    last: Option<(Stage, &'static str)>,
}

impl Shown {
    fn print(&mut self, app: &App, log: &Log, bytes: &[u8]) -> Result<()> {
        if app.reporter.is_json() {
            let text = String::from_utf8_lossy(bytes);
            let lines = text.lines().map(|line| Line {
                stage: log.stage,
                log: log.name,
                text: line.to_owned(),
            });
            return app.reporter.stream(&Lines(lines.collect()));
        }
        if self.last.replace(log.key()) != Some(log.key()) {
            let title = format!("==> {} <==\n", log.file.display());
            report::relay(Stream::Stderr, title.as_bytes())?;
        }
        report::relay_log(bytes)
    }
}

/// Where the last whole line ends.
fn whole_lines(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1)
}

/// A line for a program.
#[derive(Serialize)]
struct Line {
    stage: Stage,
    log: &'static str,
    text: String,
}

/// Lines for a program; a person sees the bytes as they are.
#[derive(Serialize)]
#[serde(transparent)]
struct Lines(Vec<Line>);

impl Output for Lines {
    fn text(&self, _: Paint) -> String {
        self.0
            .iter()
            .map(|line| line.text.as_str())
            .collect::<Vec<_>>()
            .join("\n")
    }
}

/// Whether standard output leads to a pipe that nobody reads. A write would tell too, but a log may grow no more.
fn nobody_reads() -> bool {
    let stdout = std::io::stdout();
    let mut fds = [PollFd::new(&stdout, PollFlags::empty())];
    // What cannot be polled is no such pipe.
    let polled = rustix::event::poll(&mut fds, Some(&Timespec::default()));
    polled.is_ok() && fds[0].revents().contains(PollFlags::ERR)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_to_type_where_nothing_was_logged_is_what_works_then() {
        let table = [
            (true, "provision start --name m"),
            (false, "provision exec --name m -- sudo journalctl --boot"),
        ];
        for (is_imported, command) in table {
            assert!(why("m", is_imported).contains(command), "{is_imported}");
        }
    }
}
