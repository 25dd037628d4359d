//! A machine's memory into a file and back, by QEMU's migration (QEMU, docs/devel/migration/mapped-ram.rst).

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use qapi::qmp::RunState;
use serde_json::{Value, json};

use super::qmp::{self, plain_command};
use crate::cancel::Cancel;
use crate::fault::{Cause, Fault};
use crate::process::kill_point;
use crate::wait::Wait;

plain_command!(
    /// What this QEMU's migration can do.
    QueryCapabilities,
    "query-migrate-capabilities"
);
plain_command!(
    /// What of it is to be used.
    SetCapabilities,
    "migrate-set-capabilities"
);
plain_command!(
    /// Its limits.
    SetParameters,
    "migrate-set-parameters"
);
plain_command!(
    /// Writes the memory.
    Migrate,
    "migrate"
);
plain_command!(
    /// Reads the memory.
    MigrateIncoming,
    "migrate-incoming"
);
plain_command!(
    /// How far either is.
    QueryMigrate,
    "query-migrate"
);
plain_command!(
    /// Gives it up.
    MigrateCancel,
    "migrate_cancel"
);

/// Each page at a place of its own: the file is as large as the memory, with holes, and is read without being parsed.
const MAPPED: &str = "mapped-ram";

/// Bytes a second, without a limit in practice: the guest stands still meanwhile.
const BANDWIDTH: u64 = 1 << 40;

/// How long the writing or reading may stand still.
const STALLED: Duration = Duration::from_secs(120);

/// Writes what the paused machine in `run_dir` has in its memory to `file`, which is there and empty. Gives whether
/// pages are mapped. The guest stays paused.
///
/// # Errors
/// When QEMU cannot write it all.
pub fn save(run_dir: &Path, file: &Path) -> Result<bool> {
    let mapped = can_map(run_dir)?;
    save_as(run_dir, file, mapped).map(|()| mapped)
}

/// The same with pages `mapped`, or as a stream.
///
/// # Errors
/// When QEMU cannot write it all, or not in this way.
pub fn save_as(run_dir: &Path, file: &Path, mapped: bool) -> Result<()> {
    set_mapped(run_dir, mapped)?;
    qmp::order(run_dir, &SetParameters(json!({"max-bandwidth": BANDWIDTH})))?;
    qmp::order(run_dir, &Migrate(json!({"uri": uri(file)?})))?;
    kill_point::pass();
    let mut done = 0;
    let cancel = Cancel::of_user();
    let waited = Wait::new("QEMU to write the memory", STALLED)
        .cancel(&cancel)
        .progress(|| {
            done = written(file);
            done
        })
        .until(|| progress(run_dir));
    if waited.is_err() {
        // It may have ended just now. The guest can go on only once nothing of it is under way.
        let _ = settle(run_dir);
    }
    waited.context("writing the machine's memory")
}

/// Reads the memory of the machine in `run_dir`, which was started to wait for it, from `file`. The guest stays paused.
/// `alive` fails once QEMU has ended, which it does when the file does not fit.
///
/// # Errors
/// When QEMU ends or does not answer.
pub fn load(run_dir: &Path, file: &Path, mapped: bool, mut alive: impl FnMut() -> Result<()>) -> Result<()> {
    set_mapped(run_dir, mapped)?;
    qmp::order(run_dir, &MigrateIncoming(json!({"uri": uri(file)?})))?;
    Wait::new("QEMU to read the memory", STALLED)
        .cancel(&Cancel::of_user())
        .until(|| {
            alive()?;
            // It answers nobody while it reads, and not at all once it has failed.
            let Ok(state) = qmp::run_state(run_dir) else {
                return Ok(None);
            };
            Ok((state != RunState::inmigrate).then_some(()))
        })
}

/// Whether the machine in `run_dir` was paused to write its memory and nobody let it go on.
pub fn is_left(run_dir: &Path) -> bool {
    use RunState::{finish_migrate, paused, postmigrate};
    qmp::run_state(run_dir).is_ok_and(|state| [paused, postmigrate, finish_migrate].contains(&state))
}

