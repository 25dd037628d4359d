//! What a machine's process tells in its log files.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::{disks, hints};

/// What the process `said`, and the reason that its logs give if it said none.
pub fn with_reason(said: String, folder: &Path) -> String {
    if hints::is_telling(&said) {
        return said;
    }
    let Some(reason) = reason(folder) else { return said };
    if said.trim().is_empty() {
        reason
    } else {
        format!("{}\n{reason}", said.trim())
    }
}

/// The last line of its logs that names a reason which is known.
fn reason(folder: &Path) -> Option<String> {
    // The first is written before there is a machine.
    ["VBoxHardening.log", "VBox.log"].iter().find_map(|name| {
        let log = read(folder, name)?;
        let line = log.lines().rfind(|line| hints::is_telling(line))?;
        Some(without_time(line).to_owned())
    })
}

/// Whether the machine, which stands still, does so because the host's disk is full.
pub fn is_full(folder: &Path) -> bool {
    read(folder, "VBox.log").is_some_and(|log| was_filled(&log))
}

/// Whether a full disk was the last that happened. The error's identifier is `DrvVD_DISKFULL`, `DevAHCI_DISKFULL` or
/// another by the version (`DrvVD.cpp`, `DevAHCI.cpp`).
fn was_filled(log: &str) -> bool {
    let last = log.lines().rfind(|line| {
        line.contains("Console: VM runtime error:") || line.contains("Console: Machine state changed to 'Running'")
    });
    last.is_some_and(|line| line.contains("DISKFULL"))
}

/// Which file the log is, so that one that was begun since is told from it.
pub fn which(folder: &Path) -> Option<(u64, SystemTime)> {
    let data = std::fs::metadata(path(folder, "VBox.log")?).ok()?;
    Some((data.ino(), data.modified().ok()?))
}

fn path(folder: &Path, name: &str) -> Option<PathBuf> {
    Some(disks::settings_in(folder)?.parent()?.join("Logs").join(name))
}

/// One of the machine's logs, if there is one.
pub(super) fn read(folder: &Path, name: &str) -> Option<String> {
    let bytes = std::fs::read(path(folder, name)?).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// A line of a log without its time: `00:00:02.136742 Power up failed`, `1a2c.1f0c: Error -5600`.
fn without_time(line: &str) -> &str {
    match line.split_once(' ') {
        Some((time, text))
            if time.starts_with(|first: char| first.is_ascii_hexdigit()) && time.contains([':', '.']) =>
        {
            text.trim()
        }
        _ => line.trim(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine with this log.
    fn machine(name: &str, log: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let logs = folder.path().join("m/Logs");
        std::fs::create_dir_all(&logs).unwrap();
        std::fs::write(folder.path().join("m/m.vbox"), "").unwrap();
        std::fs::write(logs.join(name), log).unwrap();
        folder
    }

    #[test]
    fn the_log_gives_the_reason_that_was_not_said() {
        let log = "00:00:01.9 Starting\n00:00:02.136742 Power up failed (vrc=VERR_VMX_IN_VMX_ROOT_MODE, rc=NS_ERROR_FAILURE (0X80004005))\n00:00:02.2 Ended\n";
        let folder = machine("VBox.log", log);
        let reason = "Power up failed (vrc=VERR_VMX_IN_VMX_ROOT_MODE, rc=NS_ERROR_FAILURE (0X80004005))";
        assert_eq!(with_reason(String::new(), folder.path()), reason);
        assert_eq!(
            with_reason("It failed\n".into(), folder.path()),
            format!("It failed\n{reason}")
        );
        assert_eq!(
            with_reason("Error -1908 in x".into(), folder.path()),
            "Error -1908 in x"
        );
        let silent = machine("VBox.log", "00:00:01.9 Starting\n");
        assert_eq!(with_reason("It failed".into(), silent.path()), "It failed");
    }

    #[test]
    fn a_full_disk_counts_until_the_guest_goes_on() {
        let full = "00:01 Console: Machine state changed to 'Running'\n00:02 VD#0: Host disk full\n00:02 Console: VM runtime error: fatal=false, errorID=DrvVD_DISKFULL message=\"Host system reported disk full. VM execution is suspended. You can resume after freeing some space\"\n00:02 Console: Machine state changed to 'Paused'\n";
        assert!(is_full(machine("VBox.log", full).path()));
        let later = format!(
            "{full}00:09 Console: Machine state changed to 'Running'\n00:10 Console: Machine state changed to 'Paused'\n"
        );
        assert!(!is_full(machine("VBox.log", &later).path()));
        let memory =
            "00:02 Console: VM runtime error: fatal=false, errorID=HostMemoryLow message=\"Unable to allocate\"\n";
        assert!(!is_full(machine("VBox.log", memory).path()));
    }
}
