//! Ctrl-C and SIGTERM as a flag that every wait and every transfer looks at.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use anyhow::{Context as _, Result};

use crate::fault::{Cause, Fault};

/// The flag that the signals raise.
static OF_USER: OnceLock<Cancel> = OnceLock::new();

/// A shared flag: has the user asked to stop?
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// A flag that SIGINT, SIGTERM and SIGHUP raise. A second SIGINT ends the process at once, for the user who
    /// does not want to wait for the clean-up.
    ///
    /// # Errors
    /// When a signal handler cannot be installed.
    pub fn on_signals() -> Result<Self> {
        use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
        let flag = Arc::new(AtomicBool::new(false));
        let code = i32::from(Cause::Interrupted.exit_code());
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            // Order matters: the conditional exit must see the flag as the first signal left it.
            signal_hook::flag::register_conditional_shutdown(signal, code, Arc::clone(&flag))
                .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&flag)))
                .context("installing the signal handlers")?;
        }
        Ok(OF_USER.get_or_init(|| Self(flag)).clone())
    }

    /// The flag that this process's signals raise, for what has none handed down; one that nobody raises before there
    /// is any.
    pub fn of_user() -> Self {
        OF_USER.get().cloned().unwrap_or_default()
    }

    /// Raises the flag, for work that this program itself gives up.
    pub fn raise(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Whether the user asked to stop.
    pub fn is_raised(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    /// The error of work of which nothing stays when it is interrupted: `nothing` says so.
    pub fn in_vain(error: anyhow::Error, nothing: &str) -> anyhow::Error {
        match Fault::of(&error) {
            Some(fault) if fault.cause == Cause::Interrupted => Fault::new(Cause::Interrupted, fault.message.clone())
                .hint(format!("{nothing}; the same command begins anew"))
                .into(),
            _ => error,
        }
    }

    /// An error once the user asked to stop.
    ///
    /// # Errors
    /// A [`Fault`] of [`Cause::Interrupted`].
    pub fn check(&self) -> Result<()> {
        if self.is_raised() {
            return Err(Fault::new(Cause::Interrupted, "interrupted")
                .hint("nothing finished is lost: the same command goes on from here")
                .into());
        }
        Ok(())
    }
}
