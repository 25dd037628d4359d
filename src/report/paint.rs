//! Colours, or none.

use std::fmt::Display;

use clap::builder::styling::{AnsiColor, Style};

use crate::cli::Color;

/// Adds colour to words where colours are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Paint(bool);

impl Paint {
    /// Leaves everything as it is.
    pub const NONE: Self = Self(false);

    /// By the user's wish, by `NO_COLOR` (<https://no-color.org>) and by whether a terminal shows it.
    pub fn new(wish: Color, terminal: bool) -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self::decide(wish, terminal, refused)
    }

    const fn decide(wish: Color, terminal: bool, refused: bool) -> Self {
        match wish {
            Color::Always => Self(true),
            Color::Never => Self(false),
            Color::Auto => Self(terminal && !refused),
        }
    }

    fn with(self, style: Style, text: impl Display) -> String {
        if self.0 {
            format!("{style}{text}{style:#}")
        } else {
            text.to_string()
        }
    }

    /// For errors.
    pub fn red(self, text: impl Display) -> String {
        self.with(AnsiColor::Red.on_default().bold(), text)
    }

    /// For what went well.
    pub fn green(self, text: impl Display) -> String {
        self.with(AnsiColor::Green.on_default(), text)
    }

    /// For warnings.
    pub fn yellow(self, text: impl Display) -> String {
        self.with(AnsiColor::Yellow.on_default().bold(), text)
    }

    /// For hints.
    pub fn cyan(self, text: impl Display) -> String {
        self.with(AnsiColor::Cyan.on_default(), text)
    }

    /// For names and headings.
    pub fn bold(self, text: impl Display) -> String {
        self.with(Style::new().bold(), text)
    }

    /// For what matters less.
    pub fn dim(self, text: impl Display) -> String {
        self.with(Style::new().dimmed(), text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_for_terminals_unless_asked_for() {
        for (wish, terminal, refused, expected) in [
            (Color::Auto, true, false, true),
            (Color::Auto, true, true, false),
            (Color::Auto, false, false, false),
            (Color::Always, false, true, true),
            (Color::Never, true, false, false),
        ] {
            assert_eq!(Paint::decide(wish, terminal, refused), Paint(expected));
        }
        assert_eq!(Paint(true).red("x"), "\u{1b}[1m\u{1b}[31mx\u{1b}[0m");
        assert_eq!(Paint::NONE.red("x"), "x");
    }
}
