//! What every command has at hand.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::{Machine, Settings};
use crate::cancel::Cancel;
use crate::config::{self, AcceleratorChoice, Config};
use crate::event::Events;
use crate::guest;
use crate::host;
use crate::instance::{Instance, Record};
use crate::machine::accelerator::Accelerator;
use crate::machine::qemu::arguments::Size;
use crate::machine::qemu::choose;
use crate::paths::Paths;
use crate::report::Reporter;
use crate::stage::Host;

/// The program's surroundings, set up once.
pub struct App {
    /// Where things are kept.
    pub paths: Paths,
    /// The folder from which the program was started.
    pub cwd: PathBuf,
    /// Whether the user asked to stop.
    pub cancel: Cancel,
    /// Where events go.
    pub events: Events,
    /// Shows events, results and the error.
    pub reporter: Reporter,
}

impl App {
    /// The whole configuration.
    ///
    /// # Errors
    /// All that is wrong with it at once.
    pub fn config(&self, settings: &Settings) -> Result<Config> {
        let file = settings.config.as_deref().and_then(Path::parent);
        let dir = file.map_or_else(|| self.cwd.clone(), |dir| self.cwd.join(dir));
        config::load(settings, &self.cwd, &guest::names(Some(&dir)))
    }

    /// The machine that a command is about; it need not have been made.
    ///
    /// # Errors
    /// When it cannot be told which.
    pub fn instance(&self, machine: &Machine) -> Result<Instance> {
        let existing: Vec<_> = Instance::all(&self.paths)?
            .into_iter()
            .map(|instance| instance.name)
            .collect();
        let name = machine.choose(&self.cwd, &existing)?;
        Ok(Instance::new(&self.paths, &name))
    }

    /// How machines of the given size are started on this host. Emulation is said aloud.
    ///
    /// # Errors
    /// When QEMU is missing, too old, or cannot do what the user asks.
    pub fn host(&self, wish: AcceleratorChoice, size: Size) -> Result<Host> {
        let (host, because) = self.host_for(wish, size)?;
        if let (Accelerator::Tcg, Some(because)) = (host.accelerator, because) {
            self.events.note(format!(
                "the processor is emulated ({because}): everything works, but slowly; a first `create` takes about \
                 15 minutes on two cores"
            ));
        }
        Ok(host)
    }

    /// The host, and why nothing faster than emulation is used.
    fn host_for(&self, wish: AcceleratorChoice, size: Size) -> Result<(Host, Option<String>)> {
        let (qemu, version) = host::qemu(&self.cancel)?;
        let chosen = choose::choose(wish, &qemu, &version, &self.paths.cache, &self.cancel)?;
        let host = Host {
            qemu,
            accelerator: chosen.accelerator,
            size,
            stall_timeout: None,
            events: self.events.clone(),
            cancel: self.cancel.clone(),
        };
        Ok((host, chosen.because))
    }

    /// How the machine of `record` is started on this host: as fast as this host can now, which may be another way than
    /// the last time.
    ///
    /// # Errors
    /// When QEMU is missing or too old.
    pub fn host_of(&self, record: &Record) -> Result<Host> {
        let size = Size {
            cpus: record.cpus,
            memory_mib: record.memory_mib,
        };
        self.host_for(record.wish, size).map(|(host, _)| host)
    }
}
