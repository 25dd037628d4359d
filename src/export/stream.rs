//! Bytes on their way into an archive: counted, told, digested, and stopped when the user wants it.

use std::io::{self, Read, Write};

use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};

use crate::cancel::Cancel;
use crate::event::{Event, Events, Stage, Unit};
use crate::fault::{Cause, Fault};

/// How many bytes pass before progress is told again.
const STEP: u64 = 4 << 20;

/// Who is told of what passes, and who may stop it.
#[derive(Debug, Clone, Copy)]
pub struct Told<'a> {
    /// Who is told.
    pub events: &'a Events,
    /// Who may stop it.
    pub cancel: &'a Cancel,
    /// What it belongs to.
    pub stage: Stage,
    /// What is being done.
    pub step: &'static str,
}

/// A reader whose bytes are counted and digested.
pub struct Watched<'a, R> {
    from: R,
    told: Told<'a>,
    digest: Sha256,
    done: u64,
    total: u64,
}

impl<'a, R: Read> Watched<'a, R> {
    /// Watches `from`, which has `total` bytes.
    pub fn new(from: R, total: u64, told: Told<'a>) -> Self {
        told.events.step(told.stage, told.step);
        Self {
            from,
            told,
            digest: Sha256::new(),
            done: 0,
            total,
        }
    }

    /// The SHA-256 of what has passed, in hexadecimal digits.
    pub fn digest(self) -> String {
        hex::encode(self.digest.finalize())
    }
}

impl<R: Read> Read for Watched<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.told.cancel.is_raised() {
            return Err(io::Error::other("interrupted"));
        }
        let count = self.from.read(into)?;
        self.digest.update(&into[..count]);
        let before = self.done / STEP;
        self.done += count as u64;
        if self.done / STEP != before || self.done == self.total {
            self.told.events.emit(Event::Progress {
                stage: self.told.stage,
                done: self.done,
                total: Some(self.total),
                unit: Unit::Bytes,
            });
        }
        Ok(count)
    }
}

impl Told<'_> {
    /// The outcome of writing `what`, with the reason told as what it means: that the user has stopped it, or that the
    /// disk is full.
    ///
    /// # Errors
    /// That of `result`.
    pub fn outcome<T>(&self, result: io::Result<T>, what: &str) -> Result<T> {
        let Err(error) = result else { return Ok(result?) };
        self.cancel.check()?;
        if error.kind() == io::ErrorKind::StorageFull {
            return Err(Fault::new(Cause::Space, format!("no space is left while {what}")).into());
        }
        Err(error).with_context(|| what.to_owned())
    }
}

/// A writer whose bytes are digested.
pub struct Digesting<W> {
    to: W,
    digest: Sha256,
    /// How many bytes have passed.
    pub bytes: u64,
}

impl<W: Write> Digesting<W> {
    /// Writes to `to`.
    pub fn new(to: W) -> Self {
        Self {
            to,
            digest: Sha256::new(),
            bytes: 0,
        }
    }

    /// What was written to, and the SHA-256 of it in hexadecimal digits.
    pub fn finish(self) -> (W, String) {
        (self.to, hex::encode(self.digest.finalize()))
    }
}

impl<W: Write> Write for Digesting<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.to.write(bytes)?;
        self.digest.update(&bytes[..count]);
        self.bytes += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_is_digested_and_told() {
        let (events, recorded) = Events::recorder();
        let told = Told {
            events: &events,
            cancel: &Cancel::default(),
            stage: Stage::Export,
            step: "packing",
        };
        let mut watched = Watched::new(&b"abc"[..], 3, told);
        let mut into = Digesting::new(Vec::new());
        io::copy(&mut watched, &mut into).unwrap();
        // FIPS 180-2, appendix B.1.
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(watched.digest(), expected);
        assert_eq!(into.finish(), (b"abc".to_vec(), expected.to_owned()));
        let last = recorded.lock().unwrap().last().cloned();
        assert!(
            matches!(
                last,
                Some(Event::Progress {
                    done: 3,
                    total: Some(3),
                    ..
                })
            ),
            "{last:?}"
        );
    }

    #[test]
    fn a_raised_flag_stops_it() {
        let cancel = Cancel::default();
        cancel.raise();
        let told = Told {
            events: &Events::ignore(),
            cancel: &cancel,
            stage: Stage::Export,
            step: "packing",
        };
        let read = Watched::new(&b"abc"[..], 3, told).read(&mut [0; 3]);
        let error = told.outcome(read, "packing").unwrap_err();
        assert_eq!(Fault::of(&error).unwrap().cause, Cause::Interrupted);
    }
}
