//! `provision cache import`

use std::io::{self, IsTerminal as _};
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::archive::{self, Received, Receiving, State};
use crate::cancel::Cancel;
use crate::cli::App;
use crate::fault::{Cause, Fault};
use crate::report::{self, Output, Paint};

/// How long a look at standard input lasts before the user's wish to stop is looked at.
const LOOK: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 50_000_000,
};

/// The arguments of `cache import`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// What `cache export` has written; `-` is standard input
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

impl Output for Received {
    fn text(&self, paint: Paint) -> String {
        let row = |checkpoint: &archive::Checkpoint| {
            let state = match checkpoint.state {
                State::There => "was here already".to_owned(),
                State::Imported => paint.green("imported"),
            };
            let key = checkpoint.key.get(..12).unwrap_or(&checkpoint.key);
            [checkpoint.stage.to_string(), key.to_owned(), state]
        };
        let rows: Vec<_> = self.checkpoints.iter().map(row).collect();
        report::table(["STAGE", "KEY", "STATE"], &rows, paint)
    }
}

impl Args {
    /// Puts the checkpoint into the cache.
    ///
    /// # Errors
    /// When the file is damaged or of another version, does not fit what is here, or space is short.
    pub fn run(&self, app: &App) -> Result<()> {
        let wanted = Receiving {
            paths: &app.paths,
            events: &app.events,
            cancel: &app.cancel,
        };
        let received = if self.file.as_os_str() == "-" {
            if io::stdin().is_terminal() {
                bail!(Fault::new(Cause::Usage, "standard input is a terminal").hint("name a file, or pipe one in"));
            }
            archive::receive(&wanted, Piped(&app.cancel)).context("importing from standard input")
        } else {
            let file = app.cwd.join(&self.file);
            let open = open(&file)?;
            archive::receive(&wanted, open).with_context(|| format!("importing {}", file.display()))
        };
        app.reporter.output(&received?)
    }
}

/// Standard input, for as long as nobody asks to stop: the system goes on with a read that a signal interrupts
/// (`SA_RESTART`), and whoever is to write may never do.
struct Piped<'a>(&'a Cancel);

impl io::Read for Piped<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let stdin = io::stdin();
        loop {
            if self.0.is_raised() {
                return Err(io::Error::other("nobody waits for it any more"));
            }
            match poll(&mut [PollFd::new(&stdin, PollFlags::IN)], Some(&LOOK)) {
                Ok(0) | Err(Errno::INTR) => {}
                Ok(_) => return Ok(rustix::io::read(&stdin, into)?),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn open(file: &std::path::Path) -> Result<std::fs::File> {
    if !file.exists() {
        let message = format!("there is no file {}", file.display());
        bail!(
            Fault::new(Cause::Usage, message)
                .hint("`provision cache export` writes one on the host with the checkpoint")
        );
    }
    if file.is_dir() {
        bail!(Fault::new(Cause::Usage, format!("{} is a folder", file.display())).hint("name the file in it"));
    }
    std::fs::File::open(file).with_context(|| format!("opening {}", file.display()))
}
