//! Disk images of other formats: what one holds, and converting it, by `qemu-img`.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use fs_err as fs;
use serde::Deserialize;

use crate::cancel::Cancel;
use crate::fault::{Cause, Fault};
use crate::process::guardian::{Guarded, LOG_FILE};
use crate::process::{self, CommandLine};
use crate::wait::Wait;

const PROGRAM: &str = "qemu-img";

/// Reading an image's header, or the list of what is allocated in it.
const READ_LIMIT: Duration = Duration::from_secs(120);

/// How long a conversion may write nothing: a hundredth of a large disk on a slow one.
const STALLED: Duration = Duration::from_secs(300);

/// A format of disk images, as `qemu-img` calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageFormat {
    /// QEMU's own, compressed.
    Qcow2,
    /// The same as a machine works with it.
    Working,
    /// The disk's bytes, with holes.
    Raw,
    /// VirtualBox's.
    Vdi,
    /// VMware's, which grows.
    Vmdk,
    /// VMware's, compressed and written once, for OVA.
    StreamVmdk,
    /// Hyper-V's.
    Vhdx,
}

impl ImageFormat {
    /// The driver's name.
    pub const fn driver(self) -> &'static str {
        match self {
            Self::Qcow2 | Self::Working => "qcow2",
            Self::Raw => "raw",
            Self::Vdi => "vdi",
            Self::Vmdk | Self::StreamVmdk => "vmdk",
            Self::Vhdx => "vhdx",
        }
    }

    /// What is written of such an image at once, in bytes: how finely it leaves out what is empty.
    pub const fn unit(self) -> u64 {
        match self {
            Self::Raw => 4096,
            Self::Qcow2 | Self::Working | Self::Vmdk | Self::StreamVmdk => 64 << 10,
            Self::Vdi | Self::Vhdx => 1 << 20,
        }
    }

    /// The options with which one is made. Blocks of a VHDX would have 8 MiB and more, most of them nearly empty.
    fn options(self) -> &'static [&'static str] {
        match self {
            Self::Qcow2 => &["-c", "-o", "compression_type=zstd"],
            Self::Raw => &["-S", "4k"],
            Self::Working | Self::Vdi => &[],
            Self::Vmdk => &["-o", "subformat=monolithicSparse,adapter_type=lsilogic,hwversion=11"],
            Self::StreamVmdk => &["-o", "subformat=streamOptimized,adapter_type=lsilogic"],
            Self::Vhdx => &["-o", "subformat=dynamic,block_size=1048576"],
        }
    }

    /// Whether parts may be written in any order, which is faster. What is compressed into a stream has one.
    const fn is_unordered(self) -> bool {
        !matches!(self, Self::StreamVmdk)
    }
}

/// A part of a disk (`qemu-img map --output=json`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Part {
    /// Its first byte.
    pub start: u64,
    /// Its length in bytes.
    pub length: u64,
    /// Whether there is anything; otherwise it reads as zeros.
    pub data: bool,
}

/// The parts of the disk in `image`, with all that it lies on.
///
/// # Errors
/// When `qemu-img` fails.
pub fn map(image: &Path, driver: &str, cancel: &Cancel) -> Result<Vec<Part>> {
    let line = CommandLine::new(PROGRAM, ["map", "--output=json", "-f", driver]).arg(image);
    let finished =
        process::run(&line, READ_LIMIT, cancel).with_context(|| format!("reading the image {}", image.display()))?;
    serde_json::from_slice(&finished.stdout).context("reading what qemu-img tells")
}

/// The size of the disk that `parts` make up, in bytes.
pub fn size(parts: &[Part]) -> u64 {
    parts.iter().map(|part| part.start + part.length).max().unwrap_or(0)
}

/// How many bytes of `parts` hold something.
pub fn data(parts: &[Part]) -> u64 {
    parts.iter().filter(|part| part.data).map(|part| part.length).sum()
}

/// How many bytes an image takes at most that is written in blocks of `unit` bytes, without what it keeps of itself.
pub fn in_blocks(parts: &[Part], unit: u64) -> u64 {
    let mut blocks = 0;
    let mut next = 0;
    for part in parts.iter().filter(|part| part.data && part.length > 0) {
        let first = (part.start / unit).max(next);
        let end = (part.start + part.length).div_ceil(unit);
        blocks += end.saturating_sub(first);
        next = next.max(end);
    }
    blocks * unit
}

/// Whether the tables of `image` are sound and lead into it: QEMU reads zeros where an image was cut off.
///
/// # Errors
/// When `qemu-img` cannot be run.
pub fn is_sound(image: &Path, driver: &str, cancel: &Cancel) -> Result<bool> {
    let line = CommandLine::new(PROGRAM, ["check", "-q", "-f", driver]).arg(image);
    let finished = process::run_any(&line, READ_LIMIT, cancel)?;
    // qemu-img(1): 3 is space that is lost, 63 a format that has nothing to check.
    Ok(matches!(finished.status.code(), Some(0 | 3 | 63)))
}

/// `hundredths` of `total`.
pub fn part_of(total: u64, hundredths: f64) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a part of a hundredth does not show, and qemu-img counts from 0 to 100"
    )]
    let parts = (hundredths * 100.0) as u64;
    u64::try_from(u128::from(total) * u128::from(parts) / 10_000).unwrap_or(total)
}

/// A conversion.
#[derive(Debug, Clone, Copy)]
pub struct Conversion<'a> {
    /// The image to be read.
    pub from: &'a Path,
    /// Its format: what an image claims to be is never believed.
    pub driver: &'a str,
    /// Where the new one comes; its folder is for this alone.
    pub to: &'a Path,
    /// Its format.
    pub format: ImageFormat,
}