/// Gives up a memory that is being written, and waits until nothing of it is under way: QEMU would pause a guest that
/// went on before.
///
/// # Errors
/// When QEMU does not answer.
pub fn settle(run_dir: &Path) -> Result<()> {
    let mut is_cancelled = false;
    Wait::new("QEMU to give up the memory", STALLED).until(|| {
        let info = qmp::order(run_dir, &QueryMigrate(json!({})))?;
        if is_under_way(&info) && !is_cancelled {
            qmp::order(run_dir, &MigrateCancel(json!({})))?;
            is_cancelled = true;
        }
        let state = qmp::run_state(run_dir)?;
        let is_over = !is_under_way(&info) && state != RunState::finish_migrate;
        Ok(is_over.then_some(()))
    })
}

/// Whether a migration has begun and not ended; one that never began has no status.
fn is_under_way(info: &Value) -> bool {
    let ended = ["none", "cancelled", "completed", "failed"];
    info["status"].as_str().is_some_and(|status| !ended.contains(&status))
}

fn can_map(run_dir: &Path) -> Result<bool> {
    let known = qmp::order(run_dir, &QueryCapabilities(json!({})))?;
    let known = known.as_array().map(Vec::as_slice).unwrap_or_default();
    Ok(known.iter().any(|it| it["capability"] == MAPPED))
}

fn set_mapped(run_dir: &Path, mapped: bool) -> Result<()> {
    if !mapped {
        return Ok(());
    }
    let on = json!({"capabilities": [{"capability": MAPPED, "state": true}]});
    qmp::order(run_dir, &SetCapabilities(on)).map(drop)
}

/// QEMU takes what follows `,offset=` as a number.
fn uri(file: &Path) -> Result<String> {
    let path = file.to_str().filter(|path| !path.contains(",offset="));
    let path = path.with_context(|| format!("QEMU cannot write the memory to {}: its path", file.display()))?;
    Ok(format!("file:{path}"))
}

fn written(file: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    fs_err::metadata(file).map_or(0, |data| data.blocks())
}

fn progress(run_dir: &Path) -> Result<Option<()>> {
    judge(&qmp::order(run_dir, &QueryMigrate(json!({})))?)
}

fn judge(info: &Value) -> Result<Option<()>> {
    match info["status"].as_str() {
        Some("completed") => Ok(Some(())),
        Some("failed" | "cancelled") => {
            let said = info["error-desc"].as_str().unwrap_or("it does not say why");
            let cause = if said.contains("No space left") {
                Cause::Space
            } else {
                Cause::Machine
            };
            bail!(Fault::new(
                cause,
                format!("QEMU cannot write the machine's memory: {said}")
            ))
        }
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_quotes_qemu() {
        assert!(judge(&json!({"status": "active"})).unwrap().is_none());
        assert!(judge(&json!({"status": "completed"})).unwrap().is_some());
        let failed = json!({"status": "failed", "error-desc": "Unable to write to file: No space left on device"});
        let error = judge(&failed).unwrap_err();
        assert_eq!(Fault::of(&error).unwrap().cause, Cause::Space);
        assert!(error.to_string().contains("Unable to write"), "{error}");
    }

    #[test]
    fn a_migration_is_under_way_from_its_begin_to_its_end() {
        for status in ["setup", "active", "device", "pre-switchover", "cancelling"] {
            assert!(is_under_way(&json!({"status": status})), "{status}");
        }
        for status in ["none", "cancelled", "completed", "failed"] {
            assert!(!is_under_way(&json!({"status": status})), "{status}");
        }
        assert!(!is_under_way(&json!({})));
    }

    #[test]
    fn a_path_that_qemu_would_cut_is_refused() {
        assert_eq!(uri(Path::new("/m/a,b/memory")).unwrap(), "file:/m/a,b/memory");
        uri(Path::new("/m/a,offset=1/memory")).unwrap_err();
    }
}
