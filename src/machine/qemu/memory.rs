//! A kept memory: two files in a folder.
//!
//! ```text
//! memory          what QEMU wrote: pages and the devices' state (0600)
//! memory.json     what it depends on and how to tell whether it is whole
//! ```

use std::io::{Read, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use fs_err as fs;
use rustix::fs::SeekFrom as Region;
use serde::{Deserialize, Serialize};

use super::arguments::{self, Size};
use super::{migration, qmp};
use crate::fault::{Cause, Fault};
use crate::machine::accelerator::Accelerator;
use crate::machine::driver::MEMORY;
use crate::machine::{Boot, Durability, StaleMemory};

/// What is known of a kept memory; written last.
pub const MANIFEST: &str = "memory.json";

/// What the machine of a run folder was started as.
const HARDWARE: &str = "hardware.json";

/// The part of a file that is looked at as one, in bytes: no file system's holes are smaller.
const BLOCK: usize = 4096;

/// What a memory depends on beside QEMU's version: what the guest sees, and what runs its instructions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hardware {
    accelerator: Accelerator,
    cpu_model: String,
    /// The host's processor, where the guest sees that.
    processor: Option<String>,
    cpus: u32,
    memory_mib: u64,
    /// QEMU's other arguments, without what differs from one start to the next: names, paths, ports.
    arguments: Vec<String>,
}

impl Hardware {
    /// What a machine started by these would have.
    pub fn new(boot: &Boot, accelerator: Accelerator, size: Size) -> Self {
        let credentials = boot.credentials.iter().cloned();
        let plain = Boot {
            name: String::new(),
            disk: "disk".into(),
            forwards: boot.forwards.as_ref().map(|_| Vec::new()),
            credentials: credentials
                .map(|it| crate::machine::Credential {
                    file: "file".into(),
                    ..it
                })
                .collect(),
            durability: Durability::Kept,
            memory: None,
            run_dir: "run".into(),
            ..boot.clone()
        };
        let arguments = arguments::arguments(&plain, accelerator, size);
        Self {
            accelerator,
            cpu_model: accelerator.cpu_model().to_owned(),
            processor: (accelerator != Accelerator::Tcg).then(processor),
            cpus: size.cpus,
            memory_mib: size.memory_mib,
            arguments: arguments.iter().map(|it| it.to_string_lossy().into_owned()).collect(),
        }
    }

    /// Notes down that the machine in `run_dir` is started as this.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn note(&self, run_dir: &Path) -> Result<()> {
        Ok(fs::write(run_dir.join(HARDWARE), serde_json::to_vec_pretty(self)?)?)
    }

    fn of_running(run_dir: &Path) -> Result<Self> {
        let read = || -> Result<Self> { Ok(serde_json::from_slice(&fs::read(run_dir.join(HARDWARE))?)?) };
        read().with_context(|| {
            Fault::new(
                Cause::Usage,
                "the machine was started by an older provision: its memory cannot be kept",
            )
            .hint("`provision stop` and `provision start` it first, or leave the memory out with `--no-memory`")
        })
    }

    /// In what `self`, that of a kept memory, differs from `other`, for a person.
    fn difference(&self, other: &Self) -> Option<String> {
        let differ = |what: &str, of: &dyn Fn(&Self) -> String| {
            let (kept, now) = (of(self), of(other));
            (kept != now).then(|| format!("it is of a machine with {what} {kept}, and this one has {now}"))
        };
        differ("the accelerator", &|it| it.accelerator.title().to_owned())
            .or_else(|| {
                differ("the processor", &|it| {
                    it.processor.clone().unwrap_or_else(|| it.cpu_model.clone())
                })
            })
            .or_else(|| differ("CPUs:", &|it| it.cpus.to_string()))
            .or_else(|| differ("MiB of memory:", &|it| it.memory_mib.to_string()))
            .or_else(|| differ("the devices", &|it| it.arguments.join(" ")))
    }
}

/// The host's processor: its model and what it can do.
fn processor() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let value = |name: &str| {
        let mut lines = text.lines().filter_map(|line| line.split_once(':'));
        lines
            .find(|(key, _)| key.trim() == name)
            .map(|(_, value)| value.trim().to_owned())
    };
    let flags = value("flags").unwrap_or_default();
    format!(
        "{} ({:08x})",
        value("model name").unwrap_or_default(),
        crc32fast::hash(flags.as_bytes())
    )
}

#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    /// QEMU's version, as it tells it itself.
    qemu: String,
    hardware: Hardware,
    /// Whether each page has a place of its own.
    mapped: bool,
    whole: Whole,
}

/// What tells a whole file from one that was cut off or damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Whole {
    bytes: u64,
    /// Of the parts that are no holes.
    crc32: u32,
}

