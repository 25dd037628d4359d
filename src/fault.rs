//! What a failure means to the user: its cause (the exit code) and the next command to type.

use std::fmt;
use std::io::ErrorKind;

/// Why the program could not do what was asked. Each cause has its own exit code, so that a script can tell a
/// wrong configuration from a failed `make` without reading a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// Anything without a code of its own.
    Other,
    /// Wrong arguments on the command line (the code that clap uses too).
    Usage,
    /// `provision.toml`, a flag's value or the project folder is wrong.
    Config,
    /// The host lacks a program, or it is too old.
    HostMissing,
    /// A checksum or signature is missing or wrong.
    Verification,
    /// A server cannot be reached or answers wrongly.
    Network,
    /// The installer or the guest failed or asked a question.
    Guest,
    /// Nothing moved for too long.
    Timeout,
    /// `make` failed in the guest.
    Make,
    /// The machine runs, but a check of `verify` failed.
    Verify,
    /// Another process works on the same machine, or a port is taken.
    Busy,
    /// The disk is too full.
    Space,
    /// The virtual machine's program failed.
    Machine,
    /// Ctrl-C or SIGTERM.
    Interrupted,
    /// The time that `--timeout` gives to the whole run was over.
    Deadline,
}

impl Cause {
    /// Every cause, in the order of the exit codes.
    pub const ALL: [Self; 15] = [
        Self::Other,
        Self::Usage,
        Self::Config,
        Self::HostMissing,
        Self::Verification,
        Self::Network,
        Self::Guest,
        Self::Timeout,
        Self::Make,
        Self::Verify,
        Self::Busy,
        Self::Space,
        Self::Machine,
        Self::Deadline,
        Self::Interrupted,
    ];

    /// The process's exit code. 130 for an interruption is the shells' custom (128 + SIGINT), 124 that of timeout(1).
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Other => 1,
            Self::Usage => 2,
            Self::Config => 3,
            Self::HostMissing => 4,
            Self::Verification => 5,
            Self::Network => 6,
            Self::Guest => 7,
            Self::Timeout => 8,
            Self::Make => 9,
            Self::Verify => 10,
            Self::Busy => 11,
            Self::Space => 12,
            Self::Machine => 13,
            Self::Deadline => 124,
            Self::Interrupted => 130,
        }
    }
}

/// What helps where a folder of this program's is somebody else's, or none.
pub const NOT_YOURS: &str =
    "`ls -ld` tells whose it is; `PROVISION_CACHE_DIR` and `PROVISION_DATA_DIR` name folders of your own";

/// An error on which code decides (by its [`Cause`]) and that may tell the user what to do next.
///
/// It is used as a root error or as an [`anyhow`] context; [`Fault::of`] finds it in either place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The class of the failure.
    pub cause: Cause,
    /// What happened, naming the object.
    pub message: String,
    /// The next command to type, or what to change.
    pub hint: Option<String>,
}

impl Fault {
    /// A fault without a hint.
    pub fn new(cause: Cause, message: impl Into<String>) -> Self {
        Self {
            cause,
            message: message.into(),
            hint: None,
        }
    }

    /// The same fault with a `hint:` line.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The outermost fault in `error`'s chain.
    pub fn of(error: &anyhow::Error) -> Option<&Self> {
        error.downcast_ref::<Self>()
    }

    /// Whether `error` is the end that the user or the time limit has asked for: no failure of what was being done, so
    /// nothing else is tried instead, and nothing is said of it.
    pub fn is_stop(error: &anyhow::Error) -> bool {
        Self::of(error).is_some_and(|fault| matches!(fault.cause, Cause::Interrupted | Cause::Deadline))
    }

    /// The exit code for `error`.
    pub fn exit_code(error: &anyhow::Error) -> u8 {
        let known = Self::of(error).map(|fault| fault.cause);
        known.unwrap_or_else(|| system(error).0).exit_code()
    }

    /// What the user may type next after `error`.
    pub fn hint_of(error: &anyhow::Error) -> Option<String> {
        match Self::of(error) {
            Some(fault) => fault.hint.clone(),
            None => system(error).1.map(str::to_owned),
        }
    }

    /// What the operating system said of a file that `error` is about.
    pub fn system(error: &anyhow::Error) -> Option<ErrorKind> {
        let mut causes = error.chain();
        causes.find_map(|cause| cause.downcast_ref::<std::io::Error>().map(std::io::Error::kind))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Fault {}

/// What an error means of which only the operating system has said anything.
fn system(error: &anyhow::Error) -> (Cause, Option<&'static str>) {
    match Fault::system(error) {
        Some(ErrorKind::StorageFull | ErrorKind::QuotaExceeded) => (
            Cause::Space,
            Some(
                "`df -h` tells which disk is full, `provision cache ls` what is kept; `provision cache prune` removes what no machine needs",
            ),
        ),
        Some(ErrorKind::ReadOnlyFilesystem) => (
            Cause::Other,
            Some("that disk may only be read: `PROVISION_CACHE_DIR` and `PROVISION_DATA_DIR` name other folders"),
        ),
        Some(ErrorKind::PermissionDenied | ErrorKind::NotADirectory) => (Cause::Other, Some(NOT_YOURS)),
        _ => (Cause::Other, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context as _;

    #[test]
    fn a_fault_is_found_as_root_and_as_context() {
        let root = anyhow::Error::new(Fault::new(Cause::Space, "disk full")).context("installing");
        assert_eq!(Fault::exit_code(&root), 12);
        let context = Err::<(), _>(std::io::Error::other("x"))
            .context(Fault::new(Cause::Network, "fetching").hint("try again"))
            .unwrap_err();
        assert_eq!(Fault::of(&context).unwrap().hint.as_deref(), Some("try again"));
    }

    #[test]
    fn what_the_system_says_is_a_cause_where_nobody_says_more() {
        let full = || anyhow::Error::new(std::io::Error::from(ErrorKind::StorageFull)).context("writing");
        assert_eq!(Fault::exit_code(&full()), 12);
        assert!(Fault::hint_of(&full()).unwrap().contains("cache prune"));
        let known = full().context(Fault::new(Cause::Guest, "the guest"));
        assert_eq!((Fault::exit_code(&known), Fault::hint_of(&known)), (7, None));
        let closed = anyhow::Error::new(std::io::Error::from(ErrorKind::PermissionDenied));
        assert_eq!(Fault::exit_code(&closed), 1);
        assert!(Fault::hint_of(&closed).unwrap().contains("PROVISION_DATA_DIR"));
        assert_eq!(Fault::hint_of(&anyhow::anyhow!("other")), None);
    }

    #[test]
    fn exit_codes_differ() {
        let codes: std::collections::BTreeSet<u8> = Cause::ALL.iter().map(|c| c.exit_code()).collect();
        assert_eq!(codes.len(), Cause::ALL.len());
    }
}
