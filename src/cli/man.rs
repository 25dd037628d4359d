//! `provision man`

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::{Command, CommandFactory as _};
use clap_mangen::Man;
use fs_err as fs;
use serde::Serialize;

use super::{App, Cli};
use crate::report::{Output, Paint};

/// The arguments of `man`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Write provision.1 and a page for each command into this folder, as ~/.local/share/man/man1
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    pub output: Option<PathBuf>,
}

/// The page of `provision` itself, in roff.
#[derive(Serialize)]
struct Page {
    page: String,
}

impl Output for Page {
    fn text(&self, _: Paint) -> String {
        self.page.clone()
    }
}

/// What was written.
#[derive(Serialize)]
struct Written {
    folder: PathBuf,
    pages: Vec<String>,
}

impl Output for Written {
    fn text(&self, _: Paint) -> String {
        format!("{} pages in {}", self.pages.len(), self.folder.display())
    }
}

impl Args {
    /// Prints a page, or writes all of them.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn run(&self, app: &App) -> Result<()> {
        let pages = pages()?;
        let Some(folder) = &self.output else {
            let page = pages.into_iter().next().map(|(_, text)| text).unwrap_or_default();
            return app.reporter.output(&Page { page });
        };
        let folder = app.cwd.join(folder);
        write(&folder, &pages).context("writing the manual pages")?;
        app.reporter.output(&Written {
            folder,
            pages: pages.into_iter().map(|(name, _)| name).collect(),
        })
    }
}

fn write(folder: &Path, pages: &[(String, String)]) -> Result<()> {
    fs::create_dir_all(folder)?;
    for (name, text) in pages {
        fs::write(folder.join(name), text)?;
    }
    Ok(())
}

/// Every page by its file's name, that of the program first.
fn pages() -> Result<Vec<(String, String)>> {
    let mut command = Cli::command().disable_help_subcommand(true);
    // Names of pages and of commands in their text are made while building.
    command.build();
    let mut pages = Vec::new();
    add(&command, &mut pages)?;
    Ok(pages)
}

fn add(command: &Command, pages: &mut Vec<(String, String)>) -> Result<()> {
    let source = concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION"));
    let man = Man::new(command.clone()).source(source);
    let mut text = Vec::new();
    let name = man.get_filename();
    man.render(&mut text).with_context(|| format!("rendering {name}"))?;
    pages.push((name, String::from_utf8(text)?));
    let mut shown = command.get_subcommands().filter(|command| !command.is_hide_set());
    shown.try_for_each(|command| add(command, pages))
}
