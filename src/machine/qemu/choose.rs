//! Which accelerator a machine gets.

use std::path::Path;

use anyhow::{Result, bail};
use fs_err as fs;
use serde::{Deserialize, Serialize};

use super::probe;
use crate::cancel::Cancel;
use crate::config::AcceleratorChoice;
use crate::fault::{Cause, Fault};
use crate::host::acceleration::{Diagnosis, Seen, Verdict};
use crate::machine::accelerator::Accelerator;

/// An accelerator and, for emulation, why nothing faster was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen {
    /// It.
    pub accelerator: Accelerator,
    /// Why not the host's own, in words; `None` if it is that.
    pub because: Option<String>,
}

/// The file in the cache with a probe's outcome.
const KEPT: &str = "accelerator.json";

/// A probe's outcome as it is kept: valid for one QEMU on one kernel, and a bad one for one boot: what lends a host its
/// virtualisation may change while it is off.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    qemu: String,
    kernel: String,
    boot: String,
    accelerator: Accelerator,
    verdict: Verdict,
}

/// Chooses by the user's wish and by a probe, whose outcome is kept in the folder `cache`.
///
/// # Errors
/// When the wish cannot be fulfilled, or QEMU cannot be started.
pub fn choose(
    wish: AcceleratorChoice,
    qemu: &Path,
    qemu_version: &str,
    cache: &Path,
    cancel: &Cancel,
) -> Result<Chosen> {
    let fast = match wish {
        AcceleratorChoice::Tcg => {
            return Ok(Chosen {
                accelerator: Accelerator::Tcg,
                because: Some("the configuration asks for it".into()),
            });
        }
        AcceleratorChoice::Hvf => Accelerator::Hvf,
        AcceleratorChoice::Auto if cfg!(target_os = "macos") => Accelerator::Hvf,
        AcceleratorChoice::Auto | AcceleratorChoice::Kvm => Accelerator::Kvm,
    };
    let found = diagnosis(fast, qemu, qemu_version, cache, cancel)?;
    if found.works() {
        return Ok(Chosen {
            accelerator: fast,
            because: None,
        });
    }
    if wish == AcceleratorChoice::Auto {
        return Ok(Chosen {
            accelerator: Accelerator::Tcg,
            because: Some(format!("{}; `provision doctor` tells what helps", found.reason())),
        });
    }
    let message = format!("no guest runs under {} here: {}", fast.title(), found.reason());
    let hint = found.hint.unwrap_or_default();
    bail!(Fault::new(Cause::HostMissing, message).hint(format!("{hint}\n`--accelerator auto` falls back to emulation")))
}

/// How `fast` is on this host, with a probe's outcome from the cache where there is one.
///
/// # Errors
/// When QEMU cannot be started at all, or the cache cannot be written.
pub fn diagnosis(
    fast: Accelerator,
    qemu: &Path,
    qemu_version: &str,
    cache: &Path,
    cancel: &Cancel,
) -> Result<Diagnosis> {
    let kept = fs::read(cache.join(KEPT)).ok();
    let kept = kept.and_then(|bytes| serde_json::from_slice::<Kept>(&bytes).ok());
    let holds = |kept: &Kept| {
        (kept.qemu.as_str(), &kept.kernel, kept.accelerator) == (qemu_version, &kernel(), fast)
            && (kept.verdict == Verdict::Runs || kept.boot == boot())
    };
    let Some(kept) = kept.filter(holds) else {
        return diagnosis_anew(fast, qemu, qemu_version, cache, cancel);
    };
    let seen = Seen::look();
    Ok(before_probe(fast, &seen).unwrap_or_else(|| Diagnosis::after_probe(&seen, fast.title(), &kept.verdict)))
}

/// The same by a probe that is made now: what was mended since the last one counts.
///
/// # Errors
/// See [`diagnosis`].
pub fn diagnosis_anew(
    fast: Accelerator,
    qemu: &Path,
    qemu_version: &str,
    cache: &Path,
    cancel: &Cancel,
) -> Result<Diagnosis> {
    let seen = Seen::look();
    if let Some(found) = before_probe(fast, &seen) {
        return Ok(found);
    }
    let verdict = probe::probe(qemu, fast, cancel)?;
    let found = Diagnosis::after_probe(&seen, fast.title(), &verdict);
    if !found.passes() {
        let kept = Kept {
            qemu: qemu_version.to_owned(),
            kernel: kernel(),
            boot: boot(),
            accelerator: fast,
            verdict,
        };
        // What cannot be kept is found out again.
        let kept = serde_json::to_vec(&kept)?;
        let _ = fs::create_dir_all(cache).and_then(|()| fs::write(cache.join(KEPT), kept));
    }
    Ok(found)
}

/// What can be said without starting anything. Not kept: a group membership changes in a minute.
fn before_probe(fast: Accelerator, seen: &Seen) -> Option<Diagnosis> {
    (fast == Accelerator::Kvm)
        .then(|| Diagnosis::before_probe(seen))
        .flatten()
}

fn kernel() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

/// What tells this boot of the host from others; empty where the kernel does not tell (macOS).
fn boot() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn qemu() -> std::path::PathBuf {
        crate::process::find("qemu-system-x86_64").expect("QEMU is installed")
    }

    #[test]
    fn a_probe_is_made_once_for_one_qemu() {
        let cache = tempfile::tempdir().unwrap();
        let ask = |qemu: &Path, version| diagnosis(Accelerator::Tcg, qemu, version, cache.path(), &Cancel::default());
        assert!(ask(&qemu(), "10").unwrap().works());
        // Another program would fail if it were started: the answer comes from the cache.
        assert!(ask(Path::new("/nowhere/qemu"), "10").unwrap().works());
        assert!(ask(Path::new("/nowhere/qemu"), "11").is_err());
    }

    #[test]
    fn a_bad_outcome_holds_until_the_host_starts_again() {
        let cache = tempfile::tempdir().unwrap();
        let keep = |boot: String| {
            let kept = Kept {
                qemu: "10".into(),
                kernel: kernel(),
                boot,
                accelerator: Accelerator::Tcg,
                verdict: Verdict::Silent,
            };
            fs::write(cache.path().join(KEPT), serde_json::to_vec(&kept).unwrap()).unwrap();
        };
        let (program, cancel) = (qemu(), Cancel::default());
        keep(boot());
        let ask = || diagnosis(Accelerator::Tcg, &program, "10", cache.path(), &cancel).unwrap();
        assert!(!ask().works());
        keep("another".into());
        assert!(ask().works(), "a probe was made");
        // Who asks anew is not told the old.
        keep(boot());
        let anew = diagnosis_anew(Accelerator::Tcg, &program, "10", cache.path(), &cancel).unwrap();
        assert!(anew.works());
        assert!(ask().works(), "the new outcome is kept");
    }

    #[test]
    fn what_passes_is_not_kept() {
        let cache = tempfile::tempdir().unwrap();
        let script = cache.path().join("qemu");
        // QEMU's own words when the kernel says EBUSY to KVM_CREATE_VM.
        let words = "qemu-system-x86_64: -accel kvm: ioctl(KVM_CREATE_VM) failed: Device or resource busy";
        crate::process::testing::write_program(&script, &format!("#!/bin/sh\necho '{words}' >&2\nexit 1\n"));
        let ask = |qemu: &Path| diagnosis(Accelerator::Tcg, qemu, "10", cache.path(), &Cancel::default()).unwrap();
        assert!(ask(&script).passes());
        assert!(ask(&qemu()).works());
    }
}
