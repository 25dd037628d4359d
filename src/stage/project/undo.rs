//! Takes the guest of a former build back to its account, with the build cache of Docker: another build does again only what
//! has changed.

use anyhow::Result;

use super::GUEST_DIR;
use crate::config::Login;
use crate::event::Stage;
use crate::fault::{Cause, Fault};
use crate::ssh::{Exec, Session};
use crate::stage::{Host, as_root};

const SCRIPT: &str = include_str!("../../../provision/debian/undo.sh");

/// The script's exit code when the former build changed what cannot be taken back.
const UNCLEAN: i32 = 3;

/// How long, in seconds on a real machine, that may take: containers are ended, and every file is looked at.
const LIMIT: u64 = 120;

/// The former build changed what cannot be taken back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unclean(String);

impl Unclean {
    /// For the reason `why`.
    pub fn new(why: impl Into<String>) -> Self {
        Self(why.into())
    }
}

/// Takes back what the former build did.
///
/// # Errors
/// [`Unclean`], or when the script fails.
pub fn run(host: &Host, session: &mut Session, login: &Login) -> Result<()> {
    host.events.step(Stage::Project, "taking back the former build");
    let words = ["--login", login.as_str(), "--folder", GUEST_DIR].map(str::to_owned);
    let job = Exec::new(as_root::SHELL)
        .limit(host.patience(LIMIT))
        .cancel(&host.cancel);
    let ran = as_root::run(&job, session, "undo", SCRIPT, &words)?;
    match ran.status {
        0 => Ok(()),
        UNCLEAN => Err(Unclean(ran.errors).into()),
        status => Err(Fault::new(
            Cause::Guest,
            format!(
                "taking back the former build ended with exit code {status}: {}",
                ran.errors
            ),
        )
        .into()),
    }
}

#[cfg(test)]
mod script;
