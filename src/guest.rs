//! What is known of a guest, as data. Guests know no machine: a stage joins the two.

pub mod console;
mod debian;

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use fs_err as fs;
use serde::Deserialize;

use crate::config::Network;
use crate::fault::{Cause, Fault};
use crate::identity::Identity;
use crate::media::Release;
use crate::media::seed::SeedFile;

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
    /// Docker's own package repository for it.
    pub docker_ce: Option<Repository>,
}

/// A family of distributions with one kind of installer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// debian-installer, driven by a preseed file.
    Debian,
}

/// The installer's kernel and initial RAM disk: paths on the ISO.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BootFiles {
    /// The kernel.
    pub kernel: String,
    /// The initial RAM disk, to which the seed is appended.
    pub initrd: String,
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
            let text = fs::read_to_string(&file)?;
            return Self::parse(&text, &file.display().to_string());
        }
        match EMBEDDED.iter().find(|(known, _)| *known == name) {
            Some((_, text)) => Self::parse(text, name),
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

    /// How it is installed; root can log in with `builder`'s key afterwards.
    ///
    /// # Errors
    /// A [`Cause::Config`] fault when the network's settings do not suit the installer.
    pub fn recipe(&self, network: &Network, builder: &Identity) -> Result<InstallRecipe> {
        match self.family {
            Family::Debian => debian::recipe(self, network, builder),
        }
    }

    /// The armoured key that signs the ISO's checksums: beside the definition in the folder `overrides`, else the one
    /// that comes with the program.
    ///
    /// # Errors
    /// A [`Cause::Config`] fault when there is none of that name.
    pub fn signing_key(&self, overrides: Option<&Path>) -> Result<Vec<u8>> {
        let name = &self.iso.key;
        if let Some(file) = overrides.map(|dir| dir.join("vm").join(name))
            && file.exists()
        {
            return Ok(fs::read(file)?);
        }
        let known = KEYS.iter().find(|(known, _)| known == name);
        known.map(|(_, text)| text.as_bytes().to_vec()).with_context(|| {
            Fault::new(Cause::Config, format!("there is no signing key {name}"))
                .hint("put it beside the guest definition")
        })
    }
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

    #[test]
    fn every_embedded_definition_is_whole() {
        for (name, _) in EMBEDDED {
            let definition = Definition::find(name, None).unwrap();
            definition.signing_key(None).unwrap();
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

    #[test]
    fn an_unknown_guest_is_a_configuration_fault() {
        let error = Definition::find("plan-9", None).unwrap_err();
        assert_eq!(Fault::of(&error).unwrap().cause, Cause::Config);
    }
}
