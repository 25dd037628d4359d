//! `provision status`

use anyhow::Result;
use serde::Serialize;

use super::{App, Machine};
use crate::checkpoint::Store;
use crate::instance::{Instance, Phase, Record};
use crate::report::{Output, Paint};

/// The arguments of `status`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Show what it was made from: the ISO and who signed it, checkpoints and their inputs, packages, images
    #[arg(long)]
    pub manifest: bool,
    /// Show where the time went: what each stage took and, inside it, each part; of a stage that was taken from the
    /// cache, what it took when its checkpoint was made
    #[arg(long, conflicts_with = "manifest")]
    pub timings: bool,
    /// Which machine.
    #[command(flatten)]
    pub machine: Machine,
}

/// It can be worked with.
const RUNNING: &str = "running";

/// It does not run, and a command is at it: most often the `create` that makes it.
const BUSY: &str = "busy";

/// Nobody is at it.
const STOPPED: &str = "stopped";

/// A machine as it is shown, here and by `list`.
#[derive(Serialize)]
pub(super) struct Shown {
    pub(super) name: String,
    /// [`RUNNING`], [`BUSY`] or [`STOPPED`].
    pub(super) state: &'static str,
    #[serde(flatten)]
    pub(super) record: Record,
    pub(super) folder: std::path::PathBuf,
}

impl Shown {
    pub(super) fn new(instance: &Instance, record: Record) -> Self {
        Self {
            name: instance.name.to_string(),
            state: if instance.runs(&record) {
                RUNNING
            } else if instance.is_busy() {
                BUSY
            } else {
                STOPPED
            },
            folder: instance.dir().to_owned(),
            record,
        }
    }

    /// How far it is, in words.
    pub(super) fn phase(&self) -> String {
        match self.record.phase {
            Phase::Made => "made".into(),
            Phase::Building(stage) if self.state == BUSY => format!("at {stage}"),
            Phase::Building(stage) => format!("unfinished: {stage}"),
            Phase::Failed(stage) => format!("{stage} failed"),
        }
    }
}

impl Output for Shown {
    fn text(&self, paint: Paint) -> String {
        let Record {
            login,
            guest,
            https_port,
            ssh_port,
            cpus,
            memory_mib,
            ..
        } = &self.record;
        let port = |port: &u16| match port {
            0 => "no port yet".to_owned(),
            port => format!("port {port} on 127.0.0.1"),
        };
        let layer = self.record.layer.as_ref().map_or("-", |base| base.key.short());
        [
            format!("{} is {} ({})", paint.bold(&self.name), self.state, self.phase()),
            format!("login       {login}"),
            format!("site        https://{} ({})", login.domain(), port(https_port)),
            format!("ssh         {}", port(ssh_port)),
            format!(
                "guest       {guest}, {cpus} CPUs, {memory_mib} MiB, {}",
                self.record.runs_on()
            ),
            format!("checkpoint  {layer}"),
            if self.record.imported {
                format!("image       {}", self.record.project.display())
            } else {
                format!("project     {}", self.record.project.display())
            },
            format!("folder      {}", self.folder.display()),
        ]
        .join("\n")
    }
}

impl Args {
    /// Shows one machine.
    ///
    /// # Errors
    /// When there is none.
    pub fn run(&self, app: &App) -> Result<()> {
        let instance = app.instance(&self.machine)?;
        let record = instance.require()?;
        if self.manifest {
            return app.reporter.output(&instance.provenance(&record)?);
        }
        if self.timings {
            return app
                .reporter
                .output(&instance.timings(&record, &Store::at(&app.paths.cache))?);
        }
        app.reporter.output(&Shown::new(&instance, record))
    }
}
