//! Copies the project, runs `make` in LOGIN's login shell and waits for what it started.

mod diagnosis;
mod make;
mod pinned;
mod settle;
mod undo;

pub use pinned::reference;
use std::time::Duration;
pub use undo::Unclean;

use anyhow::{Context as _, Result, bail};

use super::booted;
use super::{Host, Work, led};
use crate::cancel::Cancel;
use crate::config::Login;
use crate::event::{Event, Stage, Unit};
use crate::facts::Facts;
use crate::fault::{Cause, Fault};
use crate::key::Inputs;
use crate::machine::Forward;
use crate::pins::Images;
use crate::project::Tree;
use crate::ssh::{Exec, Session, Target};

/// The folder in LOGIN's home that receives the project.
pub const GUEST_DIR: &str = "inception";

/// How long, on a real machine, the copy may take.
const COPY_LIMIT: u64 = 600;

/// What is copied and how it is built.
#[derive(Debug)]
pub struct Input {
    /// The files.
    pub tree: Tree,
    /// The make target.
    pub target: Option<String>,
    /// How long `make` may take.
    pub make_timeout: Option<Duration>,
    /// The images of which alone it may make its own.
    pub images: Option<Images>,
}

impl Input {
    /// What the stage reads, for its key. `secret` stands in for the content of secret files.
    ///
    /// # Errors
    /// When a file cannot be read, or the user interrupts.
    pub fn inputs(&self, secret: &[u8; 32], cancel: &Cancel) -> Result<Inputs> {
        let mut inputs = self.tree.inputs(secret, cancel)?;
        // No path of a file has two slashes in a row, so no file's digest is in this one's place.
        inputs.insert("make//target".into(), self.target.clone().unwrap_or_default());
        Ok(inputs)
    }
}

/// Where the site will answer.
struct Site<'a> {
    login: &'a Login,
    https_port: u16,
}

/// What the project is built in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begin {
    /// A machine with an account, and nothing else.
    Account,
    /// One in which the project was built before, with Docker's build cache. A `make` that fails there is no reason to keep
    /// it: it may do in a clean one.
    FormerBuild,
}

/// Runs the stage on the disk of `work`, and tells which images the guest has then. When `make` fails, the machine is left
/// running for the user to look at.
///
/// # Errors
/// When the guest does not come up, the copy fails, `make` does ([`Cause::Make`]), or its images are not those that are
/// pinned.
pub fn run(
    host: &Host,
    work: &Work,
    forwards: &[Forward],
    user: &Target,
    login: &Login,
    input: &Input,
    begin: Begin,
) -> Result<Facts> {
    let keep: fn(&anyhow::Error) -> bool = match begin {
        Begin::Account => is_make,
        Begin::FormerBuild => |_| false,
    };
    booted::with_guest(host, work, Stage::Project, forwards, user, keep, |session| {
        if begin == Begin::FormerBuild {
            undo::run(host, session, login)?;
        }
        let site = Site {
            login,
            https_port: forwards
                .iter()
                .find(|forward| forward.guest == 443)
                .map_or(0, |forward| forward.host),
        };
        led::around(host, Stage::Project, session, led::Engine::Fetches, |session| {
            // By the clock by which `make` works, which may be set back: what is older than its folder is not the project's.
            copy(host, session, &input.tree)?;
            if let Some(images) = &input.images {
                pinned::pull(host, session, images)?;
            }
            make::run(host, work, session, &site, input)?;
            let facts = pinned::look(host, session, input.images.as_ref())?;
            settle::wait(host, session, &site)?;
            Ok(facts)
        })
    })
}

/// Whether an error is `make`'s.
pub fn is_make(error: &anyhow::Error) -> bool {
    Fault::of(error).is_some_and(|fault| fault.cause == Cause::Make)
}

fn copy(host: &Host, session: &mut Session, tree: &Tree) -> Result<()> {
    host.events.step(Stage::Project, "copying the project");
    let total = tree.total_bytes();
    // The archive is made while it is sent: nothing of it lies on the host.
    let (reader, writer) = std::io::pipe().context("making a pipe for the project's archive")?;
    let job = Exec::new(format!(
        "rm -rf {GUEST_DIR} && mkdir {GUEST_DIR} && tar -x -p -f - -C {GUEST_DIR}"
    ))
    .limit(host.patience(COPY_LIMIT))
    .cancel(&host.cancel);
    let mut counted = Counted {
        reader,
        host,
        done: 0,
        total,
    };
    let mut said = String::new();
    let (packed, status) = std::thread::scope(|scope| {
        let packing = scope.spawn(|| tree.write_tar(writer));
        let status = session.exec(&job, Some(&mut counted), &mut |_, line| {
            said += line;
            said.push('\n');
        });
        // Closing the pipe's end lets the packing stop if the guest did.
        drop(counted);
        let packed = packing.join().unwrap_or_else(|_| bail!("the packing stopped"));
        (packed, status)
    });
    // When the packing fails the guest's tar does too, and knows less of why; a broken pipe is the other way round.
    let broken = |error: &anyhow::Error| {
        let kind = error
            .root_cause()
            .downcast_ref::<std::io::Error>()
            .map(std::io::Error::kind);
        kind == Some(std::io::ErrorKind::BrokenPipe)
    };
    if let Err(error) = &packed
        && !broken(error)
    {
        return packed;
    }
    let status = status.context("copying the project into the guest")?;
    if status != 0 {
        bail!(Fault::new(
            Cause::Guest,
            format!("unpacking the project in the guest failed with exit code {status}: {said}")
        ));
    }
    packed
}

/// Tells how much of the archive has been sent.
struct Counted<'a> {
    reader: std::io::PipeReader,
    host: &'a Host,
    done: u64,
    total: u64,
}

impl std::io::Read for Counted<'_> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let count = self.reader.read(into)?;
        self.done += count as u64;
        self.host.events.emit(Event::Progress {
            stage: Stage::Project,
            done: self.done.min(self.total),
            total: Some(self.total),
            unit: Unit::Bytes,
        });
        Ok(count)
    }
}
