//! How the cache is shown: a tree of what lies on what, and one object a thing for programs.

use std::time::Duration;

use bytesize::ByteSize;
use jiff::Timestamp;
use serde::{Serialize, Serializer};

use super::contents::{Contents, Machine, Removal, Thing};
use crate::report::{self, Output, Paint};

/// A thing or a machine, by its place.
#[derive(Clone, Copy)]
enum Node {
    Thing(usize),
    Machine(usize),
}

/// What a program gets of each.
#[derive(Serialize)]
struct Entry<'a> {
    kind: &'a str,
    name: &'a str,
    /// All of a checkpoint's digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    bytes: u64,
    made: Timestamp,
    age_seconds: u64,
    /// The names of what it lies on, each with its kind.
    lies_on: Vec<String>,
    needed_by: Vec<&'a str>,
    used: bool,
}

impl Contents {
    /// Those of the things that are at `places`, in that order, with the word before their sum.
    pub fn only(&self, places: &[usize], sum: &'static str) -> Self {
        let thing = |&place: &usize| Thing {
            under: None,
            on: Vec::new(),
            ..self.things[place].clone()
        };
        Self {
            things: places.iter().map(thing).collect(),
            machines: Vec::new(),
            sum,
            now: self.now,
        }
    }

    fn under(&self, above: Option<usize>) -> Vec<Node> {
        let things = self.things.iter().enumerate().filter(|(_, thing)| thing.under == above);
        let machines = self.machines.iter().enumerate().filter(|(_, it)| it.under == above);
        let machines = machines.map(|(place, _)| Node::Machine(place));
        let things = things.map(|(place, _)| Node::Thing(place));
        // A machine is a leaf; before a subtree it is seen at once.
        match above {
            Some(_) => machines.chain(things).collect(),
            None => things.chain(machines).collect(),
        }
    }

    fn rows(&self, above: Option<usize>, indent: &str, rows: &mut Vec<[String; 4]>) {
        let nodes = self.under(above);
        let count = nodes.len();
        for (turn, node) in nodes.into_iter().enumerate() {
            let (branch, rest) = match (above, turn + 1 == count) {
                (None, _) => ("", ""),
                (Some(_), false) => ("├─ ", "│  "),
                (Some(_), true) => ("└─ ", "   "),
            };
            let [name, size, age, needed] = self.row(node);
            rows.push([format!("{indent}{branch}{name}"), size, age, needed]);
            if let Node::Thing(place) = node {
                self.rows(Some(place), &format!("{indent}{rest}"), rows);
            }
        }
    }

    fn row(&self, node: Node) -> [String; 4] {
        let row = |name: String, bytes: u64, made: Timestamp, needed: String| {
            let age = age_words(age(made, self.now));
            [name, ByteSize(bytes).to_string(), age, needed]
        };
        match node {
            Node::Thing(place) => {
                let thing = &self.things[place];
                let needed: Vec<&str> = thing.needed_by.iter().map(String::as_str).collect();
                let name = format!("{} {}", thing.kind, thing.name);
                row(name, thing.bytes, thing.made, needed.join(", "))
            }
            Node::Machine(place) => {
                let Machine { name, bytes, made, .. } = &self.machines[place];
                row(format!("machine {name}"), *bytes, *made, String::new())
            }
        }
    }

    fn entry<'a>(&'a self, thing: &'a Thing) -> Entry<'a> {
        let called = |&place: &usize| {
            let on = &self.things[place];
            format!("{} {}", on.kind, on.name)
        };
        Entry {
            kind: &thing.kind,
            name: &thing.name,
            key: match &thing.removal {
                Removal::Layer(key) => Some(key.as_str()),
                _ => None,
            },
            bytes: thing.bytes,
            made: thing.made,
            age_seconds: age(thing.made, self.now).as_secs(),
            lies_on: thing.on.iter().map(called).collect(),
            needed_by: thing.needed_by.iter().map(String::as_str).collect(),
            used: !thing.needed_by.is_empty(),
        }
    }
}

