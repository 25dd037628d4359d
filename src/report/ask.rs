//! A question to the person at the terminal.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use anyhow::{Context as _, Result};

use crate::fault::{Cause, Fault};

/// Asks for a yes; anything else is a no.
///
/// # Errors
/// [`Cause::Usage`] when nobody can answer, as standard input is not a terminal.
pub fn confirm(question: &str) -> Result<bool> {
    if !io::stdin().is_terminal() {
        let fault = Fault::new(Cause::Usage, format!("nobody is there to answer: {question}"));
        return Err(fault.hint("`--yes` answers it").into());
    }
    let mut stderr = io::stderr().lock();
    write!(stderr, "{question} [y/N] ")
        .and_then(|()| stderr.flush())
        .context("asking")?;
    let mut answer = String::new();
    io::stdin()
        .lock()
        .read_line(&mut answer)
        .context("reading the answer")?;
    Ok(is_yes(&answer))
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
