//! A guest that stands still, and what its console showed last.

use std::path::Path;

use crate::fault::{Cause, Fault};
use crate::guest::console;

/// How much of the console's end is looked at, in bytes; a screen has less than 4 KiB.
const LOOK_BACK: u64 = 16 * 1024;

/// How many lines of the console an error quotes.
pub const LINES_QUOTED: usize = 12;

/// A time-out of `who` with the last lines of its console; any other error as it is.
pub fn quoted(error: anyhow::Error, who: &str, console_log: &Path) -> anyhow::Error {
    let Some(fault) = Fault::of(&error).filter(|fault| fault.cause == Cause::Timeout) else {
        return error;
    };
    let tail = console::tail(&end_of(console_log), LINES_QUOTED);
    let quoted = Fault {
        cause: Cause::Timeout,
        message: format!("{who} stands still; its console:\n{tail}"),
        hint: Some(fault.hint.clone().unwrap_or_else(|| {
            "the failure's folder holds the whole console and a screenshot; `--stall-timeout TIME` allows for more"
                .into()
        })),
    };
    error.context(quoted)
}

/// The end of a console's log as a person would see it; empty while there is none.
pub fn end_of(console_log: &Path) -> String {
    use std::io::{Read as _, Seek as _, SeekFrom};
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = std::fs::File::open(console_log)?;
        let from = file.metadata()?.len().saturating_sub(LOOK_BACK);
        file.seek(SeekFrom::Start(from))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    console::clean(&read().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_out_quotes_the_console() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("console.log");
        std::fs::write(&log, "Booting\r\nA start job is running for Network\r\n").unwrap();
        let timeout = Fault::new(Cause::Timeout, "waited 2m without progress").into();
        let error = quoted(timeout, "the guest", &log);
        let fault = Fault::of(&error).unwrap();
        assert!(
            fault.message.contains("A start job is running for Network"),
            "{}",
            fault.message
        );
        assert!(fault.hint.as_deref().unwrap().contains("--stall-timeout"));
        let other = quoted(Fault::new(Cause::Guest, "it powered off").into(), "the guest", &log);
        assert_eq!(Fault::of(&other).unwrap().message, "it powered off");
    }
}
