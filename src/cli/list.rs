//! `provision list`

use std::io::ErrorKind;
use std::path::PathBuf;

use anyhow::Result;
use serde::Serialize;

use super::App;
use super::status::Shown;
use crate::fault::Fault;
use crate::instance::Instance;
use crate::report::{self, Output, Paint};

/// The arguments of `list`: none of its own.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct Args {}

/// The machines of this host.
#[derive(Serialize)]
#[serde(transparent)]
struct Listed(Vec<Line>);

/// A machine, as far as it is known.
#[derive(Serialize)]
#[serde(untagged)]
enum Line {
    Known(Box<Shown>),
    Damaged(Damaged),
}

/// A machine whose record cannot be read.
#[derive(Serialize)]
struct Damaged {
    name: String,
    state: &'static str,
    folder: PathBuf,
}

impl Output for Listed {
    fn text(&self, paint: Paint) -> String {
        let port = |port: u16| if port == 0 { "-".to_owned() } else { port.to_string() };
        let row = |line: &Line| match line {
            Line::Known(shown) => [
                shown.name.clone(),
                shown.state.to_owned(),
                shown.phase(),
                shown.record.guest.clone(),
                port(shown.record.https_port),
                port(shown.record.ssh_port),
            ],
            Line::Damaged(damaged) => {
                let unknown = || "-".to_owned();
                [
                    damaged.name.clone(),
                    damaged.state.to_owned(),
                    unknown(),
                    unknown(),
                    unknown(),
                    unknown(),
                ]
            }
        };
        let rows: Vec<_> = self.0.iter().map(row).collect();
        report::table(["NAME", "STATE", "PHASE", "GUEST", "HTTPS", "SSH"], &rows, paint)
    }
}

impl Args {
    /// Lists the machines.
    ///
    /// # Errors
    /// When the folder of machines cannot be read.
    #[expect(clippy::unused_self, reason = "every command is run alike")]
    pub fn run(self, app: &App) -> Result<()> {
        let mut listed = Vec::new();
        for instance in Instance::all(&app.paths)? {
            match instance.record() {
                Ok(None) => {}
                Ok(Some(record)) => listed.push(Line::Known(Box::new(Shown::new(&instance, record)))),
                Err(error) => {
                    // One of somebody else may be sound.
                    let is_closed = Fault::system(&error) == Some(ErrorKind::PermissionDenied);
                    let state = if is_closed {
                        app.events.warn(format!("{error:#}"));
                        "closed"
                    } else {
                        app.events.warn(format!("{error:#}; `provision destroy` removes it"));
                        "damaged"
                    };
                    listed.push(Line::Damaged(Damaged {
                        name: instance.name.to_string(),
                        state,
                        folder: instance.dir().to_owned(),
                    }));
                }
            }
        }
        app.reporter.output(&Listed(listed))
    }
}
