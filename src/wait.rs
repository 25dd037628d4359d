//! Every wait there is. A wait has a name and a limit on the time *without progress*; it ends at once when the user
//! asks to stop or when what it waits for has died.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::cancel::Cancel;
use crate::fault::{Cause, Fault};

/// How often a condition is looked at: short enough to feel immediate, long enough to cost nothing.
const INTERVAL: Duration = Duration::from_millis(50);

/// A wait, described before it begins.
pub struct Wait<'a> {
    name: String,
    limit: Duration,
    hint: Option<String>,
    cancel: Option<&'a Cancel>,
    progress: Option<Box<dyn FnMut() -> u64 + 'a>>,
}

impl<'a> Wait<'a> {
    /// A wait for `name` ("the installer to finish") that gives up after `limit` without progress.
    pub fn new(name: impl Into<String>, limit: Duration) -> Self {
        Self {
            name: name.into(),
            limit,
            hint: None,
            cancel: None,
            progress: None,
        }
    }

    /// Ends the wait when the user asks to stop.
    #[must_use]
    pub fn cancel(mut self, cancel: &'a Cancel) -> Self {
        self.cancel = Some(cancel);
        self
    }

    /// What to tell the user to do when the limit is reached.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// A number that changes while there is progress (console bytes, disk writes, guest CPU): as long as it does,
    /// the limit starts anew.
    #[must_use]
    pub fn progress(mut self, measure: impl FnMut() -> u64 + 'a) -> Self {
        self.progress = Some(Box::new(measure));
        self
    }

    /// Waits until `condition` gives a value; an error from it (the process died) ends the wait at once.
    ///
    /// # Errors
    /// The condition's own, [`Cause::Interrupted`], or [`Cause::Timeout`] after the limit without progress.
    pub fn until<T>(mut self, mut condition: impl FnMut() -> Result<Option<T>>) -> Result<T> {
        let mut since = Instant::now();
        let mut last = None;
        loop {
            if let Some(cancel) = self.cancel {
                cancel.check()?;
            }
            if let Some(value) = condition()? {
                return Ok(value);
            }
            if let Some(measure) = &mut self.progress {
                let now = Some(measure());
                if now != last {
                    last = now;
                    since = Instant::now();
                }
            }
            if since.elapsed() >= self.limit {
                return Err(self.timed_out());
            }
            std::thread::sleep(INTERVAL.min(self.limit));
        }
    }

    fn timed_out(self) -> anyhow::Error {
        let limit = humantime::format_duration(Duration::from_secs(self.limit.as_secs()));
        let kind = if self.progress.is_some() {
            "without progress"
        } else {
            "in vain"
        };
        let mut fault = Fault::new(Cause::Timeout, format!("waited {limit} {kind} for {}", self.name));
        fault.hint = self.hint;
        fault.into()
    }
}

/// Calls `attempt` until it succeeds, at most `tries` times, with a growing pause in between (for a server that is
/// busy). `retryable` tells an error that may pass from one that will not.
///
/// # Errors
/// The last attempt's, or an interruption.
pub fn retry<T>(
    tries: u32,
    first_pause: Duration,
    cancel: &Cancel,
    retryable: impl Fn(&anyhow::Error) -> bool,
    mut attempt: impl FnMut(u32) -> Result<T>,
) -> Result<T> {
    let mut pause = first_pause;
    let mut number = 1;
    loop {
        cancel.check()?;
        match attempt(number) {
            Err(error) if number < tries && retryable(&error) => {
                let end = Instant::now() + pause;
                // Without a limit: one who gets no processor for long is late, and has not failed.
                Wait::new("the next attempt", Duration::MAX)
                    .cancel(cancel)
                    .until(|| Ok((Instant::now() >= end).then_some(())))?;
                pause *= 2;
                number += 1;
            }
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_ends_the_wait() {
        let mut calls = 0;
        let value = Wait::new("three", Duration::from_secs(5)).until(|| {
            calls += 1;
            Ok((calls == 3).then_some(calls))
        });
        assert_eq!(value.unwrap(), 3);
    }

    #[test]
    fn progress_renews_the_limit() {
        let start = Instant::now();
        let mut ticks = 0;
        let waited = Wait::new("half a second", Duration::from_millis(200))
            .progress(|| {
                ticks += 1;
                ticks
            })
            .until(|| Ok((start.elapsed() > Duration::from_millis(500)).then_some(())));
        assert!(waited.is_ok());
    }

    #[test]
    fn no_progress_is_a_timeout_that_names_the_object() {
        let error = Wait::new("the moon", Duration::from_millis(60))
            .hint("look up")
            .progress(|| 7)
            .until(|| Ok(None::<()>))
            .unwrap_err();
        let fault = Fault::of(&error).unwrap();
        assert_eq!(fault.cause, Cause::Timeout);
        assert!(fault.message.contains("the moon"));
        assert_eq!(fault.hint.as_deref(), Some("look up"));
    }

    #[test]
    fn an_error_of_the_condition_ends_the_wait_at_once() {
        let start = Instant::now();
        let waited = Wait::new("x", Duration::from_secs(60)).until(|| Err::<Option<()>, _>(anyhow::anyhow!("died")));
        assert!(waited.is_err() && start.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn only_retryable_errors_are_retried() {
        let mut calls = 0;
        let result = retry(
            3,
            Duration::from_millis(1),
            &Cancel::default(),
            |_| true,
            |n| {
                calls = n;
                if n < 3 { Err(anyhow::anyhow!("busy")) } else { Ok(n) }
            },
        );
        assert_eq!(result.unwrap(), 3);
        let result = retry(
            3,
            Duration::ZERO,
            &Cancel::default(),
            |_| false,
            |n| {
                calls = n;
                Err::<(), _>(anyhow::anyhow!("fatal"))
            },
        );
        assert!(result.is_err() && calls == 1);
    }
}
