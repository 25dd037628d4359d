//! SSH to the guest: the host key is pinned, commands are streamed, nothing has a terminal.

pub mod config;
mod connect;
mod exec;
mod knocking;
mod lines;
mod session;
#[cfg(test)]
pub(crate) mod testing;

use std::ffi::OsString;
use std::net::Ipv4Addr;
use std::path::Path;

pub use exec::Exec;
pub use lines::Lines;
pub use session::Session;

use crate::identity::{Identity, Secret};
use crate::process::CommandLine;

/// The only address on which guests are reached.
pub const HOST: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// Where a guest's SSH server is, who logs in, and which host key it must show.
#[derive(Debug, Clone)]
pub struct Target {
    /// The port on 127.0.0.1 that leads to the guest's 22.
    pub port: u16,
    /// The user in the guest.
    pub user: String,
    /// The user's private key in OpenSSH's format.
    pub private_key: Secret,
    /// The pinned public host key: `ssh-ed25519 AAAA…`.
    pub host_key: String,
}

impl Target {
    /// `user` behind `port`, with the keys of `identity`.
    pub fn new(port: u16, user: impl Into<String>, identity: &Identity) -> Self {
        Self {
            port,
            user: user.into(),
            private_key: identity.private_key().clone(),
            host_key: identity.host_public_key().to_owned(),
        }
    }
}

/// The OpenSSH client for a person (`provision ssh`), or for `command` in the guest: with the keys in the folder
/// `identity`, the pinned host key, and nothing of the user's own configuration.
///
/// The words of `command` reach the guest as they are. With `terminal` the command gets one there, as a shell always does
/// if the client has one.
///
/// # Errors
/// When a word of `command` holds a NUL byte.
pub fn command_line(
    target: &Target,
    identity: &Path,
    command: &[String],
    terminal: bool,
) -> Result<CommandLine, shlex::QuoteError> {
    let mut args: Vec<OsString> = vec!["-F".into(), "none".into()];
    args.extend(config::options(identity).map(|(name, value)| format!("-o{name}={value}").into()));
    if terminal && !command.is_empty() {
        args.push("-t".into());
    }
    if !terminal {
        // Nobody is there to type a password for a guest that refuses the key.
        args.push("-oBatchMode=yes".into());
    }
    args.extend(["-p", &target.port.to_string(), "-l", &target.user].map(OsString::from));
    args.extend(["--".into(), HOST.to_string().into()]);
    if !command.is_empty() {
        args.push(quote(command)?.into());
    }
    Ok(CommandLine::new("ssh", args))
}

/// Words as one line for a POSIX shell, each of them taken as it is.
///
/// # Errors
/// When one of them holds a NUL byte.
pub fn quote<S: AsRef<str>>(words: &[S]) -> Result<String, shlex::QuoteError> {
    shlex::try_join(words.iter().map(AsRef::as_ref))
}

#[cfg(test)]
mod tests;
