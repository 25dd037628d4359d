//! The time that a whole run may take.

use std::time::Duration;

use crate::config::value;

/// The variable of the flag.
pub const VARIABLE: &str = "PROVISION_TIMEOUT";

/// The time that a whole run may take; none for a variable that is set to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit(pub Option<Duration>);

/// Reads a limit.
///
/// # Errors
/// What is wrong with it.
pub fn limit(text: &str) -> Result<Limit, String> {
    let variable = std::env::var_os(VARIABLE);
    // clap names the flag even where nobody gave it.
    let from = if variable.as_deref() == Some(text.as_ref()) {
        format!(" (set by {VARIABLE})")
    } else {
        String::new()
    };
    read(text, variable.is_some_and(|value| value.is_empty())).map_err(|wrong| wrong + &from)
}

/// An empty variable is one that is not set, as for most programs; nobody means no limit by an empty flag.
fn read(text: &str, is_unset: bool) -> Result<Limit, String> {
    if text.is_empty() && is_unset {
        return Ok(Limit(None));
    }
    value::duration(text).map(|time| Limit(Some(time)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_a_time_and_an_empty_variable_is_none() {
        assert_eq!(read("90m", false), Ok(Limit(Some(Duration::from_secs(5400)))));
        assert_eq!(read("", true), Ok(Limit(None)));
        for (text, is_unset) in [("", false), ("0s", false), ("soon", true), ("-1s", false)] {
            assert!(read(text, is_unset).is_err(), "{text:?}");
        }
    }
}
