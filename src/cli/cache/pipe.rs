//! Pipes, for as long as nobody asks to stop: the system goes on with a read or a write that a signal interrupts
//! (`SA_RESTART`), and whoever is at the other end may never move.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::cancel::Cancel;

/// How long a look at the other end lasts before the user's wish to stop is looked at.
const LOOK: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 50_000_000,
};

/// A pipe that has room has room for so many bytes (`PIPE_BUF`, pipe(7)): more might wait for its reader.
const ROOM: usize = 4096;

/// What is read from or written to.
pub struct Piped<'a> {
    file: File,
    /// Whether it is on a disk, where nobody has to be waited for.
    is_plain: bool,
    cancel: &'a Cancel,
}

impl<'a> Piped<'a> {
    /// Standard input or output.
    ///
    /// # Errors
    /// When there is none.
    pub fn standard(stream: impl AsFd, cancel: &'a Cancel) -> io::Result<Self> {
        Self::of(stream.as_fd().try_clone_to_owned()?.into(), cancel)
    }

    /// The file `path`, to be read. A named pipe need have no writer yet.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(path: &Path, cancel: &'a Cancel) -> io::Result<Self> {
        let flags = OFlags::NONBLOCK.bits().cast_signed();
        Self::of(File::options().read(true).custom_flags(flags).open(path)?, cancel)
    }

    fn of(file: File, cancel: &'a Cancel) -> io::Result<Self> {
        Ok(Self {
            is_plain: file.metadata()?.is_file(),
            file,
            cancel,
        })
    }

    /// Waits until the other end moves, and does `work` then.
    fn when(&self, moves: PollFlags, mut work: impl FnMut() -> rustix::io::Result<usize>) -> io::Result<usize> {
        loop {
            if self.cancel.is_raised() {
                return Err(io::Error::other("nobody waits for it any more"));
            }
            match self.moves(moves) {
                Ok(true) => {}
                Ok(false) | Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            }
            match work() {
                Err(Errno::AGAIN | Errno::INTR) => {}
                done => return Ok(done?),
            }
        }
    }

    fn moves(&self, moves: PollFlags) -> rustix::io::Result<bool> {
        Ok(self.is_plain || poll(&mut [PollFd::new(&self.file, moves)], Some(&LOOK))? > 0)
    }
}

impl Read for Piped<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.when(PollFlags::IN, || rustix::io::read(&self.file, &mut *into))
    }
}

impl Write for Piped<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = if self.is_plain {
            bytes.len()
        } else {
            bytes.len().min(ROOM)
        };
        self.when(PollFlags::OUT, || rustix::io::write(&self.file, &bytes[..count]))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
