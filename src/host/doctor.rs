//! What `provision doctor` finds out about the host.

use std::path::{Path, PathBuf};

use anyhow::Result;
use bytesize::ByteSize;
use serde::Serialize;

use super::check::{Finding, findings};
use super::{disk, ports};
use crate::cancel::Cancel;
use crate::report::{Output, Paint};

/// What a machine's disk and its checkpoints take in all, in bytes: below this `create` may fail.
const ROOM: u64 = 12 << 30;

/// How the host's accelerator is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum AcceleratorReport {
    /// A guest really runs under it.
    Works {
        /// `KVM` or `HVF`.
        name: String,
    },
    /// The processor has no virtualisation, or the firmware hides it.
    NoCpuFlag,
    /// The kernel's module is not loaded.
    ModuleMissing,
    /// There is no `/dev/kvm`, although the module is loaded.
    DeviceMissing,
    /// This user may not open the device.
    NoPermission,
    /// The device opens and QEMU starts, but a guest executes nothing.
    RunsNothing,
    /// It fails in another way; the message says how.
    Refused {
        /// QEMU's or the system's words.
        message: String,
    },
}

impl AcceleratorReport {
    /// How it is, in words.
    pub fn words(&self) -> String {
        match self {
            Self::Works { name } => format!("{name}: a guest runs under it"),
            Self::NoCpuFlag => "none: the processor shows no virtualisation (vmx or svm)".to_owned(),
            Self::ModuleMissing => "none: KVM's module is not loaded".to_owned(),
            Self::DeviceMissing => "none: there is no /dev/kvm".to_owned(),
            Self::NoPermission => "none: you may not open /dev/kvm".to_owned(),
            Self::RunsNothing => "none: the device opens, but a guest executes nothing".to_owned(),
            Self::Refused { message } => format!("none: {message}"),
        }
    }

    /// What would help; `None` when it works.
    pub const fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Works { .. } => None,
            Self::NoCpuFlag => {
                Some("switch VT-x or AMD-V on in the firmware; in a virtual machine, nested virtualisation")
            }
            Self::ModuleMissing => Some("sudo modprobe kvm_intel, or kvm_amd"),
            Self::DeviceMissing => Some("in a container, pass the device: --device /dev/kvm"),
            Self::NoPermission => Some("sudo usermod -aG kvm \"$USER\", then log in again"),
            Self::RunsNothing => Some("this host lends no virtualisation to its guests; emulation is used"),
            Self::Refused { .. } => Some("emulation is used"),
        }
    }

    /// What can be told of KVM without starting anything; `None` when the device opens, so that only a guest that runs
    /// tells more.
    pub fn of_kvm() -> Option<Self> {
        let flags = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let module = Path::new("/sys/module/kvm").exists();
        let device = Path::new("/dev/kvm");
        let opened = std::fs::OpenOptions::new().read(true).write(true).open(device);
        Self::judge(&flags, module, opened.err().as_ref())
    }

    /// The device's own answer counts more than the flags: a host without them may still lend a working device.
    fn judge(cpuinfo: &str, module: bool, error: Option<&std::io::Error>) -> Option<Self> {
        let error = error?;
        Some(match error.kind() {
            std::io::ErrorKind::PermissionDenied => Self::NoPermission,
            std::io::ErrorKind::NotFound if !has_virtualisation(cpuinfo) => Self::NoCpuFlag,
            std::io::ErrorKind::NotFound if !module => Self::ModuleMissing,
            std::io::ErrorKind::NotFound => Self::DeviceMissing,
            _ => Self::Refused {
                message: format!("/dev/kvm: {error}"),
            },
        })
    }
}

/// Whether `/proc/cpuinfo` shows Intel's or AMD's virtualisation.
fn has_virtualisation(cpuinfo: &str) -> bool {
    let flags = cpuinfo.lines().filter(|line| line.starts_with("flags"));
    flags
        .flat_map(str::split_whitespace)
        .any(|flag| matches!(flag, "vmx" | "svm"))
}

/// The room in a folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Room {
    /// What is kept there.
    pub holds: &'static str,
    /// The folder.
    pub path: PathBuf,
    /// How many bytes this user may still write there.
    pub free_bytes: u64,
}

/// The usual ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Port {
    /// The port.
    pub port: u16,
    /// Whether it can be bound on 127.0.0.1 now.
    pub free: bool,
}

