//! An error as the user sees it: what, why, and what to do next.

use serde::Serialize;

use super::clean::clean;
use super::paint::Paint;
use crate::fault::Fault;

/// The error that ends a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// What could not be done.
    pub message: String,
    /// Why, from the outermost cause to the root.
    pub causes: Vec<String>,
    /// The next command to type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The process's exit code.
    pub exit_code: u8,
}

impl Failure {
    /// Reads an error's chain. A cause that the line above it repeats already is left out.
    pub fn of(error: &anyhow::Error) -> Self {
        let mut lines: Vec<String> = Vec::new();
        for cause in error.chain() {
            let text = cause.to_string();
            if !text.is_empty() && lines.last().is_none_or(|above| !above.contains(&text)) {
                lines.push(text);
            }
        }
        let mut lines = lines.into_iter();
        Self {
            message: lines.next().unwrap_or_else(|| "unknown error".to_owned()),
            causes: lines.collect(),
            hint: Fault::hint_of(error),
            exit_code: Fault::exit_code(error),
        }
    }

    /// The lines without colours.
    pub fn plain(&self) -> String {
        self.text(Paint::NONE)
    }

    /// The lines for a person.
    pub fn text(&self, paint: Paint) -> String {
        let error = format!("{} {}", paint.red("error:"), indented(&self.message, 2));
        let causes = self.causes.iter();
        let causes = causes.map(|cause| format!("  {} {}", paint.dim("cause:"), indented(cause, 4)));
        let hint = self.hint.iter();
        let hint = hint.map(|hint| format!("{} {}", paint.cyan("hint:"), indented(hint, 6)));
        let lines: Vec<String> = [error].into_iter().chain(causes).chain(hint).collect();
        lines.join("\n")
    }
}

/// All lines but the first moved to the right. An error may quote the guest, so it is cleaned as the guest's lines are.
fn indented(text: &str, by: usize) -> String {
    let lines: Vec<String> = text.trim_end().lines().map(clean).collect();
    lines.join(&format!("\n{}", " ".repeat(by)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::Cause;
    use anyhow::Context as _;

    #[test]
    fn an_error_tells_what_why_and_what_next() {
        let root = std::io::Error::other("no route to host");
        let error = Err::<(), _>(root)
            .context(Fault::new(Cause::Network, "asking mirror.test: no route to host").hint("check the network"))
            .context("resolving the point release")
            .unwrap_err();
        let failure = Failure::of(&error);
        assert_eq!(failure.exit_code, 6);
        insta::assert_snapshot!(failure.text(Paint::NONE), @r"
        error: resolving the point release
          cause: asking mirror.test: no route to host
        hint: check the network
        ");
    }

    #[test]
    fn a_quoted_guest_does_not_steer_the_terminal() {
        let error = anyhow::anyhow!("the console said\n\u{1b}[2Jboo\u{7}");
        assert_eq!(Failure::of(&error).text(Paint::NONE), "error: the console said\n  boo");
    }

    #[test]
    fn many_lines_stay_together() {
        let fault = Fault::new(Cause::Config, "the configuration has 2 errors\na: x\nb: y").hint("one\ntwo");
        insta::assert_snapshot!(Failure::of(&fault.into()).text(Paint::NONE), @r"
        error: the configuration has 2 errors
          a: x
          b: y
        hint: one
              two
        ");
    }
}
