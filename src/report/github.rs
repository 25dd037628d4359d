//! GitHub's runner reads what a step prints, and takes some of it for commands: annotations are made by them, and what a
//! guest prints must not be. How lines are read is in the runner's `ActionCommand.cs`: `::command::` where a line begins,
//! the older `##[command]` anywhere in it.

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;

use super::clean::clean;
use super::failure::Failure;
use crate::event::Event;

/// Whether a step of GitHub Actions runs this program.
pub fn is_runner() -> bool {
    std::env::var_os("GITHUB_ACTIONS").is_some_and(|value| value == "true")
}

/// The file whose Markdown the runner shows as the job's summary.
pub fn summary_file() -> Option<PathBuf> {
    let file: OsString = std::env::var_os("GITHUB_STEP_SUMMARY").filter(|_| is_runner())?;
    (!file.is_empty()).then(|| file.into())
}

/// `text` without anything that the runner takes for a command; nothing is left out, there are blanks in between.
pub fn tame(text: &str) -> String {
    let tame_line = |line: &str| {
        let words = line.trim_start();
        match words.strip_prefix("::") {
            Some(rest) => format!("{}: :{rest}", &line[..line.len() - words.len()]),
            None => line.to_owned(),
        }
    };
    old_style(text).split_inclusive(['\n', '\r']).map(tame_line).collect()
}

fn old_style(text: &str) -> String {
    text.replace("##[", "## [")
}

/// The message of a command.
fn data(text: &str) -> String {
    let lines: Vec<String> = text.lines().map(clean).collect();
    old_style(&lines.join("\n"))
        .replace('%', "%25")
        .replace('\r', "%0D")
        .replace('\n', "%0A")
}

/// The value of a command's property.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

/// Shows warnings, failed checks and the error beside the step and the commit.
pub struct Annotations(Box<dyn Write + Send>);

impl Annotations {
    /// Written to a stream that the runner reads.
    pub fn new(to: impl Write + Send + 'static) -> Self {
        Self(Box::new(to))
    }

    /// Annotates what the user should look at.
    pub fn event(&mut self, event: &Event) {
        match event {
            Event::Warning { text } => self.command("warning", "provision", text),
            Event::Check {
                rule,
                passed: false,
                detail,
            } => self.command("error", &format!("check {rule}"), detail),
            _ => {}
        }
    }

    /// Annotates the error that ends the command.
    pub fn failure(&mut self, failure: &Failure) {
        let text = failure.plain();
        let text = text.strip_prefix("error: ").unwrap_or(&text);
        self.command("error", &format!("provision, exit code {}", failure.exit_code), text);
    }

    fn command(&mut self, name: &str, title: &str, text: &str) {
        let line = format!("::{name} title={}::{}\n", property(title), data(text));
        // A reader that has gone does not stop the work. One write, so that no other line gets in between.
        let _ = self.0.write_all(line.as_bytes()).and_then(|()| self.0.flush());
    }
}

#[cfg(test)]
mod tests {
    use super::super::desk::{Desk, Written};
    use super::super::plain::Plain;
    use super::super::tests::Shared;
    use super::*;
    use crate::event::{Stage, Stream};
    use crate::fault::{Cause, Fault};
    use std::time::Instant;

    /// Whether the runner would take a line for a command.
    fn is_command(line: &str) -> bool {
        line.trim_start().starts_with("::") || line.contains("##[")
    }

    const HOSTILE: [&str; 8] = [
        "::error::pwned",
        "  \t::add-mask::e",
        "\u{a0}::stop-commands::token",
        "x ##[add-path]/tmp/evil",
        "###[error]x",
        ":::error::x",
        "::::error::x",
        "harmless\r::warning::x\r\n::error::y",
    ];

    #[test]
    fn what_a_guest_prints_is_no_command() {
        for text in HOSTILE {
            assert!(text.split(['\r', '\n']).any(is_command), "{text:?}");
            let tamed = tame(text);
            assert!(!tamed.split(['\r', '\n']).any(is_command), "{text:?}: {tamed:?}");
        }
        for text in ["a::b::c", "## heading", "C::D\n", "", "one\ntwo"] {
            assert_eq!(tame(text), text);
        }
    }

    #[test]
    fn no_event_makes_a_command_but_annotations() {
        let (lines, commands) = (Shared::default(), Shared::default());
        let written = Written::default();
        let view = Plain::new(written.watch(lines.clone()), super::super::Paint::NONE).for_github();
        let annotations = Annotations::new(commands.clone());
        let mut desk = Desk::new(Box::new(view), written, Some(annotations), Instant::now());
        for text in HOSTILE {
            let text = text.to_owned();
            for event in [
                Event::Output {
                    stage: Stage::Project,
                    stream: Stream::Stdout,
                    line: text.clone(),
                },
                Event::Note { text: text.clone() },
                Event::Warning { text: text.clone() },
                Event::Check {
                    rule: text.clone(),
                    passed: false,
                    detail: text.clone(),
                },
            ] {
                desk.event(&event, true, Instant::now());
            }
        }
        let fault = Fault::new(Cause::Make, format!("make failed\n{}", HOSTILE.join("\n"))).hint("::error::look");
        desk.failure(&Failure::of(&fault.into()));
        let lines = lines.text();
        assert!(!lines.split(['\r', '\n']).any(is_command), "{lines}");
        let commands = commands.text();
        assert_eq!(commands.lines().count(), HOSTILE.len() * 2 + 1);
        for line in commands.split(['\r', '\n']).filter(|line| !line.is_empty()) {
            let known = ["::warning title=", "::error title="];
            assert!(
                known.iter().any(|known| line.starts_with(known)) && !line.contains("##["),
                "{line}"
            );
        }
    }

    #[test]
    fn annotations_are_escaped() {
        let shared = Shared::default();
        let mut annotations = Annotations::new(shared.clone());
        annotations.event(&Event::Warning {
            text: "50%, really:\nlook".to_owned(),
        });
        annotations.event(&Event::Check {
            rule: "tls-1.2, a:b".to_owned(),
            passed: false,
            detail: "port 443: nothing".to_owned(),
        });
        annotations.event(&Event::Check {
            rule: "site".to_owned(),
            passed: true,
            detail: "answers".to_owned(),
        });
        let fault = Fault::new(Cause::Make, "make failed").hint("`provision ssh` looks at it");
        annotations.failure(&Failure::of(&fault.into()));
        insta::assert_snapshot!(shared.text(), @r"
        ::warning title=provision::50%25, really:%0Alook
        ::error title=check tls-1.2%2C a%3Ab::port 443: nothing
        ::error title=provision%2C exit code 9::make failed%0Ahint: `provision ssh` looks at it
        ");
    }
}
