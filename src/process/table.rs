//! The processes of this user that run machines, found by where they work: whoever started one, and whatever was written
//! down of it, has gone.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;

use crate::wait::Wait;

/// How long a killed process may take to go.
const END_LIMIT: Duration = Duration::from_secs(20);

/// A process that runs a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Runner {
    /// Its number.
    pub pid: u32,
    /// The program's name.
    pub program: String,
    /// The folder in which it works, which may be gone.
    pub folder: PathBuf,
    /// The same as the system has it: no part of it is a link.
    real: PathBuf,
}

/// What the system appends to the path of a folder that is gone (proc(5)).
const GONE: &str = " (deleted)";

impl Runner {
    /// The process `pid`, if it is this user's and runs a machine.
    fn of(pid: u32) -> Option<Self> {
        let process = PathBuf::from(format!("/proc/{pid}"));
        if std::fs::metadata(&process).ok()?.uid() != rustix::process::getuid().as_raw() {
            return None;
        }
        let program = without_mark(std::fs::read_link(process.join("exe")).ok()?);
        let program = program.file_name()?.to_str()?.to_owned();
        let folder = without_mark(std::fs::read_link(process.join("cwd")).ok()?);
        runs_machines(&program).then(|| Self {
            pid,
            program,
            real: folder.clone(),
            folder,
        })
    }

    /// The same if it works in `root`, of which links may be a part, or below.
    fn within(self, root: &Path) -> Option<Self> {
        let real = std::fs::canonicalize(root).unwrap_or_else(|_| root.to_owned());
        let below = self.real.strip_prefix(real).ok()?;
        // Joining nothing would append a separator.
        let folder = if below.as_os_str().is_empty() {
            root.to_owned()
        } else {
            root.join(below)
        };
        Some(Self { folder, ..self })
    }

    fn is_there(&self) -> bool {
        Self::of(self.pid).is_some_and(|now| (&now.program, &now.real) == (&self.program, &self.real))
    }

    /// Kills it and waits until it has gone. Its number may have been given to another process: then nothing is done.
    ///
    /// # Errors
    /// When it cannot be killed, or does not go.
    pub fn kill(&self) -> Result<()> {
        if self.is_there() {
            super::kill(self.pid)?;
        }
        Wait::new(format!("process {} to end", self.pid), END_LIMIT).until(|| Ok((!self.is_there()).then_some(())))
    }
}

/// What the system says of the memory of the process `pid` (`proc_pid_smaps(5)`); `None` where it tells nothing.
pub fn mappings(pid: u32) -> Option<String> {
    std::fs::read_to_string(format!("/proc/{pid}/smaps")).ok()
}

/// QEMU and VirtualBox's process of one machine; a shell or an editor in the same folder is none of ours.
fn runs_machines(program: &str) -> bool {
    program.starts_with("qemu-system-") || program == "VBoxHeadless"
}

fn without_mark(path: PathBuf) -> PathBuf {
    match path.to_str().and_then(|text| text.strip_suffix(GONE)) {
        Some(text) => text.into(),
        None => path,
    }
}

/// Every process of this user that runs a machine in `root` or below; none where the system has no /proc.
pub fn runners_in(root: &Path) -> Vec<Runner> {
    let all = runners().into_iter();
    all.filter_map(|runner| runner.within(root)).collect()
}

/// Whether the process `pid` runs a machine and works in just this folder: a PID may have been given to another program
/// since it was written down.
pub fn runs_in(pid: u32, folder: &Path) -> bool {
    let runner = Runner::of(pid).and_then(|runner| runner.within(folder));
    runner.is_some_and(|runner| runner.folder == folder)
}

/// Every process of this user that runs a machine.
pub fn runners() -> Vec<Runner> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter_map(Runner::of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_programs_of_machines_count() {
        for program in ["qemu-system-x86_64", "qemu-system-aarch64", "VBoxHeadless"] {
            assert!(runs_machines(program), "{program}");
        }
        for program in ["qemu-img", "qemu-nbd", "bash", "VBoxSVC", "my-qemu-system-x86_64"] {
            assert!(!runs_machines(program), "{program}");
        }
    }

    #[test]
    fn a_folder_is_found_through_links() {
        let place = tempfile::tempdir().unwrap();
        let (data, link) = (place.path().join("data"), place.path().join("link"));
        std::fs::create_dir_all(data.join("m/run")).unwrap();
        std::os::unix::fs::symlink(&data, &link).unwrap();
        let real = std::fs::canonicalize(data.join("m/run")).unwrap();
        let runner = Runner {
            pid: 1,
            program: "qemu-system-x86_64".into(),
            folder: real.clone(),
            real,
        };
        let within = |root: &Path| runner.clone().within(root).map(|runner| runner.folder);
        assert_eq!(within(&link), Some(link.join("m/run")));
        assert_eq!(within(&link.join("m/run")), Some(link.join("m/run")));
        assert_eq!(within(&link.join("m/run/other")), None);
        assert_eq!(within(&place.path().join("else")), None);
    }

    #[test]
    fn a_folder_that_is_gone_is_named_as_it_was() {
        assert_eq!(without_mark("/a/b (deleted)".into()), Path::new("/a/b"));
        assert_eq!(without_mark("/a/b".into()), Path::new("/a/b"));
    }
}
