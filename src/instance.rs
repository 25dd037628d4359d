//! The folder of one machine.
//!
//! ```text
//! machines/NAME/machine.json    the record: what it is made of, its ports, where its disk is
//! machines/NAME/manifest.json   what it was made from, in every detail
//! machines/NAME/timings.json    what the run that made it so took
//! machines/NAME/lock            held while a command changes the machine
//! machines/NAME/disk*.qcow2     what the machine wrote since `create`; an overlay on the last checkpoint (QEMU), or
//! machines/NAME/virtualbox/     the same as a linked clone (VirtualBox)
//! machines/NAME/moments/        moments that are kept, with memory or without
//! machines/NAME/identity/       the key pairs and the password of its login (0600)
//! machines/NAME/run/            QEMU's socket, PID, message log and the console of the last start
//! machines/NAME/work/STAGE/     a stage being run: its disk and logs; gone when it is done
//! machines/NAME/logs/STAGE/     what a stage's last run left: console, installer's log, output
//! machines/NAME/failure-TIME/   the same and more of a run that failed
//! ```

mod failure;
mod provenance;
mod timings;
mod users;

pub use failure::{bundle, copy_logs};
pub use users::register;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use fs_err as fs;
use serde::{Deserialize, Serialize};

use crate::changes::{Changes, Real};
use crate::checkpoint::Base;
use crate::config::{AcceleratorChoice, Login, MachineName, Ports};
use crate::event::Stage;
use crate::fault::{Cause, Fault};
use crate::lock::Lock;
use crate::machine::accelerator::Accelerator;
use crate::machine::driver::{Home, Hypervisor};
use crate::paths::Paths;
use crate::process::table;

const RECORD: &str = "machine.json";
const LOCK: &str = "lock";

/// How the last `create` went. Whether there is a machine to start is another question: see [`Record::layer`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "phase", content = "stage")]
pub enum Phase {
    /// It works on this stage, failed there or was interrupted; the machine is still as the one before left it.
    Building(Stage),
    /// This stage failed and its machine was kept as it was.
    Failed(Stage),
    /// It made the machine whole.
    Made,
}

/// What is remembered of a machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The guest's user.
    pub login: Login,
    /// The guest definition.
    pub guest: String,
    /// When `create` was first run for it.
    pub made: jiff::Timestamp,
    /// How far it is.
    #[serde(flatten)]
    pub phase: Phase,
    /// The checkpoint under its disk; `None` while it was never made whole.
    pub layer: Option<Base>,
    /// The checkpoint on which the stage of `phase` works or was kept.
    #[serde(default)]
    pub work_layer: Option<Base>,
    /// What tells its disk from every other that it has had: random, as two may lie on the same checkpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_id: Option<String>,
    /// Whether nobody but the run that made its disk has worked in it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub untouched: bool,
    /// Whether its disk came from an image: it lies on no checkpoint, and its guest is handed this host's keys.
    #[serde(default)]
    pub imported: bool,
    /// The port on 127.0.0.1 that leads to the guest's 443.
    pub https_port: u16,
    /// The port on 127.0.0.1 that leads to the guest's 22.
    pub ssh_port: u16,
    /// The ports that the user insists on.
    #[serde(default)]
    pub wanted_ports: Ports,
    /// Virtual CPUs.
    pub cpus: u32,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Which program runs it.
    #[serde(default)]
    pub machine: Hypervisor,
    /// What of QEMU ran it last.
    pub accelerator: Option<Accelerator>,
    /// What the user wants to run it.
    #[serde(default)]
    pub wish: AcceleratorChoice,
    /// The project folder on the host.
    pub project: PathBuf,
    /// The kept moment, by its folder's name, whose disk the machine is about to get.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restoring: Option<String>,
}

impl Record {
    /// What runs it, for a person.
    pub fn runs_on(&self) -> String {
        let accelerator = self.accelerator.map(|accelerator| format!(", {}", accelerator.title()));
        format!("{}{}", self.machine.title(), accelerator.unwrap_or_default())
    }
}

/// A machine's folder.
#[derive(Debug, Clone)]
pub struct Instance {
    /// Its name.
    pub name: MachineName,
    dir: PathBuf,
}

impl Instance {
    /// The machine `name`, there or not.
    pub fn new(paths: &Paths, name: &MachineName) -> Self {
        Self {
            name: name.clone(),
            dir: paths.machines.join(name.as_str()),
        }
    }

