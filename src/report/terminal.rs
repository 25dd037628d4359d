//! The terminal on which bars are drawn.

use std::io;

use console::Term;
use indicatif::{ProgressDrawTarget, TermLike};

/// Standard error's. It may go at any moment, with a closed window or a lost connection: indicatif would end the program with
/// a panic then, before it has told its records and tidied up.
pub fn target() -> ProgressDrawTarget {
    ProgressDrawTarget::term_like(Box::new(Lasting(Term::buffered_stderr())))
}

/// A terminal on which what cannot be drawn is not drawn.
#[derive(Debug)]
struct Lasting(Term);

impl TermLike for Lasting {
    fn width(&self) -> u16 {
        self.0.size().1
    }

    fn height(&self) -> u16 {
        self.0.size().0
    }

    fn move_cursor_up(&self, n: usize) -> io::Result<()> {
        self.0.move_cursor_up(n).or(Ok(()))
    }

    fn move_cursor_down(&self, n: usize) -> io::Result<()> {
        self.0.move_cursor_down(n).or(Ok(()))
    }

    fn move_cursor_right(&self, n: usize) -> io::Result<()> {
        self.0.move_cursor_right(n).or(Ok(()))
    }

    fn move_cursor_left(&self, n: usize) -> io::Result<()> {
        self.0.move_cursor_left(n).or(Ok(()))
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        self.0.write_line(text).or(Ok(()))
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        self.0.write_str(text).or(Ok(()))
    }

    fn clear_line(&self) -> io::Result<()> {
        self.0.clear_line().or(Ok(()))
    }

    fn flush(&self) -> io::Result<()> {
        self.0.flush().or(Ok(()))
    }
}