impl Whole {
    fn of(file: &Path) -> Result<Self> {
        let mut file = fs::File::open(file)?;
        let bytes = file.metadata()?.len();
        let (mut sum, mut buffer) = (crc32fast::Hasher::new(), vec![0; 1 << 20]);
        let mut at = 0;
        while at < bytes {
            let begin = match rustix::fs::seek(&file, Region::Data(at)) {
                // There is nothing but a hole left.
                Err(rustix::io::Errno::NXIO) => break,
                begin => begin?,
            };
            at = rustix::fs::seek(&file, Region::Hole(begin))?;
            file.seek(SeekFrom::Start(begin))?;
            let mut part = (&mut file).take(at - begin);
            loop {
                let read = part.read(&mut buffer)?;
                if read == 0 {
                    break;
                }
                // Where a hole begins depends on the file system: zeros count as one.
                for block in buffer[..read]
                    .chunks(BLOCK)
                    .filter(|block| block.iter().any(|byte| *byte != 0))
                {
                    sum.update(block);
                }
            }
        }
        let crc32 = sum.finalize();
        Ok(Self { bytes, crc32 })
    }
}

/// Writes the memory of the paused machine in `run_dir` into `folder`; the guest stays paused. [`Unsealed::seal`] makes
/// it one that can be used.
///
/// # Errors
/// When QEMU cannot write it all, or the disk is full.
pub fn write(run_dir: &Path, folder: &Path) -> Result<Unsealed> {
    use fs_err::os::unix::fs::OpenOptionsExt as _;
    let hardware = Hardware::of_running(run_dir)?;
    let qemu = qmp::version(run_dir)?;
    let file = folder.join(MEMORY);
    // Before QEMU writes to it: whoever reads a memory reads the keys in it.
    fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&file)?;
    let mapped = migration::save(run_dir, &file)?;
    Ok(Unsealed { qemu, hardware, mapped })
}

/// A memory that was written, but has not reached the disk.
#[derive(Debug)]
#[must_use]
pub struct Unsealed {
    qemu: String,
    hardware: Hardware,
    mapped: bool,
}

impl Unsealed {
    /// Sees to it that the memory in `folder` has reached the disk, and notes down how to tell.
    ///
    /// # Errors
    /// When the disk cannot be written.
    pub fn seal(self, folder: &Path) -> Result<()> {
        let Self { qemu, hardware, mapped } = self;
        let file = folder.join(MEMORY);
        fs::File::open(&file)?.sync_all()?;
        let whole = Whole::of(&file)?;
        let manifest = Manifest {
            qemu,
            hardware,
            mapped,
            whole,
        };
        fs::write(folder.join(MANIFEST), serde_json::to_vec_pretty(&manifest)?)?;
        for name in [MANIFEST, "."] {
            fs::File::open(folder.join(name))?.sync_all()?;
        }
        Ok(())
    }
}

/// Whether a memory is kept in `folder`: its manifest is written last.
pub fn is_kept(folder: &Path) -> bool {
    folder.join(MANIFEST).exists()
}

/// The files of the memory that is kept in `folder`.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let files = [MEMORY, MANIFEST].map(|name| folder.join(name));
    if is_kept(folder) { files.into() } else { Vec::new() }
}

/// What is wrong with the memory in `folder`, if one is kept there.
///
/// # Errors
/// When it cannot be read.
pub fn check(folder: &Path) -> Result<Option<String>> {
    if !is_kept(folder) {
        return Ok(None);
    }
    let manifest = serde_json::from_slice(&fs::read(folder.join(MANIFEST))?);
    let manifest: Manifest = manifest.with_context(|| format!("reading {MANIFEST}"))?;
    let is_whole = Whole::of(&folder.join(MEMORY))? == manifest.whole;
    Ok((!is_whole).then(|| format!("{MEMORY} has changed since it was kept (CRC-32)")))
}

/// A kept memory that fits a machine as far as that is known before QEMU runs.
#[derive(Debug)]
pub struct Kept<'a> {
    folder: &'a Path,
    manifest: Manifest,
}

impl<'a> Kept<'a> {
    /// The memory in `folder`, for a machine with `hardware`.
    ///
    /// # Errors
    /// When there is none, or it is of another machine.
    pub fn find(folder: &'a Path, hardware: &Hardware) -> Result<Self, StaleMemory> {
        let manifest: Option<Manifest> = fs::read(folder.join(MANIFEST))
            .ok()
            .and_then(|text| serde_json::from_slice(&text).ok());
        let manifest = manifest.ok_or_else(|| StaleMemory("there is none".to_owned()))?;
        match manifest.hardware.difference(hardware) {
            Some(difference) => Err(StaleMemory(difference)),
            None => Ok(Self { folder, manifest }),
        }
    }

