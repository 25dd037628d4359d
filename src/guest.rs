//! What is known of a guest, as data. Guests know no machine: a stage joins the two.

pub mod console;
mod debian;
pub mod installer_log;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use fs_err as fs;
use serde::Deserialize;

use crate::config::{Docker, DockerSource, Network};
use crate::event::Events;
use crate::fault::{Cause, Fault};
use crate::identity::Identity;
use crate::media::seed::SeedFile;
use crate::media::{self, BootFiles, Release};
use crate::text;
#[cfg(test)]
pub use debian::console_texts;

/// The guest definitions that come with the program: name and text.
const EMBEDDED: &[(&str, &str)] = &[
    ("debian-13", include_str!("../vm/debian-13.toml")),
    ("debian-12", include_str!("../vm/debian-12.toml")),
];

/// The signing keys that come with the program: file name and armoured text.
const KEYS: &[(&str, &str)] = &[("debian-cd.asc", include_str!("../provision/keys/debian-cd.asc"))];

/// A guest definition: where its ISO is, how that is verified and which files on it boot it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Definition {
    /// How a person calls it: "Debian 13 (trixie)".
    pub title: String,
    /// Whose installer it has.
    pub family: Family,
    /// Where its ISO is and how it is verified.
    pub iso: Release,
    /// What on the ISO boots its installer.
    pub boot: BootFiles,
    /// Whose Docker packages serve; the first is the default. Empty: the distribution's own alone.
    #[serde(default)]
    pub docker_sources: Vec<DockerSource>,
    /// Where old versions of its packages are: below it `debian/TIME` and `debian-security/TIME`, as on Debian's snapshot
    /// archive.
    #[serde(default)]
    pub snapshot_mirror: Option<String>,
    /// Docker's own package repository for it.
    pub docker_ce: Option<Repository>,
    /// The file that it was read from, unless it came with the program.
    #[serde(skip)]
    file: Option<PathBuf>,
}

/// A family of distributions with one kind of installer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// debian-installer, driven by a preseed file.
    Debian,
}

/// A package repository.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Repository {
    /// Its address.
    pub url: String,
    /// The address of the key that signs it.
    pub key_url: String,
    /// The fingerprint that the key must have.
    pub key_fingerprint: String,
}

/// Everything that drives an unattended installation.
#[derive(Debug, Clone)]
pub struct InstallRecipe {
    /// What on the ISO is booted.
    pub boot: BootFiles,
    /// What is appended to the initial RAM disk.
    pub files: Vec<SeedFile>,
    /// The kernel's command line.
    pub arguments: String,
    /// What the console shows on the way.
    pub milestones: &'static [Milestone],
    /// Reads the installer's log.
    pub log: installer_log::Follower,
}

/// A phase of an installation as its console names it, and its part of the whole time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Milestone {
    /// The beginning of the line on the console.
    pub title: &'static str,
    /// How the phase is called for a person.
    pub text: &'static str,
    /// Per cent of the whole when it begins.
    pub from: u8,
    /// Per cent of the whole when it ends.
    pub to: u8,
}

impl Definition {
    /// The definition `name`: the file `vm/NAME.toml` in the folder `overrides`, else the one that comes with the
    /// program.
    ///
    /// # Errors
    /// A [`Cause::Config`] fault when there is none of that name or it is wrong.
    pub fn find(name: &str, overrides: Option<&Path>) -> Result<Self> {
        if let Some(file) = overrides.map(|dir| dir.join("vm").join(format!("{name}.toml")))
            && file.exists()
        {
            let text = text::read(&file).with_context(|| {
                Fault::new(Cause::Config, format!("reading the guest definition {name}"))
                    .hint("move the file away, or choose another with `--guest`; `provision guests` lists them")
            })?;
            // A copy of what comes with the program, as in the program's own sources, changes nothing.
            if embedded(name) != Some(&text) {
                let definition = Self::parse(&text, &file.display().to_string())?;
                let file = Some(file);
                return Ok(Self { file, ..definition });
            }
        }
        match embedded(name) {
            Some(text) => Self::parse(text, name),
            None => bail!(
                Fault::new(Cause::Config, format!("there is no guest definition {name}"))
                    .hint("`provision guests` lists them")
            ),
        }
    }

    fn parse(text: &str, origin: &str) -> Result<Self> {
        toml::from_str(text)
            .with_context(|| Fault::new(Cause::Config, format!("reading the guest definition {origin}")))
    }

