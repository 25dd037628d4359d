//! Installing what the host lacks. The only place where the program becomes root, and only when asked to.

use std::io::{IsTerminal as _, Write as _};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tempfile::NamedTempFile;

use super::check::{Finding, NAMELESS, findings};
use super::manager::{Manager, Remedy};
use super::os::Os;
use crate::cancel::Cancel;
use crate::event::Events;
use crate::fault::{Cause, Fault};
use crate::process::{self, CommandLine};

/// How long apt may take to print its configuration.
const LIMIT: Duration = Duration::from_secs(60);

/// What becomes root.
const SUDO: &str = "sudo";

/// Its flag for failing rather than asking for a password.
const NEVER_ASK: &str = "-n";

/// Refuses to go on when the host lacks a program; the hint is the exact command that installs it.
///
/// # Errors
/// A [`Cause::HostMissing`] fault, or an interruption.
pub fn require(cancel: &Cancel) -> Result<()> {
    let missing = missing(cancel)?;
    if missing.is_empty() {
        return Ok(());
    }
    if missing.iter().all(Finding::is_for_a_name) {
        return Err(Fault::new(Cause::HostMissing, lacks(&missing)).hint(NAMELESS).into());
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
    let by_root = remedy.by_root().typed();
    let step = |line: &CommandLine| step(line, &by_root, cancel, events);
    let Err(error) = commands.iter().try_for_each(step) else {
        return Ok(());
    };
    cancel.check()?;
    // Lists that are older than the mirror name packages that it no longer has.
    match (remedy.refresh(), commands.last()) {
        (Some(refresh), Some(install)) => {
            events.note("once more with new lists of packages");
            step(&refresh)?;
            step(install)
        }
        _ => Err(error),
    }
}

/// Runs `line`; `by_root` is what root types in place of all the steps.
fn step(line: &CommandLine, by_root: &str, cancel: &Cancel, events: &Events) -> Result<()> {
    cancel.check()?;
    let line = &unattended(line, std::io::stdin().is_terminal());
    events.note(format!("running {line}"));
    let status = process::run_on_terminal(line)?;
    if status.success() {
        return Ok(());
    }
    // It ended because the user did not want it any more.
    cancel.check()?;
    let fault = Fault::new(Cause::HostMissing, format!("`{line}` failed ({status})"));
    Err(fault.hint(hint(line, by_root)).into())
}

/// The same without a question where nobody is there to answer: sudo asks at the terminal that it belongs to, even if its
/// standard input is none.
fn unattended(line: &CommandLine, terminal: bool) -> CommandLine {
    if terminal || line.program != Path::new(SUDO) {
        return line.clone();
    }
    CommandLine::new(SUDO, [NEVER_ASK.into()].into_iter().chain(line.args.iter().cloned()))
}

/// What to do about `line`, which failed.
fn hint(line: &CommandLine, by_root: &str) -> String {
    let above = "its own message is above";
    let without_asking = line.program == Path::new(SUDO) && line.args.first().is_some_and(|arg| arg == NEVER_ASK);
    if !without_asking {
        return above.to_owned();
    }
    format!("{above}; without a terminal sudo is not asked for a password: as root run `{by_root}`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_terminal_sudo_asks_for_nothing() {
        let sudo = CommandLine::new("sudo", ["apt-get", "install", "-y", "qemu-utils"]);
        let root = CommandLine::new("apt-get", ["update"]);
        for (line, terminal, expected, hinted) in [
            (&sudo, true, "sudo apt-get install -y qemu-utils", "above"),
            (
                &sudo,
                false,
                "sudo -n apt-get install -y qemu-utils",
                "its own message is above; without a terminal sudo is not asked for a password: as root run \
                 `apt-get update && apt-get install -y qemu-utils`",
            ),
            (&root, true, "apt-get update", "its own message is above"),
            (&root, false, "apt-get update", "its own message is above"),
        ] {
            let line = unattended(line, terminal);
            assert_eq!(line.to_string(), expected);
            let hint = hint(&line, "apt-get update && apt-get install -y qemu-utils");
            assert!(hint.ends_with(hinted), "{hint}");
        }
    }
}