/// All that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Examination {
    /// The programs.
    pub programs: Vec<Finding>,
    /// The accelerator.
    pub accelerator: AcceleratorReport,
    /// VirtualBox, which may run machines instead of QEMU.
    pub virtualbox: VirtualBoxReport,
    /// The disks.
    pub room: Vec<Room>,
    /// The ports.
    pub ports: Vec<Port>,
}

/// How VirtualBox is on this host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum VirtualBoxReport {
    /// It is not installed, and need not be.
    Absent,
    /// It is there, but cannot be used.
    Unusable {
        /// Why.
        message: String,
    },
    /// It is there.
    Present {
        /// Its version.
        version: String,
        /// Whether its kernel driver is loaded; it runs no machine without.
        driver: bool,
    },
}

impl VirtualBoxReport {
    /// The row for a person; none where it is not installed.
    fn row(&self) -> Option<(Mark, String, String, Option<&'static str>)> {
        let (mark, words, hint) = match self {
            Self::Absent => return None,
            Self::Unusable { message } => (Mark::Poor, message.clone(), None),
            Self::Present { version, driver: true } => (Mark::Good, version.clone(), None),
            Self::Present { version, driver: false } => (
                Mark::Poor,
                format!("{version}, but its kernel driver is not loaded"),
                Some("`sudo modprobe vboxdrv`; without a driver for this kernel, `sudo /sbin/vboxconfig` builds one"),
            ),
        };
        Some((mark, "VirtualBox".to_owned(), words, hint))
    }
}

