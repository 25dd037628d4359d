//! `provision snapshots`

use anyhow::Result;
use bytesize::ByteSize;
use serde::Serialize;

use super::{App, Machine};
use crate::moments::{self, Kept};
use crate::report::{self, Output, Paint};

/// The arguments of `snapshots`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Which machine.
    #[command(flatten)]
    pub machine: Machine,
}

/// A snapshot as it is shown.
#[derive(Serialize)]
struct Shown {
    name: String,
    kept: jiff::Timestamp,
    /// Whether the machine ran.
    ran: bool,
    /// Whether its memory was kept.
    memory: bool,
    /// What it takes beside the disks.
    bytes: u64,
}

impl Shown {
    fn new(kept: &Kept) -> Self {
        Self {
            name: kept.folder.clone(),
            kept: kept.manifest.kept,
            ran: kept.manifest.ran,
            memory: kept.manifest.memory,
            bytes: kept.size(),
        }
    }

    const fn of(&self) -> &'static str {
        match (self.memory, self.ran) {
            (true, _) => "memory and disk",
            (false, true) => "disk, while it ran",
            (false, false) => "disk, while it was off",
        }
    }
}

/// The snapshots of a machine.
#[derive(Serialize)]
#[serde(transparent)]
struct Listed(Vec<Shown>);

impl Output for Listed {
    fn text(&self, paint: Paint) -> String {
        let row = |shown: &Shown| {
            let kept = shown.kept.to_zoned(jiff::tz::TimeZone::system());
            [
                shown.name.clone(),
                kept.strftime("%Y-%m-%d %H:%M:%S").to_string(),
                shown.of().to_owned(),
                ByteSize(shown.bytes).to_string(),
            ]
        };
        let rows: Vec<_> = self.0.iter().map(row).collect();
        report::table(["SNAPSHOT", "KEPT", "OF", "SIZE"], &rows, paint)
    }
}

impl Args {
    /// Lists the user's snapshots.
    ///
    /// # Errors
    /// When there is no such machine, or a snapshot cannot be read.
    pub fn run(&self, app: &App) -> Result<()> {
        let instance = app.instance(&self.machine)?;
        instance.require()?;
        let all = moments::all(&instance)?;
        let shown = all.iter().filter(|kept| !kept.is_created()).map(Shown::new);
        app.reporter.output(&Listed(shown.collect()))
    }
}
