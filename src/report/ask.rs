//! A question to the person at the terminal.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::cancel::Cancel;
use crate::fault::{Cause, Fault};

/// How long a look for the answer lasts before the user's wish to stop is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// Asks for a yes; anything else is a no.
///
/// # Errors
/// [`Cause::Usage`] when nobody can answer, as standard input is not a terminal; [`Cause::Interrupted`] on Ctrl-C.
pub fn confirm(question: &str, cancel: &Cancel) -> Result<bool> {
    if !io::stdin().is_terminal() {
        let fault = Fault::new(Cause::Usage, format!("nobody is there to answer: {question}"));
        return Err(fault.hint("`--yes` answers it").into());
    }
    // Not locked: what shows that the run lives writes meanwhile, and holds what the time-out asks.
    let mut stderr = io::stderr();
    write!(stderr, "{question} [y/N] ")
        .and_then(|()| stderr.flush())
        .context("asking")?;
    let answer = read_line(cancel).inspect_err(|_| {
        // What comes next begins a line of its own.
        let _ = writeln!(stderr);
    });
    Ok(is_yes(&answer?))
}

/// The next line of standard input. The system goes on with a read that a signal interrupts (`SA_RESTART`), so it has a
/// thread, which ends with the process.
fn read_line(cancel: &Cancel) -> Result<String> {
    let (to, from) = sync_channel(1);
    std::thread::spawn(move || {
        let mut line = String::new();
        let read = io::stdin().lock().read_line(&mut line).map(|_| line);
        drop(to.send(read));
    });
    loop {
        let received = from.recv_timeout(LOOK);
        // First of all: an answer after Ctrl-C is none.
        cancel.check()?;
        match received {
            Ok(line) => return line.context("reading the answer"),
            Err(RecvTimeoutError::Timeout) => (),
            Err(RecvTimeoutError::Disconnected) => bail!("reading the answer failed"),
        }
    }
}

fn is_yes(answer: &str) -> bool {
    matches!(answer.trim().to_lowercase().as_str(), "y" | "yes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_yes_is_a_yes() {
        assert!(["y", "Y\n", "yes", "YES\r\n"].iter().all(|answer| is_yes(answer)));
        assert!(!["", "\n", "n", "yeah", "y y"].iter().any(|answer| is_yes(answer)));
    }
}