    /// Every machine of this user, by name.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn all(paths: &Paths) -> Result<Vec<Self>> {
        let entries = match fs::read_dir(&paths.machines) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut all = Vec::new();
        for entry in entries {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if let Ok(name) = MachineName::try_from(name) {
                let instance = Self::new(paths, &name);
                // A folder that may not be looked into may be a machine's.
                let is_closed = |error: std::io::Error| error.kind() == std::io::ErrorKind::PermissionDenied;
                if instance.dir.join(RECORD).try_exists().unwrap_or_else(is_closed) {
                    all.push(instance);
                }
            }
        }
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }

    /// Every machine that uses the cache of `paths`: those of this data folder, and of every other one that was used
    /// with this cache and is still there.
    ///
    /// # Errors
    /// When a folder cannot be read.
    pub fn all_of_cache(paths: &Paths) -> Result<Vec<Self>> {
        let mut folders = users::folders(&paths.cache)?;
        folders.insert(paths.machines.clone());
        let mut all = Vec::new();
        for machines in folders {
            let cache = paths.cache.clone();
            all.extend(Self::all(&Paths { cache, machines })?);
        }
        Ok(all)
    }

    /// Its folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where the machine that the user works with lies and runs.
    pub fn home(&self) -> Home {
        Home {
            folder: self.dir.clone(),
            run_dir: self.run_dir(),
        }
    }

    /// Its disk.
    pub fn disk(&self) -> PathBuf {
        self.home().disk()
    }

    /// The key pairs and the password of its login.
    pub fn identity(&self) -> PathBuf {
        self.dir.join("identity")
    }

    /// Where the machine that the user works with runs.
    pub fn run_dir(&self) -> PathBuf {
        self.dir.join("run")
    }

    /// Where the work of a stage lies while it runs.
    pub fn work_dir(&self, stage: Stage) -> PathBuf {
        self.dir.join("work").join(stage.name())
    }

    /// What the last run of a stage left.
    pub fn logs(&self, stage: Stage) -> PathBuf {
        self.dir.join("logs").join(stage.name())
    }

    /// Keeps other commands from changing the machine.
    ///
    /// # Errors
    /// A [`Cause::Busy`] fault when another command is at it.
    pub fn lock(&self) -> Result<Lock> {
        private_folder(&self.dir)?;
        let lock = Lock::take_unless_held(&self.dir.join(LOCK))?;
        lock.with_context(|| self.busy())
    }

    /// Whether another command changes the machine now.
    pub fn is_busy(&self) -> bool {
        Lock::is_held(&self.dir.join(LOCK))
    }

    /// That another command is at it.
    pub fn busy(&self) -> Fault {
        Fault::new(
            Cause::Busy,
            format!("another provision command works on the machine {}", self.name),
        )
        .hint("wait for it to end, or make another machine with `--name NAME`")
    }

    /// The same for a machine that must be there, with what is remembered of it under the lock: another command may have
    /// changed or removed it until then.
    ///
    /// # Errors
    /// A [`Cause::Usage`] fault when it is not there, a [`Cause::Busy`] fault when another command is at it.
    pub fn lock_made(&self) -> Result<(Lock, Record)> {
        // Nothing is made where there is no machine.
        self.require()?;
        self.lock_seen()
    }

    /// The same for a machine that is to be removed: nothing need be known of it.
    ///
    /// # Errors
    /// As [`Instance::lock_made`], but not when the record cannot be read.
    pub fn lock_even_damaged(&self) -> Result<(Lock, Option<Record>)> {
        if let Ok(record) = self.record() {
            record.with_context(|| self.none())?;
        }
        let lock = self.lock()?;
        match self.record() {
            Ok(Some(record)) => Ok((lock, Some(record))),
            Err(_) => Ok((lock, None)),
            Ok(None) => {
                drop(lock);
                self.remove_empty()?;
                Err(self.none().into())
            }
        }
    }

    /// The same for a machine that was there a moment ago.
    fn lock_seen(&self) -> Result<(Lock, Record)> {
        let lock = self.lock()?;
        if let Some(record) = self.record()? {
            return Ok((lock, record));
        }
        drop(lock);
        self.remove_empty()?;
        Err(self.none().into())
    }

    /// Removes the folder that locking made where no machine came of it, unless somebody else is at it by now.
    ///
    /// # Errors
    /// When it cannot be read or removed.
    pub fn remove_empty(&self) -> Result<()> {
        let file = self.dir.join(LOCK);
        let Some(_lock) = Lock::try_take(&file)? else {
            return Ok(());
        };
        let is_lock = |entry: std::io::Result<fs::DirEntry>| entry.is_ok_and(|it| it.file_name() == LOCK);
        if fs::read_dir(&self.dir)?.all(is_lock) {
            fs::remove_file(file)?;
            fs::remove_dir(&self.dir)?;
        }
        Ok(())
    }

    /// What is remembered of it; `None` if it was never made.
    ///
    /// # Errors
    /// When the record cannot be read.
    pub fn record(&self) -> Result<Option<Record>> {
        let file = self.dir.join(RECORD);
        let bytes = match fs::read(&file) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        let record = serde_json::from_slice(&bytes);
        record.with_context(|| {
            let message = format!("the machine {} is damaged: reading {}", self.name, file.display());
            Fault::new(Cause::Other, message).hint(format!(
                "`provision destroy --name {}` removes it with all data in it",
                self.name
            ))
        })
    }

    /// The record of a machine that must be there.
    ///
    /// # Errors
    /// A [`Cause::Usage`] fault when it is not.
    pub fn require(&self) -> Result<Record> {
        self.record()?.with_context(|| self.none())
    }

    /// That it is not there.
    pub fn none(&self) -> Fault {
        Fault::new(Cause::Usage, format!("there is no machine {}", self.name))
            .hint("`provision list` names the machines of this host; `provision create` makes one")
    }

    /// Remembers `record`.
    ///
    /// # Errors
    /// When it cannot be written; the former one stays then.
    pub fn remember(&self, record: &Record) -> Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(&self.dir).context("writing the machine's record")?;
        serde_json::to_writer_pretty(&mut file, record)?;
        file.as_file().sync_all()?;
        file.persist(self.dir.join(RECORD))
            .context("writing the machine's record")?;
        Ok(())
    }

    /// Where the machine that would be running now lies and runs: the user's, or that of a stage that failed and was
    /// kept.
    pub fn live(&self, record: &Record) -> Home {
        match record.phase {
            Phase::Failed(stage) => Home::of_stage(&self.work_dir(stage)),
            _ => self.home(),
        }
    }

    /// Whether it runs.
    pub fn runs(&self, record: &Record) -> bool {
        self.live(record).runs()
    }

    /// Ends and removes what an interrupted or failed stage left. The caller holds the lock.
    ///
    /// # Errors
    /// When something cannot be ended or removed.
    pub fn clear_work(&self) -> Result<()> {
        self.clear_work_but(None)
    }

    /// The same, but for `stage`, which is at work.
    ///
    /// # Errors
    /// When something cannot be ended or removed.
    pub fn clear_work_but(&self, stage: Option<Stage>) -> Result<()> {
        let work = self.dir.join("work");
        if !work.exists() {
            return Ok(());
        }
        for entry in fs::read_dir(work)? {
            let dir = entry?.path();
            if stage.is_none_or(|stage| dir != self.work_dir(stage)) {
                Home::of_stage(&dir).remove()?;
                fs::remove_dir_all(&dir)?;
            }
        }
        Ok(())
    }

    /// Makes the folder in which `stage` works, empty.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn new_work_dir(&self, stage: Stage) -> Result<PathBuf> {
        let dir = self.work_dir(stage);
        if dir.exists() {
            Home::of_stage(&dir).remove()?;
            fs::remove_dir_all(&dir)?;
        }
        fs::create_dir_all(&dir)?;
        Ok(dir)
    }

    /// Removes the machine: ends what runs, then the folder. The caller holds the lock.
    ///
    /// # Errors
    /// When something cannot be ended or removed.
    pub fn destroy(&self) -> Result<()> {
        let context = || format!("removing the machine {}", self.name);
        self.home().remove()?;
        self.clear_work()?;
        // Of such a process neither socket nor PID is left.
        for runner in table::runners_in(&self.dir) {
            runner.kill().with_context(context)?;
        }
        // The record goes last: what was interrupted is still a machine that can be destroyed.
        let changes: &dyn Changes = &Real;
        for entry in fs::read_dir(&self.dir)? {
            let path = entry?.path();
            if !path.ends_with(RECORD) && !path.ends_with(LOCK) {
                changes.remove_tree(&path).with_context(context)?;
            }
        }
        changes.remove_tree(&self.dir.join(RECORD)).with_context(context)?;
        changes.remove_tree(&self.dir).with_context(context)
    }
}

/// Makes a folder that only the user may enter: it holds keys and disks.
fn private_folder(dir: &Path) -> Result<()> {
    use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt};
    if let Some(parent) = dir.parent() {
        fs::create_dir_all(parent)?;
    }
    match std::fs::DirBuilder::new().mode(0o700).create(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            Err(error).with_context(|| format!("making the folder {}", dir.display()))
        }
        _ => Ok(fs::set_permissions(dir, PermissionsExt::from_mode(0o700))?),
    }
}

#[cfg(test)]
mod tests;
