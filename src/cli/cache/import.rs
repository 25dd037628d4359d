//! `provision cache import`

use std::io::{self, IsTerminal as _};
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};

use super::pipe::Piped;
use crate::archive::{self, Received, Receiving, State};
use crate::cancel::Cancel;
use crate::cli::App;
use crate::fault::{Cause, Fault};
use crate::report::{self, Output, Paint};

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
            let stdin = Piped::standard(io::stdin(), &app.cancel).context("reading standard input")?;
            archive::receive(&wanted, stdin).context("importing from standard input")
        } else {
            let file = app.cwd.join(&self.file);
            let open = open(&file, &app.cancel)?;
            archive::receive(&wanted, open).with_context(|| format!("importing {}", file.display()))
        };
        app.reporter.output(&received?)
    }
}

fn open<'a>(file: &std::path::Path, cancel: &'a Cancel) -> Result<Piped<'a>> {
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
    Piped::open(file, cancel).with_context(|| format!("opening {}", file.display()))
}
