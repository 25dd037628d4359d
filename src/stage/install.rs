//! Boots the ISO's own installer with a seed: no keys are typed and no question is left.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use fs_err as fs;

use super::{Host, Work, lost_timer};
use crate::config::InstallerBoot;
use crate::event::{Event, Stage, Unit};
use crate::fault::{Cause, Fault};
use crate::guest::console::{self, Progress};
use crate::guest::{InstallRecipe, Milestone};
use crate::key::{Inputs, digest};
use crate::machine::driver::{Features, Home};
use crate::machine::{self, Boot, DirectKernel, Durability, Machine, State};
use crate::media::{iso, remaster, seed};
use crate::wait::Wait;

use super::booted::on_failure_show;
use super::standstill::{self, LINES_QUOTED, end_of};
use super::tail::Tail;

/// How long, on a real machine, a question must stand before it counts: one that the seed answers is gone at once.
const QUESTION_STANDS: u64 = 3;

/// What starts the installer: as the user says, where the machine can.
///
/// # Errors
/// A [`Cause::Config`] fault where it cannot.
pub fn installer(wish: Option<InstallerBoot>, features: Features) -> Result<InstallerBoot> {
    match wish {
        Some(InstallerBoot::Kernel) if !features.boots_kernel => bail!(
            Fault::new(Cause::Config, "this machine cannot be given a kernel to boot")
                .hint("leave `--installer` out, or `--installer medium`")
        ),
        Some(wish) => Ok(wish),
        None if features.boots_kernel => Ok(InstallerBoot::Kernel),
        None => Ok(InstallerBoot::Medium),
    }
}

/// What the stage reads, for its key.
pub fn inputs(
    recipe: &InstallRecipe,
    iso_digest: &str,
    disk_gib: u64,
    installer: InstallerBoot,
    features: Features,
) -> Inputs {
    let mut inputs: Inputs = recipe
        .files
        .iter()
        .map(|file| {
            let content = format!("{:o} {}", file.mode, digest(&file.contents));
            (format!("seed {}", file.path), content)
        })
        .collect();
    inputs.insert("iso".into(), iso_digest.to_owned());
    inputs.insert("kernel arguments".into(), recipe.arguments.clone());
    inputs.insert("kernel".into(), recipe.boot.kernel.clone());
    inputs.insert("initrd".into(), recipe.boot.initrd.clone());
    inputs.insert("disk GiB".into(), disk_gib.to_string());
    if installer == InstallerBoot::Medium {
        inputs.insert("installer".into(), "medium".into());
    }
    if let Some(hardware) = features.hardware {
        inputs.insert("hardware".into(), hardware.into());
    }
    inputs
}

/// Installs onto the empty disk of `work`; it is powered off afterwards.
///
/// # Errors
/// When the ISO lacks the kernel, QEMU dies, the installer asks, fails or stands still.
pub fn run(host: &Host, work: &Work, iso: &Path, recipe: &InstallRecipe, installer: InstallerBoot) -> Result<()> {
    host.events.step(Stage::Install, "reading the installer from the ISO");
    let kernel = prepare(work, iso, recipe)?;
    let (cdrom, kernel) = match installer {
        InstallerBoot::Kernel => (iso.to_owned(), Some(kernel)),
        InstallerBoot::Medium => (medium(host, work, iso, recipe, &kernel)?, None),
    };
    let boot = Boot {
        name: work.name.clone(),
        disk: work.disk.clone(),
        cdrom: Some(cdrom),
        kernel,
        forwards: None,
        credentials: Vec::new(),
        oem_strings: Vec::new(),
        durability: Durability::Scratch,
        memory: None,
        run_dir: work.dir.clone(),
    };
    let mut machine = host.machine(&Home::of_stage(&work.dir));
    host.events.step(Stage::Install, "booting the installer");
    machine.start(&boot)?;
    let mut watched = watch(host, machine.as_mut(), &boot, recipe);
    if let Err(error) = &watched
        && lost_timer::is_cause(error)
    {
        host.events.warn(format!("{error}: the installer starts once more"));
        machine.kill()?;
        machine.start(&boot)?;
        watched = watch(host, machine.as_mut(), &boot, recipe);
    }
    on_failure_show(watched, machine.as_mut(), work)
}

/// Takes the kernel from the ISO and appends the seed to its initial RAM disk.
fn prepare(work: &Work, iso: &Path, recipe: &InstallRecipe) -> Result<DirectKernel> {
    let kernel = work.dir.join("vmlinuz");
    let plain = work.dir.join("initrd.plain");
    let initrd = work.dir.join("initrd.gz");
    iso::read_file(iso, &recipe.boot.kernel, &mut fs::File::create(&kernel)?)?;
    iso::read_file(iso, &recipe.boot.initrd, &mut fs::File::create(&plain)?)?;
    let archive = seed::archive(&recipe.files)?;
    // The seed holds the guest's private host key.
    let into = private_file(&initrd)?;
    seed::append_to_initrd(fs::File::open(&plain)?, &archive, into)?;
    fs::remove_file(plain)?;
    Ok(DirectKernel {
        kernel,
        initrd,
        arguments: recipe.arguments.clone(),
    })
}

