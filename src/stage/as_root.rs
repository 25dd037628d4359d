//! A script of ours that runs as root in a guest. It comes by standard input with all that it is told, so that no log of the
//! guest names more than a shell.

use std::io::Read;

use anyhow::{Context as _, Result};

use crate::event::Stream;
use crate::ssh::{Exec, Session};

/// A shell of root's that reads its commands from its standard input, for root as for whoever may become root.
pub const SHELL: &str = "if [ \"$(id -u)\" = 0 ]; then exec sh -s; else exec sudo -n sh -s; fi";

/// How a script ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ran {
    /// Its exit code.
    pub status: i32,
    /// What it wrote to standard error, without `NAME: error: `.
    pub errors: String,
}

/// Runs the script `text` called `name` with the arguments `words` by `job`, whose command is [`SHELL`].
///
/// # Errors
/// When the connection breaks, the job's limit is reached, or the user interrupts.
pub fn run(job: &Exec<'_>, session: &mut Session, name: &str, text: &str, words: &[String]) -> Result<Ran> {
    let words = shlex::try_join(words.iter().map(String::as_str))
        .with_context(|| format!("quoting the arguments of {name}.sh"))?;
    let text = format!("set -- {words}\n{text}");
    let (mut input, prefix) = (text.as_bytes(), format!("{name}: error: "));
    let mut said = Vec::new();
    let status = session.exec(job, Some(&mut input as &mut dyn Read), &mut |stream, line| {
        if stream == Stream::Stderr {
            said.push(line.trim_start_matches(&prefix).to_owned());
        }
    })?;
    let errors = said.join("; ");
    Ok(Ran { status, errors })
}
