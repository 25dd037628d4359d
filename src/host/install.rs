//! Installing what the host lacks. The only place where the program becomes root, and only when asked to.

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tempfile::NamedTempFile;

use super::check::{Finding, findings};
use super::manager::{Manager, Remedy};
use super::os::Os;
use crate::cancel::Cancel;
use crate::event::Events;
use crate::fault::{Cause, Fault};
use crate::process::{self, CommandLine};

/// How long apt may take to print its configuration.
const LIMIT: Duration = Duration::from_secs(60);

/// Refuses to go on when the host lacks a program; the hint is the exact command that installs it.
///
/// # Errors
/// A [`Cause::HostMissing`] fault, or an interruption.
pub fn require(cancel: &Cancel) -> Result<()> {
    let missing = missing(cancel)?;
    if missing.is_empty() {
        return Ok(());
    }
    let Some(remedy) = remedy(&missing, cancel)? else {
        return Err(no_manager(&missing).into());
    };
    let hint = format!("run `{}`\nor let `--install-missing` do it", remedy.typed());
    Err(Fault::new(Cause::HostMissing, lacks(&missing)).hint(hint).into())
}

/// Installs what the host lacks, if anything, with its own package manager, and looks again.
///
/// # Errors
/// [`Cause::HostMissing`] when that did not help: there is no known package manager, it failed, or the host's release
/// has only an older QEMU.
pub fn install_missing(cancel: &Cancel, events: &Events) -> Result<()> {
    let before = missing(cancel)?;
    if before.is_empty() {
        return Ok(());
    }
    let Some(remedy) = remedy(&before, cancel)? else {
        return Err(no_manager(&before).into());
    };
    events.note(format!("installing what this host lacks: {}", names(&before)));
    run(&remedy, cancel, events)?;
    let after = missing(cancel)?;
    if after.is_empty() {
        return Ok(());
    }
    let fault = Fault::new(Cause::HostMissing, lacks(&after));
    Err(fault
        .hint("the packages of this host's release do not serve; install a newer QEMU and put it on PATH")
        .into())
}

fn missing(cancel: &Cancel) -> Result<Vec<Finding>> {
    let mut findings = findings(cancel)?;
    findings.retain(|finding| !finding.is_present());
    Ok(findings)
}

fn names(missing: &[Finding]) -> String {
    let names: Vec<&str> = missing.iter().map(|finding| finding.program).collect();
    names.join(", ")
}

fn lacks(missing: &[Finding]) -> String {
    let words = |finding: &Finding| format!("{} {}", finding.program, finding.words());
    let lines: Vec<String> = missing.iter().map(words).collect();
    format!("this host lacks something: {}", lines.join("; "))
}

fn no_manager(missing: &[Finding]) -> Fault {
    let known: Vec<&str> = Manager::ALL.iter().map(|manager| manager.program()).collect();
    let hint = format!(
        "install {} by hand; none of {} is here",
        names(missing),
        known.join(", ")
    );
    Fault::new(Cause::HostMissing, lacks(missing)).hint(hint)
}

/// What to do on this host; `None` when it has no known package manager.
fn remedy(missing: &[Finding], cancel: &Cancel) -> Result<Option<Remedy>> {
    let Some(manager) = Manager::ALL.into_iter().find(|m| process::find(m.program()).is_some()) else {
        return Ok(None);
    };
    let targets = if manager == Manager::Apt {
        let line = CommandLine::new(manager.program(), ["indextargets"]);
        let finished = process::run(&line, LIMIT, cancel)?;
        String::from_utf8_lossy(&finished.stdout).into_owned()
    } else {
        String::new()
    };
    let root = rustix::process::geteuid().is_root();
    let programs: Vec<&str> = missing.iter().map(|finding| finding.program).collect();
    Ok(Some(Remedy::new(
        manager,
        &programs,
        &Os::of_host(),
        &targets,
        has_lists(manager),
        root,
    )))
}

/// Whether the manager has lists of packages: fresh images come without.
fn has_lists(manager: Manager) -> bool {
    let (folder, mark) = match manager {
        Manager::Apt => ("/var/lib/apt/lists", "_Packages"),
        Manager::Apk => ("/var/cache/apk", "APKINDEX"),
        Manager::Pacman => ("/var/lib/pacman/sync", ".db"),
        Manager::Dnf | Manager::Brew => return true,
    };
    std::fs::read_dir(folder).is_ok_and(|entries| {
        let mut names = entries.filter_map(Result::ok).map(|entry| entry.file_name());
        names.any(|name| name.to_string_lossy().contains(mark))
    })
}

fn run(remedy: &Remedy, cancel: &Cancel, events: &Events) -> Result<()> {
    if remedy.sudo && process::find("sudo").is_none() {
        let fault = Fault::new(
            Cause::HostMissing,
            "installing packages needs root, and there is no sudo",
        );
        bail!(fault.hint(format!("as root: `{}`", remedy.by_root().typed())));
    }
    let file = match &remedy.source {
        Some(source) => {
            let mut file = NamedTempFile::new().context("writing apt's source of backports")?;
            writeln!(file, "{}", source.line).context("writing apt's source of backports")?;
            Some(file)
        }
        None => None,
    };
    let commands = remedy.commands(file.as_ref().map(NamedTempFile::path));
    let Err(error) = commands.iter().try_for_each(|line| step(line, cancel, events)) else {
        return Ok(());
    };
    cancel.check()?;
    // Lists that are older than the mirror name packages that it no longer has.
    match (remedy.refresh(), commands.last()) {
        (Some(refresh), Some(install)) => {
            events.note("once more with new lists of packages");
            step(&refresh, cancel, events)?;
            step(install, cancel, events)
        }
        _ => Err(error),
    }
}

fn step(line: &CommandLine, cancel: &Cancel, events: &Events) -> Result<()> {
    cancel.check()?;
    events.note(format!("running {line}"));
    let status = process::run_on_terminal(line)?;
    if status.success() {
        return Ok(());
    }
    let fault = Fault::new(Cause::HostMissing, format!("`{line}` failed ({status})"));
    let hint = if std::io::stdin().is_terminal() {
        "its own message is above"
    } else {
        "its own message is above; sudo asks for a password on a terminal only"
    };
    Err(fault.hint(hint).into())
}
