//! What is kept of a failure, for the user and for whoever is asked for help.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use fs_err as fs;

use super::Instance;
use crate::event::Stage;

/// What a stage may leave in its work folder that a person reads. Disks, sockets and keys are not among them.
const LOGS: [&str; 6] = [
    "console.log",
    "installer.log",
    "output.log",
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
    let dir = instance.dir().join(format!("failure-{time}"));
    copy_logs(work, &dir)?;
    let causes: Vec<String> = error.chain().map(ToString::to_string).collect();
    let text = format!("stage: {stage}\n{}\n", causes.join("\n"));
    fs::write(dir.join("error.txt"), text)?;
    fs::write(dir.join("plan.json"), plan)?;
    fs::write(dir.join("versions.txt"), versions(work))?;
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
        "provision {}\nhost {} {} {}\n{command}\n",
        env!("CARGO_PKG_VERSION"),
        system.sysname().to_string_lossy(),
        system.release().to_string_lossy(),
        system.machine().to_string_lossy(),
    )
}
