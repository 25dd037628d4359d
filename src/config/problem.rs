//! One thing that is wrong with the configuration, and all of them as one fault.

use std::fmt;
use std::path::Path;

use crate::fault::{Cause, Fault};

/// Where a value comes from, for messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A flag, with its dashes.
    Flag(String),
    /// An environment variable.
    Variable(String),
    /// A line of the configuration file, counted from 1.
    Line {
        /// The file as the user named it.
        file: String,
        /// The line.
        line: usize,
    },
    /// Not given: the default of the setting with this flag.
    Default(String),
}

impl Place {
    /// Whether nothing was given.
    pub const fn is_default(&self) -> bool {
        matches!(self, Self::Default(_))
    }

    /// The line in the file, for sorting; flags and variables come first, defaults last.
    const fn order(&self) -> usize {
        match self {
            Self::Flag(_) | Self::Variable(_) => 0,
            Self::Line { line, .. } => *line,
            Self::Default(_) => usize::MAX,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(text) | Self::Variable(text) | Self::Default(text) => f.write_str(text),
            Self::Line { file, line } => write!(f, "{file}:{line}"),
        }
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where it was written.
    pub place: Place,
    /// What is wrong, naming the key or the value.
    pub text: String,
    /// What to type instead, where that is not plain from the text.
    pub hint: Option<&'static str>,
    /// Whether the file is not TOML there, so that what follows may have been misread.
    pub syntax: bool,
}

impl Problem {
    /// A problem without a hint.
    pub fn new(place: Place, text: impl Into<String>) -> Self {
        Self {
            place,
            text: text.into(),
            hint: None,
            syntax: false,
        }
    }

    /// The same with a hint.
    #[must_use]
    pub const fn hint(mut self, hint: &'static str) -> Self {
        self.hint = Some(hint);
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.text)
    }
}

/// What is said of a file or folder that is not there, or is something else.
pub fn missing(kind: &str, path: &Path) -> String {
    let shown = path.display();
    match path.try_exists() {
        Ok(true) => format!("{shown} is no {kind}"),
        Ok(false) => format!("there is no {kind} {shown}"),
        Err(error) => format!("{shown} cannot be looked at: {error}"),
    }
}

/// All `problems` as one fault: a line each, in the order of the file.
pub fn fault(mut problems: Vec<Problem>) -> Fault {
    problems.sort_by_key(|problem| problem.place.order());
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    let message = match lines.as_slice() {
        [only] => only.clone(),
        _ => format!("the configuration has {} errors\n{}", lines.len(), lines.join("\n")),
    };
    let mut fault = Fault::new(Cause::Config, message);
    let own = problems.iter().find_map(|problem| problem.hint);
    fault.hint = Some(
        own.unwrap_or("`provision help create` tells what each setting may be")
            .to_owned(),
    );
    fault
}
