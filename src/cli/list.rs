//! `provision list`

use anyhow::Result;
use serde::Serialize;

use super::App;
use super::status::Shown;
use crate::instance::Instance;
use crate::report::{self, Output, Paint};

/// The arguments of `list`: none of its own.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct Args {}

/// The machines of this host.
#[derive(Serialize)]
#[serde(transparent)]
struct Listed(Vec<Shown>);

impl Output for Listed {
    fn text(&self, paint: Paint) -> String {
        let row = |shown: &Shown| {
            [
                shown.name.clone(),
                shown.state.to_owned(),
                shown.phase(),
                shown.record.guest.clone(),
                shown.record.https_port.to_string(),
                shown.record.ssh_port.to_string(),
            ]
        };
        let rows: Vec<_> = self.0.iter().map(row).collect();
        report::table(["NAME", "STATE", "PHASE", "GUEST", "HTTPS", "SSH"], &rows, paint)
    }
}

impl Args {
    /// Lists the machines.
    ///
    /// # Errors
    /// When a record cannot be read.
    #[expect(clippy::unused_self, reason = "every command is run alike")]
    pub fn run(self, app: &App) -> Result<()> {
        let mut listed = Vec::new();
        for instance in Instance::all(&app.paths)? {
            if let Some(record) = instance.record()? {
                listed.push(Shown::new(&instance, record));
            }
        }
        app.reporter.output(&Listed(listed))
    }
}