    /// Gives it to the machine in `run_dir`, which waits for it, while it is checked. The guest is paused afterwards.
    ///
    /// # Errors
    /// When it was kept by another QEMU, is damaged, or QEMU does not take it: `alive` tells of its end.
    pub fn load(&self, run_dir: &Path, alive: impl FnMut() -> Result<()>) -> Result<()> {
        let Manifest {
            qemu, mapped, whole, ..
        } = &self.manifest;
        let running = qmp::version(run_dir)?;
        if running != *qemu {
            return Err(StaleMemory(format!("it was kept by QEMU {qemu}, and this is QEMU {running}")).into());
        }
        let file = self.folder.join(MEMORY);
        // A file of another length is not even begun with.
        let bytes = fs::metadata(&file).map_or(0, |data| data.len());
        let cut_off = || StaleMemory(format!("{} is damaged", file.display()));
        if bytes != whole.bytes {
            return Err(cut_off().into());
        }
        std::thread::scope(|scope| {
            let checked = scope.spawn(|| Whole::of(&file));
            let loaded = migration::load(run_dir, &file, *mapped, alive);
            match checked.join() {
                Ok(Ok(found)) if found == *whole => loaded,
                _ => Err(cut_off().into()),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::{Credential, Forward};

    fn boot(port: u16) -> Boot {
        Boot {
            name: format!("machine-{port}"),
            disk: format!("/m/{port}/disk.qcow2").into(),
            cdrom: None,
            kernel: None,
            forwards: Some(vec![Forward { host: port, guest: 22 }]),
            credentials: Vec::new(),
            oem_strings: Vec::new(),
            durability: if port == 1 {
                Durability::Kept
            } else {
                Durability::Scratch
            },
            memory: (port == 1).then(|| "/m/moment".into()),
            run_dir: format!("/m/{port}/run").into(),
        }
    }

    const SIZE: Size = Size {
        cpus: 2,
        memory_mib: 4096,
    };

    #[test]
    fn names_paths_and_ports_do_not_count_but_hardware_does() {
        let kept = Hardware::new(&boot(1), Accelerator::Tcg, SIZE);
        assert_eq!(kept.difference(&Hardware::new(&boot(2), Accelerator::Tcg, SIZE)), None);
        let credentials = vec![Credential {
            name: "a.key",
            file: "/m/key".into(),
        }];
        let table = [
            (boot(1), Accelerator::Kvm, SIZE, "the accelerator TCG"),
            (
                boot(1),
                Accelerator::Tcg,
                Size { cpus: 4, ..SIZE },
                "CPUs: 2, and this one has 4",
            ),
            (
                boot(1),
                Accelerator::Tcg,
                Size {
                    memory_mib: 2048,
                    ..SIZE
                },
                "MiB of memory: 4096",
            ),
            (
                Boot {
                    forwards: None,
                    ..boot(1)
                },
                Accelerator::Tcg,
                SIZE,
                "virtio-net-pci",
            ),
            (Boot { credentials, ..boot(1) }, Accelerator::Tcg, SIZE, "a.key"),
            (
                Boot {
                    cdrom: Some("/iso".into()),
                    ..boot(1)
                },
                Accelerator::Tcg,
                SIZE,
                "the devices",
            ),
        ];
        for (boot, accelerator, size, expected) in table {
            let difference = kept.difference(&Hardware::new(&boot, accelerator, size)).unwrap();
            assert!(difference.contains(expected), "{difference}");
        }
        let host = Hardware::new(&boot(1), Accelerator::Kvm, SIZE);
        let other = Hardware {
            processor: Some("another".into()),
            ..host.clone()
        };
        assert!(host.difference(&other).unwrap().contains("the processor"));
    }

    #[test]
    fn a_damaged_file_is_told_from_a_whole_one() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(MEMORY);
        let mut content = vec![0; 3 << 20];
        content[(1 << 20) + 7] = 1;
        std::fs::write(&file, &content).unwrap();
        let whole = Whole::of(&file).unwrap();
        // The same with holes.
        let sparse = fs::File::create(&file).unwrap();
        sparse.set_len(3 << 20).unwrap();
        std::os::unix::fs::FileExt::write_all_at(sparse.file(), &content[1 << 20..(1 << 20) + 8], 1 << 20).unwrap();
        assert_eq!(Whole::of(&file).unwrap(), whole);
        sparse.set_len(2 << 20).unwrap();
        assert_ne!(Whole::of(&file).unwrap(), whole, "it was cut off");
        sparse.set_len(3 << 20).unwrap();
        std::os::unix::fs::FileExt::write_all_at(sparse.file(), &[2], 5).unwrap();
        assert_ne!(Whole::of(&file).unwrap(), whole, "a byte was flipped");
    }

    #[test]
    fn no_memory_is_stale() {
        let folder = tempfile::tempdir().unwrap();
        let hardware = Hardware::new(&boot(1), Accelerator::Tcg, SIZE);
        Kept::find(folder.path(), &hardware).unwrap_err();
        std::fs::write(folder.path().join(MANIFEST), "{").unwrap();
        Kept::find(folder.path(), &hardware).unwrap_err();
    }
}
