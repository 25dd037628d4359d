//! `provision guests`

use anyhow::Result;
use serde::Serialize;

use super::App;
use crate::guest::{self, Definition};
use crate::report::{self, Output, Paint};

/// The arguments of `guests`: none of its own.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct Args {}

/// The guest definitions.
#[derive(Serialize)]
#[serde(transparent)]
struct Shown(Vec<Guest>);

/// A guest definition.
#[derive(Serialize)]
struct Guest {
    name: String,
    title: String,
}

impl Output for Shown {
    fn text(&self, paint: Paint) -> String {
        let rows: Vec<_> = self
            .0
            .iter()
            .map(|guest| [guest.name.clone(), guest.title.clone()])
            .collect();
        report::table(["GUEST", "TITLE"], &rows, paint)
    }
}

impl Args {
    /// Lists the guest definitions.
    ///
    /// # Errors
    /// When one is wrong.
    #[expect(clippy::unused_self, reason = "every command is run alike")]
    pub fn run(self, app: &App) -> Result<()> {
        let overrides = Some(app.cwd.as_path());
        let guests = guest::names(overrides).into_iter().map(|name| {
            let title = Definition::find(&name, overrides)?.title;
            Ok(Guest { name, title })
        });
        app.reporter.output(&Shown(guests.collect::<Result<_>>()?))
    }
}
