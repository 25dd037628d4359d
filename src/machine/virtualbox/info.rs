//! Reads what `VBoxManage showvminfo --machinereadable` tells of a machine, and the lists of machines and disks.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The state of a machine, by the words of `VBoxManageInfo.cpp` (`machineStateToName`), as far as they make a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VmState {
    /// The guest powered off, or the machine was never started.
    PoweredOff,
    /// The machine's process ended without having been told to.
    Aborted,
    /// It does not run, but would go on where it was.
    Saved,
    /// It is about to run.
    Starting,
    /// It runs.
    Running,
    /// It stands still: somebody paused it, or the host's disk is full.
    Paused,
    /// The virtual processor cannot go on ("guru meditation").
    Stuck,
    /// It ends, or `VirtualBox` works on it.
    Busy,
    /// A word that this program does not know.
    Unknown,
}

impl VmState {
    fn of(word: &str) -> Self {
        match word {
            "poweroff" | "teleported" => Self::PoweredOff,
            "aborted" => Self::Aborted,
            "saved" | "aborted-saved" => Self::Saved,
            "starting" | "restoring" | "teleportingin" => Self::Starting,
            "running" | "teleporting" | "livesnapshotting" | "onlinesnapshotting" | "deletingsnapshotlive" => {
                Self::Running
            }
            "paused" | "deletingsnapshotlivepaused" | "teleportingpausedvm" => Self::Paused,
            "gurumeditation" => Self::Stuck,
            "stopping" | "saving" | "snapshotting" | "settingup" | "restoringsnapshot" | "deletingsnapshot" => {
                Self::Busy
            }
            _ => Self::Unknown,
        }
    }

    /// Whether a process holds the machine.
    pub const fn is_alive(self) -> bool {
        matches!(
            self,
            Self::Starting | Self::Running | Self::Paused | Self::Stuck | Self::Busy
        )
    }
}

/// What is told of a machine, by its keys.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Info(BTreeMap<String, String>);

impl Info {
    /// Reads the output. A line is `key=value`, either of which may stand in quotation marks, in which a backslash
    /// stands before quotation marks and itself, and a line may end. Lines that are none of these (warnings) are
    /// passed over; a text cut short gives what was told until then.
    pub fn parse(text: &str) -> Self {
        let mut values = BTreeMap::new();
        let mut rest = text;
        while !rest.is_empty() {
            match entry(rest) {
                Some((key, value, after)) => {
                    values.insert(key, value);
                    rest = after;
                }
                None => rest = rest.split_once('\n').map_or("", |(_, after)| after),
            }
        }
        Self(values)
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// Its state.
    pub fn state(&self) -> VmState {
        self.get("VMState").map_or(VmState::Unknown, VmState::of)
    }

    /// What attaches to a port of a controller: a file, `emptydrive`; `None` where nothing does.
    pub fn attached(&self, controller: &str, port: u8) -> Option<&str> {
        self.get(&format!("{controller}-{port}-0"))
            .filter(|medium| *medium != "none")
    }

    /// The names of the first card's forwards.
    pub fn forwards(&self) -> Vec<&str> {
        // Forwarding(0)="name,tcp,127.0.0.1,8443,,443"
        let rules = self.0.iter().filter(|(key, _)| key.starts_with("Forwarding("));
        rules.filter_map(|(_, rule)| rule.split(',').next()).collect()
    }
}

/// A snapshot of a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Its identifier.
    pub uuid: String,
    /// Its name, which others may have too.
    pub name: String,
}

impl Info {
    /// The machine's snapshots, in no order that means anything.
    pub fn snapshots(&self) -> Vec<Snapshot> {
        // SnapshotName-1-2="name" has its SnapshotUUID-1-2="…"
        let names = self
            .0
            .iter()
            .filter_map(|(key, name)| Some((key.strip_prefix("SnapshotName")?, name)));
        let of = |(place, name): (&str, &String)| {
            let uuid = self.get(&format!("SnapshotUUID{place}"))?.to_owned();
            Some(Snapshot {
                uuid,
                name: name.clone(),
            })
        };
        names.filter_map(of).collect()
    }
}

/// The first entry of `text` and what comes after its line.
fn entry(text: &str) -> Option<(String, String, &str)> {
    let (key, rest) = word(text, &['=', '\n', '"', ' '])?;
    let (value, rest) = word(rest.strip_prefix('=')?, &['\n'])?;
    if key.is_empty() {
        return None;
    }
    Some((key, value, rest.split_once('\n').map_or("", |(_, after)| after)))
}

/// A key or a value, quoted or until one of `ends`, and what comes after it.
fn word<'a>(text: &'a str, ends: &[char]) -> Option<(String, &'a str)> {
    if let Some(quoted) = text.strip_prefix('"') {
        return unquote(quoted);
    }
    let (word, rest) = text.split_at(text.find(ends).unwrap_or(text.len()));
    Some((word.trim_end_matches('\r').to_owned(), rest))
}

/// The text until the closing quotation mark, and what comes after that.
fn unquote(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(chars.next()?.1),
            _ => value.push(char),
        }
    }
    None
}

/// A machine that `VirtualBox` knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Its identifier.
    pub uuid: String,
    /// Its settings file, there or not.
    pub settings: PathBuf,
}

/// Reads `list --long vms`, where also machines are told of whose files are gone.
pub fn machines(text: &str) -> Vec<Known> {
    let mut known = Vec::new();
    let mut uuid = None;
    for line in text.lines() {
        // Indented lines tell of a machine's parts; `UUID:` comes before the first of them.
        if let Some(value) = labelled(line, "UUID:") {
            uuid = Some(value.to_owned());
        } else if let Some(settings) = labelled(line, "Config file:")
            && let Some(uuid) = uuid.take()
        {
            known.push(Known {
                uuid,
                settings: settings.into(),
            });
        }
    }
    known
}

/// A disk that `VirtualBox` knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    /// Its identifier.
    pub uuid: String,
    /// That of the disk on which it lies.
    pub parent: Option<String>,
    /// Its file, there or not.
    pub file: PathBuf,
}

impl Disk {
    /// Whether its file lies in a folder.
    pub fn lies_in(&self, folder: &Path) -> bool {
        self.file.starts_with(folder)
    }
}

/// Reads `list hdds`.
pub fn disks(text: &str) -> Vec<Disk> {
    let mut disks = Vec::new();
    for block in text.split("\n\n") {
        let value = |label| block.lines().find_map(|line| labelled(line, label));
        if let (Some(uuid), Some(file)) = (value("UUID:"), value("Location:")) {
            disks.push(Disk {
                uuid: uuid.to_owned(),
                parent: value("Parent UUID:")
                    .filter(|parent| *parent != "base")
                    .map(str::to_owned),
                file: file.into(),
            });
        }
    }
    disks
}

/// A disk and those on which it lies, down to the last that is known.
pub fn chain<'a>(disks: &'a [Disk], disk: &'a Disk) -> impl Iterator<Item = &'a Disk> {
    let below = |disk: &&'a Disk| disks.iter().find(|other| Some(&other.uuid) == disk.parent.as_ref());
    std::iter::successors(Some(disk), below)
}

fn labelled<'a>(line: &'a str, label: &str) -> Option<&'a str> {
    line.strip_prefix(label).map(str::trim)
}

#[cfg(test)]
#[path = "tests/info.rs"]
mod tests;
