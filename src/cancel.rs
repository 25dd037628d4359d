//! Ctrl-C, SIGTERM and the end of the run's time as a flag that every wait and every transfer looks at.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context as _, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::fault::{Cause, Fault};

/// The flag that the signals raise.
static OF_USER: OnceLock<Cancel> = OnceLock::new();

/// Nobody has asked to stop; whoever asks leaves another number.
const NOBODY: usize = 0;

/// Left by [`Cancel::raise`]; numbers of signals are small.
const GIVEN_UP: usize = 1000;

/// Left when the run's time is over.
const OVER: usize = 1001;

/// A shared flag: has the user asked to stop, or is the run's time over?
#[derive(Debug, Clone, Default)]
pub struct Cancel {
    /// Who raised it: [`NOBODY`], a signal's number, [`GIVEN_UP`] or [`OVER`].
    by: Arc<AtomicUsize>,
    /// What is to be said when the time is over.
    over: Arc<OnceLock<String>>,
}

/// Ends the run when its time is over. Dropped, it ends nothing any more.
#[derive(Debug)]
pub struct Deadline {
    _ended: Sender<()>,
}

impl Cancel {
    /// A flag that SIGINT, SIGTERM and SIGHUP raise. A second signal ends the process at once, for the user who
    /// does not want to wait for the clean-up.
    ///
    /// # Errors
    /// When a signal handler cannot be installed.
    pub fn on_signals() -> Result<Self> {
        use signal_hook::flag;
        let cancel = Self::default();
        let code = i32::from(Cause::Interrupted.exit_code());
        // A flag of the signals' own: the first one still cleans up when the time is over already.
        let came = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            let number = usize::try_from(signal).context("numbering the signals")?;
            // Order matters: the conditional exit must see the flag as the first signal left it.
            // A terminal that is closed sends SIGHUP twice: by its shell, and once that has gone by the kernel.
            if signal != SIGHUP {
                flag::register_conditional_shutdown(signal, code, Arc::clone(&came))
                    .context("installing the signal handlers")?;
            }
            flag::register(signal, Arc::clone(&came))
                .and_then(|_| flag::register_usize(signal, Arc::clone(&cancel.by), number))
                .context("installing the signal handlers")?;
        }
        Ok(OF_USER.get_or_init(|| cancel).clone())
    }

    /// The flag that this process's signals raise, for what has none handed down; one that nobody raises before there
    /// is any.
    pub fn of_user() -> Self {
        OF_USER.get().cloned().unwrap_or_default()
    }

    /// Raises the flag, for work that this program itself gives up.
    pub fn raise(&self) {
        self.raise_as(GIVEN_UP);
    }

    /// Raises the flag once `limit` has passed; `doing` tells then in what the time was over ("in the stage media").
    pub fn end_after(&self, limit: Duration, doing: impl FnOnce() -> String + Send + 'static) -> Deadline {
        let (to, ended) = channel();
        let cancel = self.clone();
        std::thread::spawn(move || {
            if ended.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
                cancel.time_is_over(limit, &doing());
            }
        });
        Deadline { _ended: to }
    }

    fn time_is_over(&self, limit: Duration, doing: &str) {
        let limit = humantime::format_duration(limit);
        // Whoever sees the flag finds the words.
        let _ = self.over.set(
            format!("the time of `--timeout {limit}` was over {doing}")
                .trim_end()
                .to_owned(),
        );
        self.raise_as(OVER);
    }

    /// The first who asks counts.
    fn raise_as(&self, by: usize) {
        let _ = self.by.compare_exchange(NOBODY, by, Ordering::SeqCst, Ordering::SeqCst);
    }

    /// Whether the user asked to stop, or the time is over.
    pub fn is_raised(&self) -> bool {
        self.by.load(Ordering::SeqCst) != NOBODY
    }

    /// Whether somebody at the keyboard asked to stop.
    pub fn is_users_own(&self) -> bool {
        i32::try_from(self.by.load(Ordering::SeqCst)) == Ok(SIGINT)
    }

    /// The error of work of which nothing stays when it is stopped: `nothing` says so.
    pub fn in_vain(error: anyhow::Error, nothing: &str) -> anyhow::Error {
        if !Fault::is_stop(&error) {
            return error;
        }
        let Some(fault) = Fault::of(&error) else { return error };
        let more = match fault.cause {
            Cause::Deadline => ", and `--timeout TIME` allows more",
            _ => "",
        };
        Fault::new(fault.cause, fault.message.clone())
            .hint(format!("{nothing}; the same command begins anew{more}"))
            .into()
    }

    /// An error once the user asked to stop, or the time is over.
    ///
    /// # Errors
    /// A [`Fault`] of [`Cause::Interrupted`] or [`Cause::Deadline`].
    pub fn check(&self) -> Result<()> {
        let by = match self.by.load(Ordering::SeqCst) {
            NOBODY => return Ok(()),
            OVER => {
                let words = self.over.get().map_or("the time was over", String::as_str);
                return Err(Fault::new(Cause::Deadline, words)
                    .hint("the same command goes on from the last checkpoint; `--timeout TIME` allows more")
                    .into());
            }
            by => i32::try_from(by),
        };
        let words = match by {
            Ok(SIGTERM) => "interrupted by SIGTERM",
            Ok(SIGHUP) => "interrupted by SIGHUP: the terminal has gone",
            _ => "interrupted",
        };
        Err(Fault::new(Cause::Interrupted, words)
            .hint("nothing finished is lost: the same command goes on from here")
            .into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wait::Wait;

    fn raised(cancel: &Cancel) {
        Wait::new("the flag", Duration::from_secs(60))
            .until(|| Ok(cancel.is_raised().then_some(())))
            .unwrap();
    }

    #[test]
    fn time_that_is_over_says_in_what() {
        let cancel = Cancel::default();
        let deadline = cancel.end_after(Duration::from_millis(5), || {
            "in the stage media: downloading".to_owned()
        });
        raised(&cancel);
        let error = cancel.check().unwrap_err();
        let fault = Fault::of(&error).unwrap();
        assert!(Fault::is_stop(&error) && !cancel.is_users_own());
        assert_eq!(Fault::exit_code(&error), 124);
        assert_eq!(
            fault.message,
            "the time of `--timeout 5ms` was over in the stage media: downloading"
        );
        assert!(fault.hint.as_deref().unwrap().contains("from the last checkpoint"));
        let error = Cancel::in_vain(error, "no image was written");
        let fault = Fault::of(&error).unwrap();
        assert_eq!(fault.cause, Cause::Deadline);
        assert_eq!(
            fault.hint.as_deref(),
            Some("no image was written; the same command begins anew, and `--timeout TIME` allows more")
        );
        drop(deadline);
    }

    #[test]
    fn a_run_that_ended_in_time_is_not_ended() {
        let cancel = Cancel::default();
        let (asked, answer) = channel();
        drop(cancel.end_after(Duration::from_secs(3600), move || {
            let _ = asked.send(());
            String::new()
        }));
        // The thread has gone, and with it whom it would have asked.
        assert!(answer.recv().is_err());
        assert!(!cancel.is_raised());
    }

    #[test]
    fn the_first_who_asks_counts() {
        let cancel = Cancel::default();
        cancel.raise();
        cancel.time_is_over(Duration::from_secs(1), "too late");
        assert_eq!(Fault::exit_code(&cancel.check().unwrap_err()), 130);
    }

    #[test]
    fn only_the_keyboard_is_the_users_own() {
        for (signal, own, words) in [
            (SIGINT, true, "interrupted"),
            (SIGTERM, false, "interrupted by SIGTERM"),
            (SIGHUP, false, "interrupted by SIGHUP: the terminal has gone"),
        ] {
            let cancel = Cancel::default();
            cancel.raise_as(usize::try_from(signal).unwrap());
            assert_eq!(cancel.is_users_own(), own);
            assert_eq!(cancel.check().unwrap_err().to_string(), words);
        }
    }
}