/// Converts an image into one that lies on nothing, synced to the disk. `on_progress` is told hundredths, from 0 to 100.
/// `qemu-img` ends when this process does.
///
/// # Errors
/// When `qemu-img` fails or stands still, the disk is full, or the user interrupts; the new file may be there half then.
pub fn convert(conversion: &Conversion<'_>, cancel: &Cancel, mut on_progress: impl FnMut(f64)) -> Result<()> {
    let context = || format!("writing {}", conversion.to.display());
    let folder = conversion.to.parent().unwrap_or(Path::new("."));
    let mut guarded = Guarded::start(&convert_line(conversion), folder)?;
    let log = folder.join(LOG_FILE);
    let mut told = 0.0;
    let written = || fs::metadata(conversion.to).map_or(0, |data| std::os::unix::fs::MetadataExt::blocks(&data));
    let status = Wait::new("qemu-img to convert the disk", STALLED)
        .cancel(cancel)
        .progress(|| written() ^ fs::metadata(&log).map_or(0, |data| data.len() << 32))
        .until(|| {
            let text = fs::read(&log).unwrap_or_default();
            if let Some(now) = progress(&text).filter(|now| *now > told) {
                told = now;
                on_progress(now);
            }
            guarded.ended()
        })
        .with_context(context)?;
    if !status.success() {
        return Err(failed(&guarded.output())).with_context(context);
    }
    fs::remove_file(&log)?;
    fs::File::open(conversion.to)?.sync_all().with_context(context)?;
    Ok(())
}

/// `qemu-img`'s last words without its progress.
fn failed(output: &str) -> anyhow::Error {
    let said = output.rsplit(['\r', '\n']).find(|line| line.contains("qemu-img:"));
    let said = said.unwrap_or(output).trim();
    let cause = if said.contains("No space left") {
        Cause::Space
    } else {
        Cause::Other
    };
    Fault::new(cause, format!("qemu-img failed: {said}")).into()
}

/// The last hundredths in what `qemu-img -p` prints: `    (12.34/100%)` after each carriage return.
fn progress(output: &[u8]) -> Option<f64> {
    let text = String::from_utf8_lossy(output);
    let (before, _) = text.rsplit_once("/100%)")?;
    let (_, number) = before.rsplit_once('(')?;
    number.trim().parse().ok()
}

fn convert_line(conversion: &Conversion<'_>) -> CommandLine {
    let format = conversion.format;
    let mut line = CommandLine::new(PROGRAM, ["convert", "-p", "-f", conversion.driver]);
    let to = ["-O", format.driver()];
    line.args.extend(to.iter().chain(format.options()).map(OsString::from));
    if format.is_unordered() {
        line.args.push("-W".into());
    }
    line.arg(conversion.from).arg(conversion.to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_name_both_formats() {
        let table = [
            (
                ImageFormat::Qcow2,
                "-O qcow2 -c -o compression_type=zstd -W /a.qcow2 /b",
            ),
            (ImageFormat::Raw, "-O raw -S 4k -W /a.qcow2 /b"),
            (ImageFormat::Working, "-O qcow2 -W /a.qcow2 /b"),
            (ImageFormat::Vdi, "-O vdi -W /a.qcow2 /b"),
            (
                ImageFormat::Vmdk,
                "-O vmdk -o subformat=monolithicSparse,adapter_type=lsilogic,hwversion=11 -W /a.qcow2 /b",
            ),
            (
                ImageFormat::StreamVmdk,
                "-O vmdk -o subformat=streamOptimized,adapter_type=lsilogic /a.qcow2 /b",
            ),
            (
                ImageFormat::Vhdx,
                "-O vhdx -o subformat=dynamic,block_size=1048576 -W /a.qcow2 /b",
            ),
        ];
        for (format, expected) in table {
            let line = convert_line(&Conversion {
                from: Path::new("/a.qcow2"),
                driver: "qcow2",
                to: Path::new("/b"),
                format,
            });
            let words: Vec<_> = line.args.iter().map(|word| word.to_string_lossy()).collect();
            assert_eq!(words.join(" "), format!("convert -p -f qcow2 {expected}"));
        }
    }

    #[test]
    fn progress_is_the_last_number() {
        for (output, expected) in [
            (&b""[..], None),
            (b"    (0.00/100%)\r", Some(0.0)),
            (b"    (0.00/100%)\r    (12.34/100%)\r", Some(12.34)),
            (b"    (99.01/100%)\r    (100.00/100%)\r\n", Some(100.0)),
            (b"    (12.34/100%)\r    (13.", Some(12.34)),
            (b"qemu-img: error while writing", None),
        ] {
            assert_eq!(progress(output), expected, "{}", String::from_utf8_lossy(output));
        }
    }

    #[test]
    fn blocks_are_counted_once() {
        let part = |start, length, data| Part { start, length, data };
        let parts = [
            part(0, 10, true),
            part(10, 90, false),
            part(100, 10, true),
            part(110, 90, true),
            part(1000, 0, true),
            part(1024, 1, true),
        ];
        assert_eq!((size(&parts), data(&parts)), (1025, 111));
        assert_eq!(in_blocks(&parts, 64), 5 * 64);
        assert_eq!(in_blocks(&parts, 1024), 2 * 1024);
        assert_eq!(in_blocks(&[], 64), 0);
    }

    #[test]
    fn a_failure_is_told_without_its_progress() {
        let error =
            failed("(1.00/100%)\r    (2.00/100%)\rqemu-img: error while writing at byte 0: No space left on device");
        let fault = Fault::of(&error).unwrap();
        assert_eq!(fault.cause, Cause::Space);
        assert_eq!(
            fault.message,
            "qemu-img failed: qemu-img: error while writing at byte 0: No space left on device"
        );
    }
}