impl Serialize for Contents {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.things.iter().map(|thing| self.entry(thing)))
    }
}

impl Output for Contents {
    fn text(&self, paint: Paint) -> String {
        let mut rows = Vec::new();
        self.rows(None, "", &mut rows);
        let total = ByteSize(self.bytes()).to_string();
        rows.push([self.sum.into(), total, String::new(), String::new()]);
        report::table(["NAME", "SIZE", "AGE", "NEEDED BY"], &rows, paint)
    }
}

fn age(made: Timestamp, now: Timestamp) -> Duration {
    now.duration_since(made).try_into().unwrap_or_default()
}

/// `5 min`, `3 h`, `12 days`.
fn age_words(age: Duration) -> String {
    let minutes = age.as_secs() / 60;
    match (minutes, minutes / 60, minutes / 60 / 24) {
        (0, ..) => "just now".to_owned(),
        (minutes, 0, _) => format!("{minutes} min"),
        (_, hours, 0..=1) => format!("{hours} h"),
        (_, _, days) => format!("{days} days"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn thing(kind: &str, name: &str, under: Option<usize>, needed_by: &[&str]) -> Thing {
        Thing {
            kind: kind.to_owned(),
            name: name.to_owned(),
            bytes: 3 << 20,
            made: "2026-03-01T00:00:00Z".parse().unwrap(),
            under,
            on: under.into_iter().collect(),
            needed_by: needed_by.iter().map(|&name| name.to_owned()).collect::<BTreeSet<_>>(),
            removal: Removal::Paths(Vec::new()),
        }
    }

    fn contents() -> Contents {
        let machine = |name: &str, under| Machine {
            name: name.to_owned(),
            bytes: 1 << 20,
            made: "2026-03-03T20:59:00Z".parse().unwrap(),
            under,
        };
        Contents {
            things: vec![
                thing("ISO", "debian.iso", None, &["a", "b"]),
                thing("install", "0123456789ab", Some(0), &["a", "b"]),
                thing("docker", "1123456789ab", Some(1), &["a"]),
                thing("docker", "2123456789ab", Some(1), &[]),
                thing("identity", "a", None, &["a"]),
            ],
            machines: vec![
                machine("a", Some(2)),
                machine("b in /elsewhere", Some(1)),
                machine("c", None),
            ],
            sum: "total in the cache",
            now: "2026-03-03T21:00:00Z".parse().unwrap(),
        }
    }

    #[test]
    fn what_lies_on_what_is_a_tree() {
        insta::assert_snapshot!(contents().text(Paint::NONE), @r"
        NAME                           SIZE      AGE     NEEDED BY
        ISO debian.iso                 3.0 MiB   2 days  a, b
        └─ install 0123456789ab        3.0 MiB   2 days  a, b
           ├─ machine b in /elsewhere  1.0 MiB   1 min
           ├─ docker 1123456789ab      3.0 MiB   2 days  a
           │  └─ machine a             1.0 MiB   1 min
           └─ docker 2123456789ab      3.0 MiB   2 days
        identity a                     3.0 MiB   2 days  a
        machine c                      1.0 MiB   1 min
        total in the cache             15.0 MiB
        ");
    }

    #[test]
    fn a_program_gets_one_object_each() {
        let all = serde_json::to_value(contents()).unwrap();
        assert_eq!(all.as_array().unwrap().len(), 5);
        let expected = serde_json::json!({
            "kind": "docker", "name": "1123456789ab", "bytes": 3 << 20, "made": "2026-03-01T00:00:00Z",
            "age_seconds": 248_400, "lies_on": ["install 0123456789ab"], "needed_by": ["a"], "used": true,
        });
        assert_eq!(all[2], expected);
    }

    #[test]
    fn ages_are_told_roughly() {
        let table = [
            (59, "just now"),
            (60, "1 min"),
            (3599, "59 min"),
            (3600, "1 h"),
            (47 * 3600, "47 h"),
            (48 * 3600, "2 days"),
        ];
        for (seconds, words) in table {
            assert_eq!(age_words(Duration::from_secs(seconds)), words);
        }
    }
}
