//! What every command has at hand.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;

use super::{Machine, Settings};
use crate::cancel::Cancel;
use crate::config::{self, AcceleratorChoice, Config, MachineChoice};
use crate::event::Events;
use crate::guest;
use crate::instance::{Instance, Record};
use crate::kept::{self, Keeper};
use crate::machine::driver::Hypervisor;
use crate::machine::engine::{self, Engine};
use crate::machine::qemu::arguments::Size;
use crate::paths::Paths;
use crate::pins::{self, Lock};
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
    /// When the program is missing, too old, or cannot do what the user asks.
    pub fn host(&self, program: MachineChoice, wish: AcceleratorChoice, size: Size) -> Result<Host> {
        let chosen = engine::choose(program, wish, &self.paths.cache, &self.cancel)?;
        if let Some(because) = &chosen.because {
            self.events.note(format!(
                "the processor is emulated ({because}): everything works, but slowly"
            ));
        }
        Ok(self.host_with(chosen.engine, size))
    }

    /// Which program the configuration's machine should run under: one that is made stays with its own unless the user
    /// names another.
    ///
    /// # Errors
    /// When the machine's record cannot be read.
    pub fn program(&self, config: &Config) -> Result<MachineChoice> {
        let made = Instance::new(&self.paths, &config.name).record()?;
        let made = made.filter(|record| record.layer.is_some());
        Ok(match (config.machine.program, made) {
            (MachineChoice::Auto, Some(record)) => record.machine.choice(),
            (wish, _) => wish,
        })
    }

    /// Which program `create` would take.
    ///
    /// # Errors
    /// When the machine's record cannot be read.
    pub fn hypervisor(&self, config: &Config) -> Result<Hypervisor> {
        let (program, wish) = (self.program(config)?, config.machine.accelerator);
        Ok(engine::planned(program, wish, &self.paths.cache, &self.cancel))
    }

    /// What guests fetch through while a stage works. Online a machine is made without it rather than not at all.
    ///
    /// # Errors
    /// Without a network, when it cannot be started.
    pub fn keeper(&self, config: &Config, offline: bool) -> Result<Option<Arc<Keeper>>> {
        let store = kept::Store::new(&self.paths.cache);
        let start = if offline { Keeper::offline } else { Keeper::online };
        match start(store, &config.docker, &config.network, &self.events) {
            Ok(keeper) => Ok(Some(Arc::new(keeper))),
            Err(error) if offline => Err(error),
            Err(error) => {
                self.events.warn(format!(
                    "what guests fetch is not kept, and `--offline` will miss it: {error:#}"
                ));
                Ok(None)
            }
        }
    }

    /// How the configuration's machine is started on this host, and what its guest fetches through.
    ///
    /// # Errors
    /// When the program is missing, too old, or cannot do what the user asks.
    pub fn host_for(&self, config: &Config, offline: bool) -> Result<Host> {
        let size = Size {
            cpus: config.machine.cpus,
            memory_mib: config.machine.memory_mib,
        };
        Ok(Host {
            stall_timeout: config.machine.stall_timeout,
            keeper: self.keeper(config, offline)?,
            ..self.host(self.program(config)?, config.machine.accelerator, size)?
        })
    }

    /// Where the lock of the configuration file that counts lies: beside it.
    pub fn lock_path(&self, asked: Option<&Path>) -> PathBuf {
        let file = asked.map_or_else(|| self.cwd.join(config::FILE_NAME), |path| self.cwd.join(path));
        file.with_file_name(pins::FILE_NAME)
    }

    /// The lock of the configuration file that counts.
    ///
    /// # Errors
    /// When there is none, or it cannot be understood.
    pub fn lock(&self, settings: &Settings) -> Result<Lock> {
        Lock::read(&self.lock_path(settings.config.as_deref()))
    }

    fn host_with(&self, engine: Engine, size: Size) -> Host {
        Host {
            engine,
            size,
            stall_timeout: None,
            events: self.events.clone(),
            cancel: self.cancel.clone(),
            keeper: None,
        }
    }

    /// How the machine of `record` is started on this host: as fast as this host can now, which may be another way than
    /// the last time.
    ///
    /// # Errors
    /// When its program is missing or too old.
    pub fn host_of(&self, record: &Record) -> Result<Host> {
        let size = Size {
            cpus: record.cpus,
            memory_mib: record.memory_mib,
        };
        let chosen = engine::choose(record.machine.choice(), record.wish, &self.paths.cache, &self.cancel)?;
        Ok(self.host_with(chosen.engine, size))
    }
}