/// The ISO with the seeded installer in it.
fn medium(host: &Host, work: &Work, iso: &Path, recipe: &InstallRecipe, kernel: &DirectKernel) -> Result<PathBuf> {
    host.events.step(Stage::Install, "remastering the ISO");
    let medium = work.dir.join("medium.iso");
    remaster::remaster(
        iso,
        &recipe.boot,
        &kernel.initrd,
        &kernel.arguments,
        &medium,
        &host.cancel,
    )?;
    Ok(medium)
}

fn private_file(path: &Path) -> Result<std::fs::File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let open = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path);
    open.with_context(|| format!("writing {}", path.display()))
}

/// Follows the installer until the guest has powered off.
fn watch(host: &Host, machine: &mut dyn Machine, boot: &Boot, recipe: &InstallRecipe) -> Result<()> {
    let milestones = recipe.milestones;
    let mut shown = None;
    let mut asked = Standing::default();
    let (console_log, installer_log) = (boot.console(), boot.installer_log());
    let (mut log, mut parts) = (Tail::new(installer_log.clone()), recipe.log.clone());
    let mut watcher = machine.watcher();
    let machine = std::cell::RefCell::new(machine);
    let waited = Wait::new("the installer to finish", host.stall_timeout())
        .cancel(&host.cancel)
        .progress(|| {
            let activity = machine.borrow_mut().activity().unwrap_or_default();
            activity.disk_written + activity.disk_read + size(&console_log) + size(&installer_log)
        })
        .until(|| {
            for part in log.lines().iter().filter_map(|line| parts.line(line)) {
                host.events.emit(Event::Part {
                    stage: Stage::Install,
                    part: part.to_owned(),
                });
            }
            if machine.borrow_mut().state()? == State::Off {
                return Ok(Some(()));
            }
            machine::still_writes(&mut watcher)?;
            let text = end_of(&console_log);
            lost_timer::look(&text)?;
            if let Some(question) = asked.stands(&text, host.patience(QUESTION_STANDS)) {
                return Err(asks(&question));
            }
            tell(host, console::progress(&text, milestones), &mut shown);
            Ok(None)
        });
    waited.map_err(|error| standstill::quoted(error, "the installer", &console_log))?;
    finished(&end_of(&console_log), milestones)
}

/// A power-off before the last milestone is a failure: the installer was ended by something else.
fn finished(text: &str, milestones: &[Milestone]) -> Result<()> {
    let last = milestones.last().context("an installation has milestones")?;
    let seen = console::progress(text, milestones).map(|seen| seen.text);
    if seen == Some(last.text) {
        return Ok(());
    }
    let tail = console::tail(text, LINES_QUOTED);
    Err(Fault::new(
        Cause::Guest,
        format!("the guest powered off before the installer had finished; its console:\n{tail}"),
    )
    .into())
}

fn tell(host: &Host, seen: Option<Progress>, shown: &mut Option<Progress>) {
    let Some(seen) = seen else { return };
    if shown.as_ref() == Some(&seen) {
        return;
    }
    if shown.as_ref().map(|before| before.text) != Some(seen.text) {
        host.events.step(Stage::Install, seen.text);
    }
    host.events.emit(Event::Progress {
        stage: Stage::Install,
        done: u64::from(seen.percent),
        total: Some(100),
        unit: Unit::Percent,
    });
    *shown = Some(seen);
}

/// A question and since when it stands.
#[derive(Debug, Default)]
struct Standing(Option<(String, std::time::Instant)>);

impl Standing {
    /// The question at the end of `console`, once it has stood unchanged for `limit`.
    fn stands(&mut self, console: &str, limit: Duration) -> Option<String> {
        let question = console::question(console);
        match (&self.0, question) {
            (_, None) => self.0 = None,
            (Some((before, since)), Some(now)) if *before == now => {
                return (since.elapsed() >= limit).then_some(now);
            }
            (_, Some(now)) => self.0 = Some((now, std::time::Instant::now())),
        }
        None
    }
}

fn asks(question: &str) -> anyhow::Error {
    Fault::new(
        Cause::Guest,
        format!("the installer stopped at a question:\n{question}"),
    )
    .hint("the installer's log in the failure's folder says why; another ISO may ask what this program does not know")
    .into()
}

fn size(file: &Path) -> u64 {
    std::fs::metadata(file).map_or(0, |data| data.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_counts_once_it_stands() {
        let mut asked = Standing::default();
        let console = "!! ERROR: Bad archive mirror\n[Press enter to continue] ";
        assert_eq!(asked.stands(console, Duration::ZERO), None);
        let question = asked.stands(console, Duration::ZERO).unwrap();
        assert!(question.contains("Bad archive mirror"));
        assert_eq!(asked.stands("Going on", Duration::ZERO), None);
        assert_eq!(asked.stands(console, Duration::from_secs(60)), None);
        assert_eq!(asked.stands(console, Duration::from_secs(60)), None);
    }

    #[test]
    fn an_early_power_off_is_a_failure() {
        let milestones = [
            Milestone {
                title: "Loading",
                text: "loading",
                from: 0,
                to: 50,
            },
            Milestone {
                title: "Finishing",
                text: "finishing",
                from: 50,
                to: 100,
            },
        ];
        assert!(finished("Loading ... 3%\nkernel panic", &milestones).is_err());
        assert!(finished("Finishing ... 92%\nPower down", &milestones).is_ok());
    }
}