    /// Whose Docker packages are installed.
    ///
    /// # Errors
    /// A [`Cause::Config`] fault when those that `docker` asks for do not serve in this guest.
    pub fn docker_source(&self, docker: &Docker) -> Result<DockerSource> {
        let sources = match self.docker_sources.as_slice() {
            [] => &[DockerSource::Debian][..],
            sources => sources,
        };
        let source = docker.source.unwrap_or(sources[0]);
        if sources.contains(&source) {
            return Ok(source);
        }
        let known: Vec<String> = sources.iter().map(ToString::to_string).collect();
        bail!(
            Fault::new(
                Cause::Config,
                format!("{} does not work with Docker from the source `{source}`", self.title)
            )
            .hint(format!(
                "`--docker-source`, or `source` in [docker], may be {}; another `guest` may have more",
                known.join(" or ")
            ))
        )
    }

    /// How it is installed; root can log in with `builder`'s key afterwards.
    ///
    /// # Errors
    /// A [`Cause::Config`] fault when the network's settings do not suit the installer.
    pub fn recipe(&self, network: &Network, builder: &Identity) -> Result<InstallRecipe> {
        match self.family {
            Family::Debian => debian::recipe(self, network, builder),
        }
    }

    /// The armoured key that signs the ISO's checksums: for a definition from a file the one beside it, else the one
    /// that comes with the program. A definition that comes with the program trusts no other: a project that somebody
    /// cloned must not change whose ISO is installed.
    ///
    /// # Errors
    /// A [`Cause::Config`] fault when there is none of that name.
    pub fn signing_key(&self) -> Result<Vec<u8>> {
        let name = &self.iso.key;
        if let Some(file) = self.key_file() {
            return Ok(text::read(&file)?.into_bytes());
        }
        let known = KEYS.iter().find(|(known, _)| known == name);
        known.map(|(_, text)| text.as_bytes().to_vec()).with_context(|| {
            Fault::new(Cause::Config, format!("there is no signing key {name}"))
                .hint("put it beside the guest definition")
        })
    }

    /// Tells the user when neither the definition nor its key is the program's own.
    ///
    /// # Errors
    /// When `key` cannot be read.
    pub fn tell_trust(&self, key: &[u8], events: &Events) -> Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let fingerprints = media::fingerprints(key)?.join(" or ");
        let whose = match self.key_file() {
            Some(key) => format!("{fingerprints} ({})", key.display()),
            None => format!("{fingerprints}, which comes with the program"),
        };
        let text = format!(
            "the guest definition is {}; its ISO is trusted by the key {whose}",
            file.display()
        );
        let replaces = file
            .file_stem()
            .and_then(|stem| stem.to_str())
            .is_some_and(|stem| embedded(stem).is_some());
        if replaces || self.key_file().is_some() {
            events.warn(text);
        } else {
            events.note(text);
        }
        Ok(())
    }

    fn key_file(&self) -> Option<PathBuf> {
        // A name that is a path leads to no file beside it.
        let is_plain = Path::new(&self.iso.key).file_name() == Some(self.iso.key.as_ref());
        let beside = self.file.as_ref()?.with_file_name(&self.iso.key);
        (is_plain && beside.exists()).then_some(beside)
    }
}

/// The text of the definition `name` that comes with the program.
fn embedded(name: &str) -> Option<&'static str> {
    EMBEDDED.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}

