//! QEMU's control socket. A connection is made for each question, so that two `provision` processes can ask the
//! same machine.

use std::io::BufReader;
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use qapi::{Command, Qmp, Stream, qmp};

use super::arguments::{DISK_NODE, QMP_SOCKET};
use crate::machine::Activity;

/// QEMU answers in milliseconds, but its main loop may stand still while it writes a disk under load.
const LIMIT: Duration = Duration::from_secs(20);

/// unix(7): `sun_path` has 108 bytes with its final zero on Linux, 104 on macOS.
const LONGEST_SOCKET_PATH: usize = 103;

/// Whether somebody listens on the socket in `run_dir`, that is, whether the machine runs.
pub fn answers(run_dir: &Path) -> bool {
    connect(run_dir).is_ok()
}

/// Presses the machine's power button.
///
/// # Errors
/// When QEMU does not answer.
pub fn power_down(run_dir: &Path) -> Result<()> {
    ask(run_dir, &qmp::system_powerdown {}).map(drop)
}

/// Ends QEMU.
///
/// # Errors
/// When QEMU does not answer.
pub fn quit(run_dir: &Path) -> Result<()> {
    ask(run_dir, &qmp::quit {}).map(drop)
}

/// Writes the screen as a PNG.
///
/// # Errors
/// When QEMU does not answer or was built without PNG.
pub fn screenshot(run_dir: &Path, file: &Path) -> Result<()> {
    let command = qmp::screendump {
        filename: file.to_string_lossy().into_owned(),
        device: None,
        head: None,
        format: Some(qmp::ImageFormat::png),
    };
    ask(run_dir, &command).map(drop)
}

/// How much the guest has read and written.
///
/// # Errors
/// When QEMU does not answer.
pub fn activity(run_dir: &Path) -> Result<Activity> {
    let blocks = ask(
        run_dir,
        &qmp::query_blockstats {
            query_nodes: Some(true),
        },
    )?;
    let bytes = |n: i64| u64::try_from(n).unwrap_or(0);
    let mut activity = Activity::default();
    for block in blocks {
        if block.node_name.as_deref() == Some(DISK_NODE) {
            activity.disk_written += bytes(block.stats.wr_bytes);
        }
        activity.disk_read += bytes(block.stats.rd_bytes);
    }
    Ok(activity)
}

fn ask<C: Command>(run_dir: &Path, command: &C) -> Result<C::Ok> {
    let attempt = || -> Result<C::Ok> {
        let stream = connect(run_dir)?;
        stream.set_read_timeout(Some(LIMIT))?;
        stream.set_write_timeout(Some(LIMIT))?;
        let reader = BufReader::new(stream.try_clone()?);
        let mut qmp = Qmp::new(Stream::new(reader, stream));
        qmp.handshake()?;
        Ok(qmp.execute(command)?)
    };
    attempt().with_context(|| format!("asking QEMU for {}", C::NAME))
}

fn connect(run_dir: &Path) -> std::io::Result<UnixStream> {
    let socket = run_dir.join(QMP_SOCKET);
    if socket.as_os_str().len() <= LONGEST_SOCKET_PATH {
        return UnixStream::connect(socket);
    }
    // Through an open folder a deep path becomes a short one (proc(5)).
    let folder = std::fs::File::open(run_dir)?;
    UnixStream::connect(format!("/proc/self/fd/{}/{QMP_SOCKET}", folder.as_raw_fd()))
}