/// Looks at the host. `folders` are where much is written, with what is kept there; `accelerator` and `virtualbox` are
/// found out by who can run a guest.
///
/// # Errors
/// When a file system does not answer, or the user interrupts.
pub fn examine(
    accelerator: AcceleratorReport,
    virtualbox: VirtualBoxReport,
    folders: &[(&'static str, PathBuf)],
    cancel: &Cancel,
) -> Result<Examination> {
    let room = |(holds, path): &(&'static str, PathBuf)| {
        Ok(Room {
            holds,
            path: path.clone(),
            free_bytes: disk::free_space(path)?,
        })
    };
    let port = |port| Port {
        port,
        free: ports::bind(port).is_ok(),
    };
    Ok(Examination {
        programs: findings(cancel)?,
        accelerator,
        virtualbox,
        room: folders.iter().map(room).collect::<Result<_>>()?,
        ports: [443, 8443].map(port).to_vec(),
    })
}

#[cfg(test)]
impl Examination {
    /// Whether `create` can work here. Emulation, little room and taken ports do not keep it from that.
    pub fn is_sound(&self) -> bool {
        self.programs.iter().all(Finding::is_present)
    }
}

impl Output for Examination {
    fn text(&self, paint: Paint) -> String {
        let programs = self.programs.iter().map(|finding| {
            let mark = if finding.is_present() { Mark::Good } else { Mark::Bad };
            (mark, finding.program.to_owned(), finding.words(), None)
        });
        let accelerator = {
            let hint = self.accelerator.hint();
            let mark = if hint.is_none() { Mark::Good } else { Mark::Poor };
            (mark, "accelerator".to_owned(), self.accelerator.words(), hint)
        };
        let room = self.room.iter().map(|room| {
            let free = ByteSize::b(room.free_bytes).display().iec();
            let words = format!("{free} free in {}", room.path.display());
            let (mark, hint) = match room.free_bytes {
                0..ROOM => (Mark::Poor, Some("`provision cache prune` deletes what no machine uses")),
                _ => (Mark::Good, None),
            };
            (mark, room.holds.to_owned(), words, hint)
        });
        let ports = self.ports.iter().map(|port| {
            let (mark, words) = if port.free {
                (Mark::Good, "free on 127.0.0.1")
            } else {
                (Mark::Poor, "taken, or not yours to bind; another is chosen")
            };
            (mark, format!("port {}", port.port), words.to_owned(), None)
        });
        let rows = programs
            .chain([accelerator])
            .chain(self.virtualbox.row())
            .chain(room)
            .chain(ports);
        let line = |(mark, name, words, hint): (Mark, String, String, Option<&str>)| {
            let hint = hint.map(|hint| format!("\n  {} {hint}", paint.cyan("hint:")));
            format!("{} {name:<18} {words}{}", mark.painted(paint), hint.unwrap_or_default())
        };
        rows.map(line).collect::<Vec<String>>().join("\n")
    }
}

/// How good a finding is.
#[derive(Clone, Copy)]
enum Mark {
    Good,
    Poor,
    Bad,
}

impl Mark {
    fn painted(self, paint: Paint) -> String {
        match self {
            Self::Good => paint.green("✔"),
            Self::Poor => paint.yellow("!"),
            Self::Bad => paint.red("✘"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Error, ErrorKind};

    #[test]
    fn kvm_is_judged_by_its_device_first() {
        let intel = "flags\t\t: fpu vmx sse\n";
        let none = "flags\t\t: fpu sse\n";
        let denied = Error::from(ErrorKind::PermissionDenied);
        let absent = Error::from(ErrorKind::NotFound);
        for (cpuinfo, module, error, expected) in [
            (intel, true, None, None),
            (none, false, None, None),
            (intel, true, Some(&denied), Some(AcceleratorReport::NoPermission)),
            (none, false, Some(&absent), Some(AcceleratorReport::NoCpuFlag)),
            (intel, false, Some(&absent), Some(AcceleratorReport::ModuleMissing)),
            (intel, true, Some(&absent), Some(AcceleratorReport::DeviceMissing)),
        ] {
            assert_eq!(AcceleratorReport::judge(cpuinfo, module, error), expected);
        }
        let busy = Error::from(ErrorKind::ResourceBusy);
        let report = AcceleratorReport::judge(intel, true, Some(&busy)).unwrap();
        assert!(report.words().contains("/dev/kvm"), "{}", report.words());
    }

    #[test]
    fn this_host_is_examined() {
        let dir = tempfile::tempdir().unwrap();
        let folders = [("cache", dir.path().join("not/yet"))];
        let found = examine(
            AcceleratorReport::RunsNothing,
            VirtualBoxReport::Absent,
            &folders,
            &Cancel::default(),
        )
        .unwrap();
        assert!(found.is_sound());
        assert!(found.room[0].free_bytes > 0);
        assert_eq!(found.ports.len(), 2);
    }

    #[test]
    fn the_findings_are_told_with_hints() {
        let found = Examination {
            programs: vec![
                Finding {
                    program: "qemu-system-x86_64",
                    state: super::super::State::TooOld {
                        path: "/usr/bin/qemu-system-x86_64".into(),
                        version: super::super::version::Version { major: 7, minor: 2 },
                    },
                },
                Finding {
                    program: "qemu-img",
                    state: super::super::State::Absent,
                },
            ],
            accelerator: AcceleratorReport::NoPermission,
            virtualbox: VirtualBoxReport::Present {
                version: "7.2".into(),
                driver: false,
            },
            room: vec![Room {
                holds: "cache",
                path: "/home/jdoe/.cache/provision".into(),
                free_bytes: 5 << 30,
            }],
            ports: vec![Port { port: 443, free: false }, Port { port: 8443, free: true }],
        };
        assert!(!found.is_sound());
        insta::assert_snapshot!(found.text(Paint::NONE), @r#"
        ✘ qemu-system-x86_64 7.2 is too old (/usr/bin/qemu-system-x86_64): 8.2 is needed, as older ones crash their guests
        ✘ qemu-img           missing
        ! accelerator        none: you may not open /dev/kvm
          hint: sudo usermod -aG kvm "$USER", then log in again
        ! VirtualBox         7.2, but its kernel driver is not loaded
          hint: `sudo modprobe vboxdrv`; without a driver for this kernel, `sudo /sbin/vboxconfig` builds one
        ! cache              5.0 GiB free in /home/jdoe/.cache/provision
          hint: `provision cache prune` deletes what no machine uses
        ! port 443           taken, or not yours to bind; another is chosen
        ✔ port 8443          free on 127.0.0.1
        "#);
        insta::assert_snapshot!(serde_json::to_string_pretty(&found).unwrap(), @r#"
        {
          "programs": [
            {
              "program": "qemu-system-x86_64",
              "state": "too_old",
              "path": "/usr/bin/qemu-system-x86_64",
              "version": "7.2"
            },
            {
              "program": "qemu-img",
              "state": "absent"
            }
          ],
          "accelerator": {
            "state": "no_permission"
          },
          "virtualbox": {
            "state": "present",
            "version": "7.2",
            "driver": false
          },
          "room": [
            {
              "holds": "cache",
              "path": "/home/jdoe/.cache/provision",
              "free_bytes": 5368709120
            }
          ],
          "ports": [
            {
              "port": 443,
              "free": false
            },
            {
              "port": 8443,
              "free": true
            }
          ]
        }
        "#);
    }
}
