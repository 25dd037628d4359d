//! Reading debian-installer's text frontend on a serial console: how far it is, and whether it waits for an answer.
//!
//! The frontend prints a phase's title once and its percentages behind it (`Installing the base system  ... 17%...
//! 20%`), and ends a question by one of [`PROMPTS`] without a line end (cdebconf, src/modules/frontend/text/text.c).

use super::Milestone;

/// What stands at the end of a question.
const PROMPTS: [&str; 2] = ["[Press enter to continue]", "Prompt:"];

/// How many lines of a question are quoted.
const QUOTED: usize = 20;

/// What a console's latest output shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// The phase's name for a person.
    pub text: &'static str,
    /// How far the whole installation is, per cent.
    pub percent: u8,
}

/// How far an installation is, by the last line of `console` that tells.
pub fn progress(console: &str, milestones: &[Milestone]) -> Option<Progress> {
    console.lines().rev().find_map(|line| {
        let milestone = milestones.iter().find(|m| line.starts_with(m.title))?;
        let within = u32::from(last_percentage(line).unwrap_or(0).min(100));
        let span = u32::from(milestone.to.saturating_sub(milestone.from));
        let percent = u32::from(milestone.from) + span * within / 100;
        Some(Progress {
            text: milestone.text,
            percent: u8::try_from(percent).unwrap_or(100),
        })
    })
}

fn last_percentage(line: &str) -> Option<u8> {
    let before = &line[..line.rfind('%')?];
    let digits = before.rfind(|c: char| !c.is_ascii_digit()).map_or(0, |at| at + 1);
    before.get(digits..)?.parse().ok()
}

/// The question at which the installer stands, if the console ends with one. A question that is on the screen for a
/// moment only (answered by the seed) is followed by more output, so the caller looks twice.
pub fn question(console: &str) -> Option<String> {
    let text = console.trim_end();
    let last = text.lines().next_back()?;
    if !PROMPTS.iter().any(|prompt| last.contains(prompt)) {
        return None;
    }
    // A question begins after the last line of percentages.
    let mut lines: Vec<&str> = text
        .lines()
        .rev()
        .take(QUOTED)
        .take_while(|line| !line.contains("%..."))
        .collect();
    lines.reverse();
    Some(lines.join("\n").trim().to_owned())
}

/// What a person would see of a console's bytes: control sequences, carriage returns and other control characters
/// gone, invalid UTF-8 replaced.
pub fn clean(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut clean = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            // ECMA-48: CSI is ESC [, parameters, and a final byte from @ to ~; other sequences here have two bytes.
            '\x1b' => {
                if chars.next() == Some('[') {
                    while chars.next().is_some_and(|c| !('@'..='~').contains(&c)) {}
                }
            }
            '\r' if chars.peek() != Some(&'\n') => clean.push('\n'),
            '\n' | '\t' => clean.push(c),
            c if c.is_control() => {}
            c => clean.push(c),
        }
    }
    clean
}

/// The last `count` lines of `text` that are not empty.
pub fn tail(text: &str, count: usize) -> String {
    let mut lines: Vec<&str> = text
        .lines()
        .rev()
        .filter(|line| !line.trim().is_empty())
        .take(count)
        .collect();
    lines.reverse();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILESTONES: &[Milestone] = &[
        Milestone {
            title: "Loading additional components",
            text: "loading components",
            from: 0,
            to: 10,
        },
        Milestone {
            title: "Installing the base system",
            text: "installing the base system",
            from: 10,
            to: 60,
        },
    ];

    #[test]
    fn percentages_scale_into_their_phase() {
        let console = "Loading additional components  ... 1%... 100%\nInstalling the base system  ... 0%... 17%... 20%";
        let seen = progress(console, MILESTONES).unwrap();
        assert_eq!(
            seen,
            Progress {
                text: "installing the base system",
                percent: 20
            }
        );
        let title_only = progress("Installing the base system  ", MILESTONES).unwrap();
        assert_eq!(title_only.percent, 10);
        assert_eq!(progress("Booting", MILESTONES), None);
    }

    #[test]
    fn sequences_are_removed() {
        assert_eq!(clean(b"\x1b[7m\x1b[40mHello\x1b[0m\r\nA\rB\x07"), "Hello\nA\nB");
    }

    #[test]
    fn a_running_phase_is_no_question() {
        assert_eq!(question("Installing the base system  ... 0%... 17%"), None);
        assert_eq!(question(""), None);
    }

    #[test]
    fn the_tail_skips_empty_lines() {
        assert_eq!(tail("a\n\nb\n \nc\n", 2), "b\nc");
    }
}
