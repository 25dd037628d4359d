//! Moves bytes between a command in the guest and this program, in all directions at once.

use std::io::{ErrorKind, Read, Write as _};

use anyhow::{Context as _, Result};
use ssh2::Channel;

use super::{Exec, broke};
use crate::event::Stream;
use crate::ssh::connect::would_block;

/// How much is read or written at a time: a little more than libssh2 puts into one packet (32,700 bytes).
const CHUNK: usize = 32 * 1024;

/// How many chunks one direction may move before the other one is looked at.
const TURN: usize = 32;

/// Moves bytes between a channel, an input and a sink of output.
pub(super) struct Pump<'i, 'o> {
    channel: Channel,
    input: Option<&'i mut dyn Read>,
    /// Bytes of the input that the channel has not taken yet: `from..to` of `pending`.
    pending: Vec<u8>,
    from: usize,
    to: usize,
    end_sent: bool,
    buffer: Vec<u8>,
    on_bytes: &'o mut dyn FnMut(Stream, &[u8]) -> Result<()>,
}

impl<'i, 'o> Pump<'i, 'o> {
    pub(super) fn new(
        channel: &Channel,
        input: Option<&'i mut dyn Read>,
        on_bytes: &'o mut dyn FnMut(Stream, &[u8]) -> Result<()>,
    ) -> Self {
        Self {
            channel: channel.clone(),
            pending: vec![0; if input.is_some() { CHUNK } else { 0 }],
            input,
            from: 0,
            to: 0,
            end_sent: false,
            buffer: vec![0; CHUNK],
            on_bytes,
        }
    }

    /// Moves what can be moved in either direction; whether that was anything.
    pub(super) fn turn(&mut self, job: &Exec<'_>) -> Result<bool> {
        let stdout = self.receive(job, Stream::Stdout)?;
        let stderr = self.receive(job, Stream::Stderr)?;
        let sent = self.send(job)?;
        Ok(stdout || stderr || sent)
    }

    fn receive(&mut self, job: &Exec<'_>, stream: Stream) -> Result<bool> {
        let mut source = match stream {
            Stream::Stdout => self.channel.stream(0),
            Stream::Stderr => self.channel.stderr(),
        };
        for turn in 0..TURN {
            match source.read(&mut self.buffer) {
                Ok(0) => return Ok(turn > 0),
                Ok(count) => (self.on_bytes)(stream, &self.buffer[..count])?,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(turn > 0),
                Err(error) => return Err(broke(job, error)),
            }
        }
        Ok(true)
    }

    fn send(&mut self, job: &Exec<'_>) -> Result<bool> {
        for turn in 0..TURN {
            if self.from == self.to && !self.refill(job)? {
                return Ok(self.send_end(job)? || turn > 0);
            }
            if self.from == self.to {
                return Ok(turn > 0);
            }
            match self.channel.write(&self.pending[self.from..self.to]) {
                Ok(count) => self.from += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(turn > 0),
                // The command ended without reading everything, which is its right: its exit code tells.
                Err(_) if self.channel.eof() => {
                    self.drop_input();
                    return Ok(true);
                }
                Err(error) => return Err(broke(job, error)),
            }
        }
        Ok(true)
    }

    /// Reads the next piece of input; false at its end.
    fn refill(&mut self, job: &Exec<'_>) -> Result<bool> {
        let Some(input) = &mut self.input else {
            return Ok(false);
        };
        match input.read(&mut self.pending) {
            Ok(0) => {
                self.drop_input();
                Ok(false)
            }
            Ok(count) => {
                (self.from, self.to) = (0, count);
                Ok(true)
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(true),
            Err(error) => Err(error).with_context(|| format!("reading the input of {job}")),
        }
    }

    fn drop_input(&mut self) {
        self.input = None;
        (self.from, self.to) = (0, 0);
    }

    /// Tells the command that its input is at its end.
    fn send_end(&mut self, job: &Exec<'_>) -> Result<bool> {
        if self.end_sent {
            return Ok(false);
        }
        match self.channel.send_eof() {
            Ok(()) => {
                self.end_sent = true;
                Ok(true)
            }
            Err(error) if would_block(&error) => Ok(false),
            Err(_) if self.channel.eof() => {
                self.end_sent = true;
                Ok(true)
            }
            Err(error) => Err(broke(job, error)),
        }
    }

    /// Whether the guest closed the channel: all output was read, and the exit code is known. The end of both
    /// output streams is not enough, since a command may close them and go on.
    pub(super) fn is_closed(&mut self, job: &Exec<'_>) -> Result<bool> {
        if !self.channel.eof() {
            return Ok(false);
        }
        match self.channel.wait_close() {
            Ok(()) => Ok(true),
            Err(error) if would_block(&error) => Ok(false),
            Err(error) => Err(broke(job, error)),
        }
    }
}
