//! QEMU's control socket. A connection is made for each question, so that two `provision` processes can ask the
//! same machine.

use std::io::BufReader;
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use qapi::{Command, Qmp, Stream, qmp};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType};

use super::arguments::{DISK_DEVICE, QMP_SOCKET};
use crate::machine::Activity;
use crate::wait::Wait;

/// QEMU answers in milliseconds, but its main loop may stand still while it writes a disk under load.
const LIMIT: Duration = Duration::from_secs(20);

/// For questions whose answer may be done without.
const SHORT: Duration = Duration::from_secs(2);

/// unix(7): `sun_path` has 108 bytes with its final zero on Linux, 104 on macOS.
const LONGEST_SOCKET_PATH: usize = 103;

/// Whether somebody listens on the socket in `run_dir`, that is, whether the machine runs: also one that is too busy,
/// or was stopped, and answers nobody.
pub fn answers(run_dir: &Path) -> bool {
    matches!(connect(run_dir), Ok(_) | Err(Errno::AGAIN))
}

/// Presses the machine's power button; a guest that was paused by a full disk goes on to see it.
///
/// # Errors
/// When QEMU does not answer.
pub fn power_down(run_dir: &Path) -> Result<()> {
    // One that cannot go on is no reason not to press it.
    let _ = go_on(run_dir);
    ask(run_dir, &qmp::system_powerdown {}, LIMIT).map(drop)
}

/// Lets a paused guest go on; it repeats what it was paused in.
///
/// # Errors
/// When QEMU does not answer.
pub fn go_on(run_dir: &Path) -> Result<()> {
    ask(run_dir, &qmp::cont {}, LIMIT).map(drop)
}

/// Ends QEMU, which writes what it holds of the disk.
///
/// # Errors
/// When QEMU does not answer.
pub fn quit(run_dir: &Path) -> Result<()> {
    ask(run_dir, &qmp::quit {}, LIMIT).map(drop)
}

/// Whether QEMU has paused the guest since its disk cannot be written: by default it does so on `ENOSPC`, and reports
/// other errors to the guest (qemu(1), `werror`).
///
/// # Errors
/// When QEMU does not answer soon.
pub fn is_full(run_dir: &Path) -> Result<bool> {
    ask(run_dir, &qmp::query_status {}, SHORT).map(|info| info.status == qmp::RunState::io_error)
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
    ask(run_dir, &command, LIMIT).map(drop)
}

/// How much the guest has read and written. QEMU counts it for devices and not for the nodes under them.
///
/// # Errors
/// When QEMU does not answer.
pub fn activity(run_dir: &Path) -> Result<Activity> {
    let devices = ask(run_dir, &qmp::query_blockstats { query_nodes: None }, LIMIT)?;
    let bytes = |n: i64| u64::try_from(n).unwrap_or(0);
    let mut activity = Activity::default();
    for device in devices {
        if device.qdev.as_deref().is_some_and(is_disk) {
            activity.disk_written += bytes(device.stats.wr_bytes);
        }
        activity.disk_read += bytes(device.stats.rd_bytes);
    }
    Ok(activity)
}

/// Whether a device of QEMU's is the guest's disk: of a virtio device its path in QEMU's tree is told.
pub(super) fn is_disk(qdev: &str) -> bool {
    qdev.split('/').any(|part| part == DISK_DEVICE)
}

/// QEMU's version with its packager's, as it tells it itself.
///
/// # Errors
/// When QEMU does not answer.
pub fn version(run_dir: &Path) -> Result<String> {
    let info = ask(run_dir, &qmp::query_version {}, LIMIT)?;
    let qmp::VersionTriple { major, minor, micro } = info.qemu;
    Ok(format!("{major}.{minor}.{micro} {}", info.package)
        .trim_end()
        .to_owned())
}

/// Whether the guest runs, or why not.
///
/// # Errors
/// When QEMU does not answer.
pub fn run_state(run_dir: &Path) -> Result<qmp::RunState> {
    ask(run_dir, &qmp::query_status {}, LIMIT).map(|info| info.status)
}

/// Pauses the guest; what it has asked its disk for is done first.
///
/// # Errors
/// When QEMU does not answer.
pub fn pause(run_dir: &Path) -> Result<()> {
    ask(run_dir, &qmp::stop {}, LIMIT).map(drop)
}

/// [`ask`] with the patience of most questions.
///
/// # Errors
/// When QEMU does not answer, or refuses.
pub(super) fn order<C: Command>(run_dir: &Path, command: &C) -> Result<C::Ok> {
    ask(run_dir, command, LIMIT)
}

/// A command whose arguments and answer are taken as they are, since their types grow with QEMU's versions.
macro_rules! plain_command {
    ($(#[$doc:meta])* $name:ident, $command:literal) => {
        $(#[$doc])*
        #[derive(Debug, serde::Serialize)]
        #[serde(transparent)]
        pub struct $name(pub serde_json::Value);

        impl qapi::Command for $name {
            type Ok = serde_json::Value;
            const NAME: &'static str = $command;
            const ALLOW_OOB: bool = false;
        }

        impl qapi::qmp::QmpCommand for $name {}
    };
}
pub(super) use plain_command;

fn ask<C: Command>(run_dir: &Path, command: &C, limit: Duration) -> Result<C::Ok> {
    let attempt = || -> Result<C::Ok> {
        let stream = Wait::new("QEMU's control socket", limit).until(|| match connect(run_dir) {
            Err(Errno::AGAIN) => Ok(None),
            other => Ok(Some(other?)),
        })?;
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(limit))?;
        stream.set_write_timeout(Some(limit))?;
        let reader = BufReader::new(stream.try_clone()?);
        let mut qmp = Qmp::new(Stream::new(reader, stream));
        qmp.handshake()?;
        Ok(qmp.execute(command)?)
    };
    attempt().with_context(|| format!("asking QEMU for {}", C::NAME))
}

/// Connects without waiting: a stopped QEMU takes nobody from the socket's queue, and with a full queue connect(2)
/// blocks for ever. That shows as [`Errno::AGAIN`] here.
fn connect(run_dir: &Path) -> rustix::io::Result<UnixStream> {
    let path = run_dir.join(QMP_SOCKET);
    if path.as_os_str().len() <= LONGEST_SOCKET_PATH {
        return connect_to(&path);
    }
    // Through an open folder a deep path becomes a short one (proc(5)).
    let folder = std::fs::File::open(run_dir).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::NOENT))?;
    connect_to(Path::new(&format!("/proc/self/fd/{}/{QMP_SOCKET}", folder.as_raw_fd())))
}

fn connect_to(path: &Path) -> rustix::io::Result<UnixStream> {
    let socket = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None)?;
    rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(&socket, true)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket.into())
}
