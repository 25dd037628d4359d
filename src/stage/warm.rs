//! A stage that ends with a kept memory: the next one goes on from there instead of booting.

use std::path::Path;

use anyhow::{Result, anyhow};
use fs_err as fs;

use super::{Host, Work, as_root};
use crate::event::Stage;
use crate::fault::{Cause, Fault};
use crate::machine::Machine;
use crate::ssh::{Exec, Session};

const SCRIPT: &str = include_str!("../../provision/debian/freeze.sh");

/// What the script prints once the file system stands still.
const FROZEN: &[u8] = b"frozen\n";

/// How long, in seconds on a real machine, that may take: everything is written and free memory cleared first.
const LIMIT: u64 = 60;

/// Keeps the memory of a stage's machine, which ends, in the folder where the work wants it. Gives whether it did;
/// where it cannot be kept that is told, and the machine runs on. The session's user is root or may be.
///
/// # Errors
/// When the user interrupts.
pub fn hibernate(
    host: &Host,
    work: &Work,
    stage: Stage,
    machine: &mut dyn Machine,
    session: &mut Session,
) -> Result<bool> {
    let Some(folder) = &work.keeps else {
        return Ok(false);
    };
    host.events.step(stage, "keeping the memory");
    let touched = machine.touched();
    let kept = freeze(host, session, touched).and_then(|()| {
        fs::create_dir_all(folder)?;
        machine.hibernate(folder)
    });
    let Err(error) = kept else {
        return Ok(true);
    };
    if Fault::is_stop(&error) {
        return Err(error);
    }
    host.events
        .warn(format!("the memory is not kept, the next stage will boot: {error:#}"));
    abandon(host, folder, session);
    Ok(false)
}

/// The script for a guest that has ever touched so many bytes of its memory, where that is known.
fn script(touched: Option<u64>) -> String {
    let kib = touched.map_or_else(String::new, |bytes| (bytes / 1024).to_string());
    format!("touched={kib}\n{SCRIPT}")
}

/// Returns once the guest's file system stands still.
fn freeze(host: &Host, session: &mut Session, touched: Option<u64>) -> Result<()> {
    let job = Exec::new(as_root::SHELL)
        .limit(host.patience(LIMIT))
        .cancel(&host.cancel);
    let (script, mut said) = (script(touched), Vec::new());
    let ran = session.exec_bytes(&job, Some(&mut script.as_bytes()), &mut |_, bytes| {
        said.extend_from_slice(bytes);
        // The script goes on in the guest; nobody listens to it any more.
        if said.ends_with(FROZEN) {
            Err(anyhow!("frozen"))
        } else {
            Ok(())
        }
    });
    if said.ends_with(FROZEN) {
        return Ok(());
    }
    let status = ran?;
    let said = String::from_utf8_lossy(&said).into_owned();
    Err(Fault::new(
        Cause::Guest,
        format!(
            "freezing the guest's file system failed with exit code {status}: {}",
            said.trim()
        ),
    )
    .into())
}

/// Lets the guest write again, and removes what there is of its memory.
fn abandon(host: &Host, folder: &Path, session: &mut Session) {
    let job = Exec::new(as_root::SHELL)
        .limit(host.patience(LIMIT))
        .cancel(&host.cancel);
    let mut script = &b": > /run/provision-thaw\nfsfreeze --unfreeze /\n"[..];
    // It may not have been frozen; if it was, the script lets it go on after a while.
    let _ = session.exec(&job, Some(&mut script), &mut |_, _| ());
    let _ = fs::remove_dir_all(folder);
}

/// Whether a stage's end is a good one to keep the memory: what follows is quick but for its boot.
pub const fn is_worth_it(stage: Stage) -> bool {
    matches!(stage, Stage::Docker | Stage::Account | Stage::Project)
}

/// Where in a folder of work the memory is kept.
pub const FOLDER: &str = "memory";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_is_told_what_the_guest_has_touched() {
        for (touched, line) in [(None, "touched="), (Some(3 << 20), "touched=3072")] {
            assert_eq!(script(touched).lines().next(), Some(line));
        }
    }

    #[test]
    fn the_script_says_what_is_waited_for() {
        let word = std::str::from_utf8(FROZEN).unwrap().trim();
        let says = format!("echo {word}");
        assert!(SCRIPT.lines().any(|line| line.trim() == says));
    }
}
