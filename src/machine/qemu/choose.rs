//! Which accelerator a machine gets.

use std::path::Path;

use anyhow::{Result, bail};
use fs_err as fs;
use serde::{Deserialize, Serialize};

use super::probe::{self, Verdict};
use crate::cancel::Cancel;
use crate::config::AcceleratorChoice;
use crate::fault::{Cause, Fault};
use crate::machine::accelerator::Accelerator;

/// An accelerator and, for emulation, why nothing faster was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen {
    /// It.
    pub accelerator: Accelerator,
    /// Why not the host's own, in words; `None` if it is that.
    pub because: Option<String>,
}

/// Why no guest runs under an accelerator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Obstacle {
    /// Its device cannot be opened.
    #[error("{0}")]
    Device(String),
    /// QEMU refuses, with this message.
    #[error("{}", .0.lines().next().unwrap_or_default())]
    Refused(String),
    /// It starts, but the guest executes nothing.
    #[error("{0} opens and QEMU starts, but the guest executes nothing")]
    Silent(String),
}

/// A probe's outcome as it is kept: valid for one QEMU on one kernel.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    qemu: String,
    kernel: String,
    accelerator: Accelerator,
    /// `None`: a guest runs.
    obstacle: Option<Obstacle>,
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
    let obstacle = obstacle(fast, qemu, qemu_version, cache, cancel)?;
    match obstacle {
        None => Ok(Chosen {
            accelerator: fast,
            because: None,
        }),
        Some(obstacle) if wish == AcceleratorChoice::Auto => Ok(Chosen {
            accelerator: Accelerator::Tcg,
            because: Some(obstacle.to_string()),
        }),
        Some(obstacle) => bail!(
            Fault::new(
                Cause::HostMissing,
                format!("no guest runs under {} here: {obstacle}", fast.title())
            )
            .hint("`--accelerator auto` falls back to emulation; `provision doctor` says more")
        ),
    }
}

/// What keeps a guest from running under `fast`, from the cache or by a probe.
///
/// # Errors
/// When QEMU cannot be started at all.
pub fn obstacle(
    fast: Accelerator,
    qemu: &Path,
    qemu_version: &str,
    cache: &Path,
    cancel: &Cancel,
) -> Result<Option<Obstacle>> {
    if fast == Accelerator::Kvm
        && let Some(obstacle) = device_obstacle(Path::new("/dev/kvm"))
    {
        return Ok(Some(obstacle));
    }
    let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
    let file = cache.join("accelerator.json");
    let kept = fs::read(&file)
        .ok()
        .and_then(|bytes| serde_json::from_slice::<Kept>(&bytes).ok());
    if let Some(kept) = kept
        && (kept.qemu.as_str(), &kept.kernel, kept.accelerator) == (qemu_version, &kernel, fast)
    {
        return Ok(kept.obstacle);
    }
    let obstacle = match probe::probe(qemu, fast, cancel)? {
        Verdict::Runs => None,
        Verdict::Refused(message) => Some(Obstacle::Refused(message)),
        Verdict::Silent => Some(Obstacle::Silent(fast.title().to_owned())),
    };
    let kept = Kept {
        qemu: qemu_version.to_owned(),
        kernel,
        accelerator: fast,
        obstacle: obstacle.clone(),
    };
    fs::create_dir_all(cache)?;
    fs::write(file, serde_json::to_vec(&kept)?)?;
    Ok(obstacle)
}

/// What can be said of KVM's device without starting anything. Not kept: a group membership changes in a minute.
fn device_obstacle(device: &Path) -> Option<Obstacle> {
    match std::fs::OpenOptions::new().read(true).write(true).open(device) {
        Ok(_) => None,
        Err(error) => Some(Obstacle::Device(format!("{}: {error}", device.display()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_device_is_named() {
        let obstacle = device_obstacle(Path::new("/nowhere/kvm")).unwrap();
        assert!(obstacle.to_string().starts_with("/nowhere/kvm: "), "{obstacle}");
    }

    #[test]
    fn a_probe_is_made_once_for_one_qemu() {
        let qemu = crate::process::find("qemu-system-x86_64").expect("QEMU is installed");
        let cache = tempfile::tempdir().unwrap();
        let ask = |qemu: &Path, version| obstacle(Accelerator::Tcg, qemu, version, cache.path(), &Cancel::default());
        assert_eq!(ask(&qemu, "10").unwrap(), None);
        // Another program would fail if it were started: the answer comes from the cache.
        assert_eq!(ask(Path::new("/nowhere/qemu"), "10").unwrap(), None);
        assert!(ask(Path::new("/nowhere/qemu"), "11").is_err());
    }
}