/// The names of all guest definitions: those that come with the program and those in `overrides`.
pub fn names(overrides: Option<&Path>) -> Vec<String> {
    let mut names: Vec<String> = EMBEDDED.iter().map(|(name, _)| (*name).to_owned()).collect();
    let files = overrides.and_then(|dir| fs::read_dir(dir.join("vm")).ok());
    for entry in files.into_iter().flatten().flatten() {
        let path = entry.path();
        if path.extension().is_some_and(|e| e == "toml")
            && let Some(name) = path.file_stem().and_then(|stem| stem.to_str())
            && !names.iter().any(|known| known == name)
        {
            names.push(name.to_owned());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Event;

    #[test]
    fn every_embedded_definition_is_whole() {
        for (name, _) in EMBEDDED {
            let definition = Definition::find(name, None).unwrap();
            definition.signing_key().unwrap();
        }
    }

    #[test]
    fn a_file_overrides_and_adds() {
        let folder = tempfile::tempdir().unwrap();
        let vm = folder.path().join("vm");
        std::fs::create_dir(&vm).unwrap();
        let text = EMBEDDED[0].1.replace("Debian 13", "My Debian");
        std::fs::write(vm.join("debian-13.toml"), &text).unwrap();
        std::fs::write(vm.join("mine.toml"), &text).unwrap();
        let found = Definition::find("debian-13", Some(folder.path())).unwrap();
        assert!(found.title.starts_with("My Debian"));
        assert_eq!(names(Some(folder.path())), ["debian-13", "debian-12", "mine"]);
    }

    /// What is told of the trust in `debian-13` when `files` lie in the folder `vm` of a project, and the key taken.
    fn trust(files: &[(&str, &str)]) -> (Vec<Event>, Vec<u8>) {
        let folder = tempfile::tempdir().unwrap();
        let vm = folder.path().join("vm");
        std::fs::create_dir(&vm).unwrap();
        for (name, text) in files {
            std::fs::write(vm.join(name), text).unwrap();
        }
        let definition = Definition::find("debian-13", Some(folder.path())).unwrap();
        let key = definition.signing_key().unwrap();
        let (events, told) = Events::recorder();
        definition.tell_trust(&key, &events).unwrap();
        (told.lock().unwrap().clone(), key)
    }

    #[test]
    fn a_key_is_a_plain_file_beside_its_definition() {
        let folder = tempfile::tempdir().unwrap();
        let vm = folder.path().join("vm");
        std::fs::create_dir(&vm).unwrap();
        let key = |name: &str| {
            let mut table: toml::Table = EMBEDDED[0].1.parse().unwrap();
            table["iso"]["key"] = name.into();
            std::fs::write(vm.join("mine.toml"), table.to_string()).unwrap();
            Definition::find("mine", Some(folder.path())).unwrap().signing_key()
        };
        std::fs::write(folder.path().join("outside.asc"), "a key").unwrap();
        std::fs::write(vm.join("beside.asc"), "a key").unwrap();
        let pipe = std::process::Command::new("mkfifo").arg(vm.join("pipe.asc")).status();
        assert!(pipe.unwrap().success());
        assert_eq!(key("beside.asc").unwrap(), b"a key");
        for wrong in ["../outside.asc", "../../../../../../dev/zero", "pipe.asc"] {
            assert!(key(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_projects_folder_changes_no_trust_in_silence() {
        let (own_key, own_text) = (KEYS[0].1, EMBEDDED[0].1);
        let other_key = media::testing::KeyMaker::default().make().armoured();
        let other_key = String::from_utf8(other_key).unwrap();
        let fingerprint = &media::fingerprints(other_key.as_bytes()).unwrap()[0];
        // A key alone, or beside a copy of the program's definition, is not looked at.
        for files in [
            &[("debian-cd.asc", other_key.as_str())][..],
            &[("debian-cd.asc", &other_key), ("debian-13.toml", own_text)],
        ] {
            assert_eq!(trust(files), (vec![], own_key.as_bytes().to_vec()));
        }
        let mine = own_text.replace("(trixie)", "(mine)");
        let (told, key) = trust(&[("debian-13.toml", &mine), ("debian-cd.asc", &other_key)]);
        assert_eq!(key, other_key.as_bytes());
        assert!(
            matches!(&told[..], [Event::Warning { text }] if text.contains(fingerprint) && text.contains("debian-13.toml")),
            "{told:?}"
        );
        let (told, key) = trust(&[("debian-13.toml", &mine)]);
        assert_eq!(key, own_key.as_bytes());
        assert!(
            matches!(&told[..], [Event::Warning { text }] if text.contains("comes with the program")),
            "{told:?}"
        );
    }

    #[test]
    fn each_definition_says_whose_docker_serves() {
        let source = |guest: &str, source| {
            let docker = Docker {
                source,
                registry_mirror: None,
            };
            Definition::find(guest, None).unwrap().docker_source(&docker)
        };
        let (debian, ce) = (DockerSource::Debian, DockerSource::DockerCe);
        for (guest, wish, expected) in [
            ("debian-13", None, debian),
            ("debian-13", Some(ce), ce),
            ("debian-12", None, ce),
            ("debian-12", Some(ce), ce),
        ] {
            assert_eq!(source(guest, wish).unwrap(), expected, "{guest} {wish:?}");
        }
        let error = source("debian-12", Some(debian)).unwrap_err();
        let fault = Fault::of(&error).unwrap();
        assert_eq!(fault.cause, Cause::Config);
        assert!(fault.message.contains("bookworm") && fault.hint.as_ref().unwrap().contains("docker-ce"));
        // A definition of one's own that says nothing.
        let mut own = Definition::find("debian-13", None).unwrap();
        own.docker_sources.clear();
        assert_eq!(own.docker_source(&Docker::default()).unwrap(), debian);
    }

    #[test]
    fn an_unknown_guest_is_a_configuration_fault() {
        let error = Definition::find("plan-9", None).unwrap_err();
        assert_eq!(Fault::of(&error).unwrap().cause, Cause::Config);
    }
}
