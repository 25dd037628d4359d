//! What is left in the folders of machines.

use std::path::Path;

use anyhow::Result;
use fs_err as fs;

use super::{Search, entries, is_half_identity, is_temporary};
use crate::config::MachineName;
use crate::event::Stage;
use crate::instance::{Instance, Phase, Record};
use crate::machine::driver::Home;
use crate::moments;
use crate::process::table;

/// What a folder of a machine that was never made may hold.
const BEGUN: [&str; 5] = ["lock", "work", "run", "logs", "identity"];

impl Search<'_> {
    /// Every folder of a machine on which no command works.
    pub(super) fn machines(&mut self) -> Result<()> {
        let machines = self.paths.machines.clone();
        let mut is_held = Vec::new();
        for dir in entries(&machines)? {
            let name = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let Ok(name) = MachineName::try_from(name) else {
                continue;
            };
            let instance = Instance::new(self.paths, &name);
            // Whatever this program makes there has a lock; a folder of somebody else's gets none.
            if !dir.join("lock").is_file() {
                continue;
            }
            match instance.lock() {
                Ok(_lock) => self.machine(&instance)?,
                Err(_) => is_held.push(dir),
            }
        }
        // A machine whose folder was removed from under it.
        let lost = table::runners_in(&machines).into_iter().filter(|runner| {
            let is_held = is_held.iter().any(|dir| runner.folder.starts_with(dir));
            !is_held && !runner.folder.exists()
        });
        for runner in lost.collect::<Vec<_>>() {
            self.found_runner(&runner);
        }
        Ok(())
    }

    /// The caller holds the machine's lock.
    fn machine(&mut self, instance: &Instance) -> Result<()> {
        match instance.record() {
            Ok(Some(record)) => self.made(instance, &record),
            Ok(None) => self.begun(instance),
            Err(error) => {
                self.events.warn(format!("{} stays as it is: {error:#}", instance.name));
                Ok(())
            }
        }
    }

    /// A machine with a record: all but what that tells of. Whatever else runs may leave in such a folder has its function
    /// called here, and calls [`Search::found_path`] for each.
    fn made(&mut self, instance: &Instance, record: &Record) -> Result<()> {
        let kept = match record.phase {
            Phase::Failed(stage) => Some(stage),
            Phase::Building(_) | Phase::Made => None,
        };
        self.strays(instance, kept);
        for work in entries(&instance.dir().join("work"))? {
            let is_kept = kept.is_some_and(|stage| work == instance.work_dir(stage));
            if !is_kept {
                self.work(&work);
            }
        }
        for path in entries(instance.dir())? {
            if is_temporary(&path) || is_half_identity(&path) {
                self.found_path("temporary file", &path, || remove(&path));
            }
        }
        self.run_dir(&instance.home());
        self.moments(instance)
    }

    /// Snapshots that were being kept or removed; disks that only they need go with them.
    fn moments(&mut self, instance: &Instance) -> Result<()> {
        for path in moments::unfinished(instance)? {
            self.found_path("unfinished snapshot", &path, || moments::sweep(instance));
        }
        Ok(())
    }

    /// A stage's folder: its machine ends, its disk goes.
    fn work(&mut self, work: &Path) {
        self.found_path("work of a stage", work, || {
            Home::of_stage(work).remove()?;
            Ok(fs::remove_dir_all(work)?)
        });
    }

    /// Processes in the machine's folder that are neither the user's machine nor the one that was kept.
    fn strays(&mut self, instance: &Instance, kept: Option<Stage>) {
        let kept = kept.map(|stage| instance.work_dir(stage));
        for runner in table::runners_in(instance.dir()) {
            if runner.folder != instance.run_dir() && Some(&runner.folder) != kept.as_ref() {
                self.found_runner(&runner);
            }
        }
    }

    /// The socket and the PID of a machine that does not run.
    fn run_dir(&mut self, home: &Home) {
        let is_idle = !home.runs() && table::runners_in(&home.run_dir).is_empty();
        for name in ["qmp.sock", "machine.pid"] {
            let path = home.run_dir.join(name);
            if is_idle && path.symlink_metadata().is_ok() {
                self.found_path("socket or PID of a machine that has ended", &path, || remove(&path));
            }
        }
    }

    /// A folder in which a first `create` or `import` was killed. It may be somebody else's that only looks so.
    fn begun(&mut self, instance: &Instance) -> Result<()> {
        let is_import = instance.work_dir(Stage::Import).exists();
        let is_known = |path: &Path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let is_begun = BEGUN.contains(&name.as_ref()) || name.starts_with("failure-");
            let is_imported = is_import && name == "disk.qcow2";
            is_begun || is_imported || is_temporary(path) || is_half_identity(path)
        };
        let there = entries(instance.dir())?;
        if there.is_empty() || !there.iter().all(|path| is_known(path)) {
            return Ok(());
        }
        self.strays(instance, None);
        self.found_path("folder of a machine that was never made", instance.dir(), || {
            instance.destroy()
        });
        Ok(())
    }
}

fn remove(path: &Path) -> Result<()> {
    if path.is_dir() {
        return Ok(fs::remove_dir_all(path)?);
    }
    Ok(fs::remove_file(path)?)
}
