//! `provision export`

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use bytesize::ByteSize;

use super::{App, Machine};
use crate::checkpoint::Store;
use crate::config::{AcceleratorChoice, MachineChoice};
use crate::export::{self, Export, Exported, Format, Source};
use crate::fault::{Cause, Fault};
use crate::host;
use crate::instance::{Instance, Record};
use crate::project;
use crate::report::{Output, Paint};

/// The arguments of `export`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// What to write
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub format: Format,
    /// Where to [default: NAME with the format's ending, here]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Export this checkpoint instead of the machine as it is: install, docker, account, project, or the beginning of a key
    /// that `provision cache ls` shows
    #[arg(long, value_name = "STAGE|KEY")]
    pub checkpoint: Option<String>,
    /// Make it fit to hand out: boots a copy, removes the tool's keys, host keys, machine ID, logs and caches, and gives the
    /// user a new password, which is shown at the end. The project's own secrets stay
    #[arg(long)]
    pub seal: bool,
    /// Replace what is there
    #[arg(short, long)]
    pub force: bool,
    /// Under which name the cluster will find a containerdisk, for its manifest: REGISTRY/IMAGE:TAG
    #[arg(long, value_name = "IMAGE", value_parser = export::image_name)]
    pub image: Option<String>,
    /// Which machine.
    #[command(flatten)]
    pub machine: Machine,
}

impl Output for Exported {
    fn text(&self, paint: Paint) -> String {
        let size = |bytes| ByteSize::b(bytes).display().iec().to_string();
        let mut lines = vec![
            format!("image     {}", paint.bold(self.file.display())),
            format!("size      {} (a disk of {})", size(self.bytes), size(self.disk_bytes)),
        ];
        if let Some(manifest) = &self.manifest {
            lines.push(format!("manifest  {}", manifest.display()));
        }
        if let (Some(login), Some(password)) = (&self.login, &self.password) {
            lines.push(format!("login     {login}, at the console: SSH takes keys only"));
            lines.push(format!("password  {password}"));
        }
        lines.join("\n")
    }
}

impl Args {
    /// Writes the image.
    ///
    /// # Errors
    /// When the machine runs, the output exists, space is short, or writing fails.
    pub fn run(&self, app: &App) -> Result<()> {
        if self.image.is_some() && self.format != Format::Containerdisk {
            let message = format!(
                "--image: an export as {} has no manifest to name an image in",
                self.format.title()
            );
            bail!(Fault::new(Cause::Usage, message).hint("leave it out, or export with `--format containerdisk`"));
        }
        host::require(&app.cancel)?;
        let store = Store::open(&app.paths.cache)?;
        let _share = store.share(&app.cancel, || {
            app.events.note("another provision removes checkpoints; waiting for it");
        })?;
        let (_lock, machine) = if self.checkpoint.is_some() {
            (None, self.machine(app)?)
        } else {
            let instance = app.instance(&self.machine)?;
            let (lock, record) = instance.lock_made()?;
            (Some(lock), Some((instance, record)))
        };
        let of = machine.as_ref().map(|(instance, record)| (instance, record));
        let source = match (&self.checkpoint, of) {
            (Some(wanted), of) => Source::checkpoint(wanted, of, &store, &app.paths)?,
            (None, Some((instance, record))) => Source::machine(instance, record, &store)?,
            (None, None) => return app.instance(&self.machine)?.require().map(drop),
        };
        let name = self.format.file_name(&source.name);
        let host = if self.seal {
            let wish = of.map_or(AcceleratorChoice::default(), |(_, record)| record.wish);
            // A copy of the disk is sealed, which QEMU boots whatever ran the machine.
            Some(app.host(MachineChoice::Qemu, wish, source.size)?)
        } else {
            None
        };
        let exported = export::export(&Export {
            source: &source,
            format: self.format,
            output: &self.output.clone().unwrap_or_else(|| app.cwd.join(name)),
            force: self.force,
            seal: host.as_ref(),
            image: self.image.as_deref(),
            paths: &app.paths,
            events: &app.events,
            cancel: &app.cancel,
        })?;
        if !exported.sealed {
            app.events.warn(
                "the image has the machine's own keys: whoever gets it can pass for this machine, and this host's keys open \
                 it; `--seal` makes one to hand out",
            );
        }
        warn_of_project(app, of.map(|(_, record)| record), &exported.file);
        app.reporter.output(&exported)
    }

    /// The machine that is meant; a checkpoint needs none.
    fn machine(&self, app: &App) -> Result<Option<(Instance, Record)>> {
        let instance = match app.instance(&self.machine) {
            Err(_) if self.machine.name.is_none() => return Ok(None),
            instance => instance?,
        };
        let record = instance.record()?;
        Ok(record.map(|record| (instance, record)))
    }
}

/// Tells that an image lies where the next `create` takes it for a part of the project.
fn warn_of_project(app: &App, record: Option<&Record>, image: &Path) {
    let project = record.filter(|record| !record.imported).map(|record| &record.project);
    if project.is_some_and(|project| project::sends(project, image)) {
        app.events.warn(format!(
            "{} lies in the project folder and will be sent with it: list it in .provisionignore, or move it",
            image.display()
        ));
    }
}
