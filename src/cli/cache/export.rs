//! `provision cache export`

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use bytesize::ByteSize;

use super::pipe::Piped;
use crate::archive::{self, Sending, Sent};
use crate::checkpoint::{Layer, Store};
use crate::cli::{App, Settings, rebuild};
use crate::config::Config;
use crate::event::Stage;
use crate::fault::{Cause, Fault};
use crate::instance::Instance;
use crate::pipeline;
use crate::plan::making::Makings;
use crate::project;
use crate::report::{Output, Paint};

/// The arguments of `cache export`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Where to; `-` is standard output
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Whose checkpoint: install, docker, account or project
    #[arg(long, value_name = "STAGE", value_parser = rebuild::stage(), default_value = Stage::Docker.name())]
    pub stage: Stage,
    /// Carry the memory that docker and account keep, too: the stage that follows goes on from it instead of booting, if QEMU
    /// and the processor are the same there. It is about half of the file
    #[arg(long)]
    pub with_memory: bool,
    /// Replace what is there
    #[arg(short, long)]
    pub force: bool,
    /// Flags and variables.
    #[command(flatten)]
    pub settings: Settings,
}

impl Output for Sent {
    fn text(&self, paint: Paint) -> String {
        let size = |bytes| ByteSize::b(bytes).display().iec().to_string();
        let file = self.file.as_deref().unwrap_or(Path::new("-")).display();
        let (packed, data) = (size(self.bytes.unwrap_or_default()), size(self.data_bytes));
        let stage = self.stage;
        format!(
            "file        {}\ncheckpoint  {stage} {}\nsize        {packed} ({data} of data)",
            paint.bold(file),
            self.key.get(..12).unwrap_or(&self.key)
        )
    }
}

impl Args {
    /// Writes the file.
    ///
    /// # Errors
    /// When there is no such checkpoint, it is damaged or cannot be carried, the file exists, or space is short.
    pub fn run(&self, app: &App) -> Result<()> {
        let to_stdout = self.file.as_os_str() == "-";
        if to_stdout {
            refuse_stdout(app)?;
        }
        let config = app.config(&self.settings)?;
        let store = Store::open(&app.paths.cache)?;
        let _share = store.share(&app.cancel, || {
            app.events.note("another provision removes checkpoints; waiting for it");
        })?;
        let layer = find(app, &config, &store, self.stage)?;
        let digest = store.installed_from(&layer.manifest.base);
        let digest = digest.context("a checkpoint begins with an ISO")?.digest;
        let wanted = Sending {
            layer: &layer,
            store: &store,
            memory: self.with_memory,
            release: pipeline::release_of(&config, &app.paths, &digest)?,
            paths: &app.paths,
            events: &app.events,
            cancel: &app.cancel,
        };
        if wanted.release.is_none() && config.iso.is_none() {
            app.events.warn(
                "a newer point release than this machine's is known: a host that has no machine of the older one will not use \
                 the checkpoint",
            );
        }
        if to_stdout {
            let stdout = Piped::standard(std::io::stdout(), &app.cancel).context("writing to standard output")?;
            // An interruption comes as an error of writing.
            let sent = archive::send(&wanted, stdout).or_else(|error| app.cancel.check().and(Err(error)));
            return sent.map(drop);
        }
        let sent = archive::send_file(&wanted, &app.cwd.join(&self.file), self.force)?;
        if let Some(file) = sent
            .file
            .as_ref()
            .filter(|file| project::sends(&config.project.dir, file))
        {
            app.events.warn(format!(
                "{} lies in the project folder and will be sent with it: list it in .provisionignore, or move it",
                file.display()
            ));
        }
        app.reporter.output(&sent)
    }
}

fn refuse_stdout(app: &App) -> Result<()> {
    if app.reporter.is_json() {
        bail!(
            Fault::new(Cause::Usage, "`--json` and `-` both want standard output")
                .hint("name a file, or leave `--json` out")
        );
    }
    if std::io::stdout().is_terminal() {
        bail!(Fault::new(Cause::Usage, "standard output is a terminal").hint("name a file, or pipe it into a program"));
    }
    Ok(())
}

/// The checkpoint that `create` would take for `stage`.
fn find(app: &App, config: &Config, store: &Store, stage: Stage) -> Result<Layer> {
    let machine = Instance::new(&app.paths, &config.name).record()?;
    let made = machine.and_then(|record| Some((record.guest, record.layer.or(record.work_layer)?)));
    let pinned = made.as_ref().filter(|(guest, _)| *guest == config.guest);
    let pinned = pinned.and_then(|(_, layer)| store.installed_from(layer));
    let features = app.hypervisor(config)?.driver().features();
    let makings = Makings::of(store, made.as_ref().map(|(_, layer)| layer));
    let foreseen = pipeline::plan_offline(config, features, &app.paths, pinned.as_ref(), &makings, &app.cancel)?;
    let planned = foreseen
        .iter()
        .flat_map(|foreseen| &foreseen.plan.stages)
        .find(|planned| planned.stage == stage);
    let layer = planned.and_then(|planned| store.get(&planned.key));
    layer.with_context(|| {
        let message = format!("there is no checkpoint of the stage {stage} that fits this configuration");
        Fault::new(Cause::Usage, message).hint("`provision create` makes it; `provision plan` says what is missing")
    })
}
