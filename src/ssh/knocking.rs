//! Attempts to log in to a guest that boots.
//!
//! QEMU's forwarded port takes a connection at once and knocks at the guest's in its place. As long as the guest has no
//! network nobody answers, and QEMU knocks again after 6, 18, 30 seconds and so on (`TCPTV_SRTTDFLT` and `TCPTV_REXMTMAX` in
//! libslirp's `tcp_timer.h`): who has come early is heard late. So one attempt is given all the time that a slow guest needs,
//! and beside it others are begun again and again, until one of them hears of a server.

use std::time::{Duration, Instant};

use super::connect::{Attempt, ConnectError};
use super::{Session, Target};

/// How long a guest may be silent at first; doubled with every patient attempt that finds it silent.
const FIRST_PATIENCE: Duration = Duration::from_secs(5);

/// The longest of these patiences, and that with a server which has said who it is: an emulated guest under load needs more
/// than ten seconds for a key exchange.
const LAST_PATIENCE: Duration = Duration::from_secs(40);

/// How long the other attempts wait for a word, at least. Each costs the guest a process once its server is there.
const GLANCE: Duration = Duration::from_secs(2);

/// So many of them fit into the time that the guest has taken so far: a slow one is disturbed less often.
const GLANCES: u32 = 10;

/// How long a guest may refuse the user while it boots.
const REFUSED: Duration = Duration::from_secs(90);

/// How long a look at an attempt may take before other things are looked at.
const SLICE: Duration = Duration::from_millis(100);

/// Attempts to log in to one guest, at most two at a time.
pub(super) struct Knocking<'a> {
    target: &'a Target,
    since: Instant,
    patient: Option<Attempt<'a>>,
    /// When the patient one was begun.
    begun: Instant,
    patience: Duration,
    fresh: Option<Attempt<'a>>,
    refused: Option<Instant>,
    /// Why the last one failed.
    pub(super) last: Option<ConnectError>,
}

impl<'a> Knocking<'a> {
    pub(super) fn new(target: &'a Target) -> Self {
        let now = Instant::now();
        Self {
            target,
            since: now,
            patient: None,
            begun: now,
            patience: FIRST_PATIENCE,
            fresh: None,
            refused: None,
            last: None,
        }
    }

    /// Takes the next small step; an error is one that time does not heal.
    pub(super) fn knock(&mut self) -> Result<Option<Session>, ConnectError> {
        let attempt = if let Some(attempt) = self.patient.take() {
            Ok(attempt)
        } else {
            self.begun = Instant::now();
            Attempt::begin(self.target, self.patience)
        };
        match attempt.and_then(go_on) {
            Ok((None, attempt)) => self.patient = Some(attempt),
            Ok((session, _)) => return Ok(session),
            Err(error) => {
                if matches!(error, ConnectError::NotYet { .. }) && self.begun.elapsed() >= self.patience {
                    self.patience = (self.patience * 2).min(LAST_PATIENCE);
                }
                self.bear(error)?;
            }
        }
        self.knock_afresh()
    }

    /// The same for the attempt beside the patient one, whose place it takes when it has heard of a server first.
    fn knock_afresh(&mut self) -> Result<Option<Session>, ConnectError> {
        let Some(patient) = &self.patient else {
            return Ok(None);
        };
        if patient.has_heard() {
            self.fresh = None;
            return Ok(None);
        }
        let glance = GLANCE.max(self.since.elapsed() / GLANCES);
        let attempt = match self.fresh.take() {
            Some(attempt) => Ok(attempt),
            None if self.begun.elapsed() < glance => return Ok(None),
            None => Attempt::begin(self.target, glance),
        };
        match attempt.and_then(go_on) {
            Ok((None, attempt)) if attempt.has_heard() => {
                self.patient = Some(attempt);
                self.begun = Instant::now();
            }
            Ok((None, attempt)) => self.fresh = Some(attempt),
            Ok((session, _)) => return Ok(session),
            Err(error) => self.bear(error)?,
        }
        Ok(None)
    }

    /// Keeps in mind what time may heal.
    fn bear(&mut self, error: ConnectError) -> Result<(), ConnectError> {
        match &error {
            ConnectError::NotYet { .. } => {}
            ConnectError::Refused { .. } => {
                if self.refused.get_or_insert(self.begun).elapsed() > REFUSED {
                    return Err(error);
                }
            }
            ConnectError::HostKey { .. } | ConnectError::Pin(_) => return Err(error),
        }
        self.last = Some(error);
        Ok(())
    }
}

/// A small step of an attempt, and its session if it is in.
fn go_on(mut attempt: Attempt<'_>) -> Result<(Option<Session>, Attempt<'_>), ConnectError> {
    let session = attempt.advance(SLICE)?;
    if attempt.has_heard() {
        attempt.may_take(LAST_PATIENCE);
    }
    Ok((session, attempt))
}
