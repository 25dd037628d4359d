//! `provision logs`

use std::io::Read as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};
use fs_err as fs;
use rustix::event::{PollFd, PollFlags, Timespec};

use super::{App, Machine};
use crate::event::{Stage, Stream};
use crate::fault::{Cause, Fault};
use crate::instance::Instance;
use crate::report;
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
        instance.require()?;
        let files = self.files(&instance);
        if files.is_empty() {
            bail!(
                Fault::new(Cause::Usage, "nothing was logged").hint(
                    "a stage that was taken from the cache leaves no log; `provision plan` tells which would run"
                )
            );
        }
        app.reporter.end();
        self.print(app, &files).or_else(report::quietly)
    }

    fn print(&self, app: &App, files: &[PathBuf]) -> Result<()> {
        let mut last = 0;
        for file in files {
            report::relay(Stream::Stderr, format!("==> {} <==\n", file.display()).as_bytes())?;
            let bytes = fs::read(file)?;
            last = bytes.len() as u64;
            report::relay(Stream::Stdout, &bytes)?;
        }
        match files.last() {
            Some(file) if self.follow => follow(app, file, last),
            _ => Ok(()),
        }
    }

    /// The files that are there: of a stage that runs now from its work folder, of the others from where they are kept.
    fn files(&self, instance: &Instance) -> Vec<PathBuf> {
        let stages = self.stage.map_or_else(|| Stage::ALL.to_vec(), |stage| vec![stage]);
        let folders = stages.into_iter().map(|stage| match stage {
            Stage::Verify => instance.run_dir(),
            _ if instance.work_dir(stage).exists() => instance.work_dir(stage),
            _ => instance.logs(stage),
        });
        let files = folders.flat_map(|folder| LOGS.map(|name| folder.join(name)));
        files
            .filter(|file| fs::metadata(file).is_ok_and(|data| data.len() > 0))
            .collect()
    }
}

/// Prints what is added to `file` after its first `from` bytes, until Ctrl-C or until nobody reads it.
fn follow(app: &App, file: &std::path::Path, from: u64) -> Result<()> {
    use std::io::{Seek as _, SeekFrom};
    let mut open = fs::File::open(file)?;
    open.seek(SeekFrom::Start(from))?;
    Wait::new("more of the log", PATIENCE).cancel(&app.cancel).until(|| {
        let mut bytes = Vec::new();
        open.read_to_end(&mut bytes)?;
        report::relay(Stream::Stdout, &bytes)?;
        Ok(nobody_reads().then_some(()))
    })
}

/// Whether standard output leads to a pipe that nobody reads. A write would tell too, but a log may grow no more.
fn nobody_reads() -> bool {
    let stdout = std::io::stdout();
    let mut fds = [PollFd::new(&stdout, PollFlags::empty())];
    // What cannot be polled is no such pipe.
    let polled = rustix::event::poll(&mut fds, Some(&Timespec::default()));
    polled.is_ok() && fds[0].revents().contains(PollFlags::ERR)
}
