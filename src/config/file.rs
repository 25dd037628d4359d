//! `provision.toml` as a list of values, each with its line. Pure.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::names::nearest;
use super::problem::{Place, Problem};
use super::setting::{Given, Kind, SETTINGS, Spec};

/// What a configuration file says.
#[derive(Debug, Default)]
pub struct File {
    /// The values of the known keys.
    pub values: Vec<Given>,
    /// Everything that is wrong with it as a file: syntax, unknown keys, wrong types. It stands beside the values, so
    /// that wrong values can be reported at the same time.
    pub problems: Vec<Problem>,
}

/// Reads the text of a configuration file that the user knows as `name`.
pub fn parse(name: &str, text: &str) -> File {
    let mut reader = Reader {
        name,
        text,
        file: File::default(),
    };
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let span = error.span().unwrap_or(0..0);
        reader.syntax(&span, error.message());
    }
    if reader.file.problems.is_empty() {
        reader.top(table.get_ref());
    }
    reader.file
}

struct Reader<'a> {
    name: &'a str,
    text: &'a str,
    file: File,
}

impl Reader<'_> {
    fn place(&self, span: &Range<usize>) -> Place {
        let before = self.text.as_bytes().iter().take(span.start);
        let line = before.filter(|byte| **byte == b'\n').count() + 1;
        let file = self.name.to_owned();
        Place::Line { file, line }
    }

    fn problem(&mut self, span: &Range<usize>, text: String) {
        let place = self.place(span);
        self.file.problems.push(Problem::new(place, text));
    }

    /// One syntax error leads the parser into others; the first of a line is the one to show.
    fn syntax(&mut self, span: &Range<usize>, message: &str) {
        let place = self.place(span);
        if self.file.problems.iter().all(|problem| problem.place != place) {
            let mut problem = Problem::new(place, message);
            problem.syntax = true;
            self.file.problems.push(problem);
        }
    }

    fn top(&mut self, table: &DeTable<'_>) {
        for (key, value) in table {
            let name: &str = key.get_ref();
            if sections().any(|section| section == name) {
                match value.get_ref() {
                    DeValue::Table(table) => self.section(name, table),
                    // The program alone, where nothing else is said of the machine.
                    DeValue::String(_) if name == "machine" => self.entry(name, key.span(), "program", value),
                    other => {
                        let text = format!("`{name}` must be a table `[{name}]`, not {}", described(other));
                        self.problem(&key.span(), text);
                    }
                }
            } else {
                self.entry("", key.span(), name, value);
            }
        }
    }

    fn section(&mut self, section: &str, table: &DeTable<'_>) {
        for (key, value) in table {
            self.entry(section, key.span(), key.get_ref(), value);
        }
    }

    fn entry(&mut self, section: &str, at: Range<usize>, key: &str, value: &Spanned<DeValue<'_>>) {
        let Some(spec) = SETTINGS.iter().find(|spec| spec.key == Some((section, key))) else {
            let text = unknown(section, key, value.get_ref());
            return self.problem(&at, text);
        };
        match text_of(spec, value.get_ref()) {
            Some(text) => {
                let place = self.place(&at);
                let setting = spec.setting;
                self.file.values.push(Given { setting, text, place });
            }
            None => self.problem(&at, wrong_type(section, key, spec.kind, value.get_ref())),
        }
    }
}

fn sections() -> impl Iterator<Item = &'static str> {
    let keys = SETTINGS.iter().filter_map(|spec| spec.key);
    keys.map(|(section, _)| section).filter(|section| !section.is_empty())
}

/// The value as text, if it has the setting's type.
fn text_of(spec: &Spec, value: &DeValue<'_>) -> Option<String> {
    match (spec.kind, value) {
        (Kind::Text, DeValue::String(text)) => Some(text.to_string()),
        (Kind::Number, DeValue::Integer(number)) => {
            let parsed = i64::from_str_radix(number.as_str(), number.radix());
            Some(parsed.map_or_else(|_| number.to_string(), |n| n.to_string()))
        }
        (Kind::List, DeValue::Array(items)) => {
            let texts: Option<Vec<&str>> = items.iter().map(|item| item.get_ref().as_str()).collect();
            Some(texts?.join(","))
        }
        _ => None,
    }
}

fn wrong_type(section: &str, key: &str, kind: Kind, found: &DeValue<'_>) -> String {
    let wanted = match kind {
        Kind::Text => "a string in quotes",
        Kind::Number => "a number without quotes",
        Kind::List => "a list of strings in brackets",
    };
    let found = described(found);
    format!("`{key}`{} must be {wanted}, not {found}", within(section))
}

fn unknown(section: &str, key: &str, value: &DeValue<'_>) -> String {
    if section.is_empty() && value.is_table() {
        let guess = guess(key, sections(), |name| format!("[{name}]"));
        return format!("unknown table [{key}]{guess}");
    }
    let keys = SETTINGS.iter().filter_map(|spec| spec.key);
    let here = keys.clone().filter(|(s, _)| *s == section).map(|(_, key)| key);
    let mut guess = guess(key, here, |name| format!("`{name}`"));
    // The right key under the wrong table is as common as a misspelling.
    if let Some((home, _)) = keys.clone().find(|(_, name)| *name == key) {
        let table = if home.is_empty() {
            "the top of the file".to_owned()
        } else {
            format!("[{home}]")
        };
        guess = format!(" (it belongs in {table})");
    }
    format!("unknown key `{key}`{}{guess}", within(section))
}

fn guess<'a>(word: &str, known: impl Iterator<Item = &'a str>, show: impl Fn(&str) -> String) -> String {
    nearest(word, known).map_or_else(String::new, |name| format!(" (did you mean {}?)", show(name)))
}

fn within(section: &str) -> String {
    if section.is_empty() {
        String::new()
    } else {
        format!(" in [{section}]")
    }
}

const fn described(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
