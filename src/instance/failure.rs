//! What is kept of a failure, for the user and for whoever is asked for help.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use fs_err as fs;

use super::Instance;
use crate::cancel::Cancel;
use crate::event::Stage;
use crate::machine::driver::Home;
use crate::process::{self, CommandLine};

/// How long QEMU may take to tell its version.
const VERSION_LIMIT: Duration = Duration::from_secs(20);

/// How many failures of a machine are kept: more than anybody goes through.
const KEPT: usize = 10;

const PREFIX: &str = "failure-";

/// What a stage may leave in its work folder that a person reads. Disks, sockets and keys are not among them.
const LOGS: [&str; 7] = [
    "console.log",
    "installer.log",
    "output.log",
    "firmware.log",
    "machine.log",
    "command",
    "screen.png",
];

/// Copies what the failed `stage` left in `work` (console, installer's log, output, screenshot, QEMU's command line
/// and messages) into a folder of its own, with the plan and the error, and returns that folder.
///
/// # Errors
/// When the folder or a file cannot be written.
pub fn bundle(instance: &Instance, stage: Stage, work: &Path, plan: &str, error: &anyhow::Error) -> Result<PathBuf> {
    let time = jiff::Zoned::now().strftime("%Y%m%d-%H%M%S").to_string();
    let before = instance.failures()?;
    for dir in before.iter().rev().skip(KEPT - 1) {
        fs::remove_dir_all(dir)?;
    }
    let dir = new_folder(instance.dir(), &format!("{PREFIX}{time}"))?;
    copy_logs(work, &dir)?;
    let machine = match stage {
        Stage::Verify => instance.home(),
        _ => Home::of_stage(work),
    };
    if machine.runs() {
        // Of a machine that is kept (make, verify). Without its screen the bundle still says much.
        let _ = machine.screenshot(&dir.join("screen.png"));
    }
    let causes: Vec<String> = error.chain().map(ToString::to_string).collect();
    let text = format!("stage: {stage}\n{}\n", causes.join("\n"));
    fs::write(dir.join("error.txt"), text)?;
    fs::write(dir.join("plan.json"), plan)?;
    fs::write(dir.join("versions.txt"), versions(work))?;
    Ok(dir)
}

impl Instance {
    /// The folders with what happened of its failures, the newest last.
    ///
    /// # Errors
    /// When its folder cannot be read.
    pub fn failures(&self) -> Result<Vec<PathBuf>> {
        let entries = match fs::read_dir(self.dir()) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut all = Vec::new();
        for entry in entries {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(PREFIX) && entry.file_type()?.is_dir() {
                let made = entry.metadata()?.modified()?;
                all.push((made, entry.path()));
            }
        }
        all.sort();
        Ok(all.into_iter().map(|(_, dir)| dir).collect())
    }
}

/// Makes a folder of that name; two may fail in one second.
fn new_folder(folder: &Path, name: &str) -> Result<PathBuf> {
    fs::create_dir_all(folder)?;
    let mut dir = folder.join(name);
    for number in 2.. {
        match fs::create_dir(&dir) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            made => {
                made?;
                break;
            }
        }
        dir = folder.join(format!("{name}-{number}"));
    }
    Ok(dir)
}

/// Copies the logs of a stage from its work folder `work`.
///
/// # Errors
/// When a file cannot be copied.
pub fn copy_logs(work: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for name in LOGS {
        match std::fs::copy(work.join(name), to.join(name)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("copying {name}"));
            }
            _ => {}
        }
    }
    Ok(())
}

fn versions(work: &Path) -> String {
    let command = fs::read_to_string(work.join("command")).unwrap_or_default();
    let system = rustix::system::uname();
    format!(
        "provision {}\n{}\nhost {} {} {}\n{command}\n",
        env!("CARGO_PKG_VERSION"),
        qemu_version(&command).unwrap_or_else(|| "QEMU was not started".into()),
        system.sysname().to_string_lossy(),
        system.release().to_string_lossy(),
        system.machine().to_string_lossy(),
    )
}

/// What the QEMU of `command` says of its version.
fn qemu_version(command: &str) -> Option<String> {
    let program = shlex::split(command)?.into_iter().next()?;
    let line = CommandLine::new(program, ["--version"]);
    let said = match process::run(&line, VERSION_LIMIT, &Cancel::default()) {
        Ok(finished) => String::from_utf8_lossy(&finished.stdout).into_owned(),
        Err(error) => format!("{error:#}"),
    };
    said.lines().next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::qemu::testing::{self, DEAF, Guest};

    #[test]
    fn the_newest_failures_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let paths = crate::paths::Paths {
            cache: folder.path().join("cache"),
            machines: folder.path().join("machines"),
        };
        let instance = Instance::new(&paths, &"fails".parse().unwrap());
        assert!(instance.failures().unwrap().is_empty());
        std::fs::create_dir_all(instance.dir().join("logs")).unwrap();
        let mut made = Vec::new();
        for _ in 0..KEPT + 2 {
            let error = anyhow::anyhow!("make failed");
            let dir = bundle(&instance, Stage::Project, folder.path(), "{}", &error).unwrap();
            made.push(dir.clone());
            assert_eq!(instance.failures().unwrap().last(), Some(&dir));
        }
        assert_eq!(instance.failures().unwrap(), made[2..]);
        assert!(instance.dir().join("logs").exists());
    }

    #[test]
    fn a_bundle_tells_how_far_the_firmware_was_and_the_versions() {
        let folder = tempfile::tempdir().unwrap();
        let guest = Guest::start(DEAF);
        let firmware = || std::fs::read_to_string(guest.dir().join("firmware.log")).unwrap_or_default();
        testing::eventually("the firmware to be done", || firmware().contains("Booting from"));
        std::fs::write(
            guest.dir().join("command"),
            format!("{} -nodefaults", testing::qemu().display()),
        )
        .unwrap();
        let paths = crate::paths::Paths {
            cache: folder.path().join("cache"),
            machines: folder.path().join("machines"),
        };
        let instance = Instance::new(&paths, &"fails".parse().unwrap());
        let error = anyhow::anyhow!("make failed");
        let dir = bundle(&instance, Stage::Project, guest.dir(), "{}", &error).unwrap();
        let firmware = std::fs::read_to_string(dir.join("firmware.log")).unwrap();
        assert!(firmware.contains("Booting from"), "{firmware}");
        let versions = std::fs::read_to_string(dir.join("versions.txt")).unwrap();
        assert!(versions.contains("QEMU emulator version"), "{versions}");
    }
}
