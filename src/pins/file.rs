//! The lock as a file. Pure.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail};
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use super::diff::{self, Difference, Things};
use crate::event::Stage;
use crate::facts::{Image, Package, Provenance};
use crate::fault::{Cause, Fault};
use crate::media::{self, Digest};

/// The file's format.
const VERSION: u32 = 1;

const HEAD: &str =
    "# Written by `provision lock`; `provision create --locked` makes a machine of this and nothing else.\n\n";

/// What the file says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    version: u32,
    /// When Debian's snapshot archive has the packages: `20260801T093000Z`.
    pub snapshot: String,
    pub iso: Iso,
    pub packages: Packages,
    /// Name and digest of each image that came from a registry.
    #[serde(default)]
    pub images: BTreeMap<String, String>,
}

/// The pinned ISO.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Iso {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    pub digest: Digest,
}

/// The pinned packages, name and version, by the stage that installs them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Packages {
    pub install: BTreeMap<String, String>,
    pub docker: BTreeMap<String, String>,
}

/// What is pinned, to be compared with what is found.
pub struct Pins {
    pub packages: Things,
    pub images: Things,
}

impl Pins {
    /// What the packages of a guest have otherwise.
    pub fn of_packages(&self, found: &[Package]) -> Vec<Difference> {
        let found = found
            .iter()
            .map(|package| (package.name.clone(), package.version.clone()));
        diff::between(&self.packages, &found.collect())
    }

    /// What the images that a guest got from registries have otherwise.
    pub fn of_images(&self, found: &[Image]) -> Vec<Difference> {
        diff::between(&self.images, &pulled(found).collect())
    }
}

/// The images that came from a registry. What is built is another each time, since it holds the time; what it is built
/// on counts.
fn pulled(images: &[Image]) -> impl Iterator<Item = (String, String)> {
    images
        .iter()
        .filter_map(|image| Some((image.name.clone(), image.digest.clone()?)))
}

impl File {
    /// Reads the text of the file that the user knows as `name`.
    ///
    /// # Errors
    /// A [`Cause::Config`] fault when it is not understood, or says what cannot be.
    pub fn parse(text: &str, name: &str) -> Result<Self> {
        let hint = "`provision lock` writes it anew from a machine that is made";
        let wrong = || Fault::new(Cause::Config, format!("reading {name}")).hint(hint);
        let file: Self = toml::from_str(text).with_context(wrong)?;
        if let Some(what) = file.odd() {
            bail!(Fault::new(Cause::Config, format!("{name}: {what}")).hint(hint));
        }
        Ok(file)
    }

    /// What pins the machine of `provenance`.
    ///
    /// # Errors
    /// A [`Cause::Usage`] fault when too little is known of it.
    pub fn of(provenance: &Provenance) -> Result<Self> {
        let docker = provenance.stages.iter().find(|made| made.stage == Stage::Docker);
        let (Some(docker), false) = (docker, provenance.packages.is_empty()) else {
            bail!(
                Fault::new(
                    Cause::Usage,
                    "which packages the machine has was not noted down when they were installed"
                )
                .hint("`provision rebuild --from docker` makes it anew, and notes them down")
            );
        };
        let install = provenance.stages.iter().find(|made| made.stage == Stage::Install);
        let iso = match (&provenance.iso, install.and_then(|made| made.inputs.get("iso"))) {
            (Some(iso), _) => Iso {
                name: Some(iso.name.clone()),
                digest: iso.digest.clone(),
            },
            (None, Some(digest)) => Iso {
                name: None,
                digest: Digest::try_from(digest.clone())?,
            },
            (None, None) => bail!(Fault::new(Cause::Usage, "the machine's ISO is not known")),
        };
        let of = |stage: Stage| {
            let packages = provenance.packages.iter().filter(move |package| package.stage == stage);
            packages
                .map(|package| (package.name.clone(), package.version.clone()))
                .collect()
        };
        let packages = Packages {
            install: of(Stage::Install),
            docker: of(Stage::Docker),
        };
        let time = docker.made.to_zoned(TimeZone::UTC);
        Ok(Self {
            version: VERSION,
            snapshot: time.strftime("%Y%m%dT%H%M%SZ").to_string(),
            iso,
            packages,
            images: pulled(&provenance.images).collect(),
        })
    }

    /// The file's text.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn text(&self) -> Result<String> {
        Ok(format!("{HEAD}{}", toml::to_string(self).context("writing the lock")?))
    }

    /// What is pinned.
    pub fn pins(&self) -> Pins {
        let packages = self.packages.install.iter().chain(&self.packages.docker);
        let owned = |(name, value): (&String, &String)| (name.clone(), value.clone());
        Pins {
            packages: packages.map(owned).collect(),
            images: self.images.iter().map(owned).collect(),
        }
    }

    /// What of it cannot be. It becomes arguments and settings in the guest: nothing may be special there.
    fn odd(&self) -> Option<String> {
        if self.version != VERSION {
            return Some(format!(
                "version {} is of another version of this program",
                self.version
            ));
        }
        if !is_time(&self.snapshot) {
            return Some(format!(
                "`snapshot` is no time like 20260801T093000Z: {:?}",
                self.snapshot
            ));
        }
        if let Some(name) = self.iso.name.as_ref().filter(|name| !media::is_name(name)) {
            return Some(format!("`name` is no name of an ISO: {name:?}"));
        }
        let packages = self.packages.install.iter().chain(&self.packages.docker);
        let mut odd = packages.filter(|(name, version)| !is_package(name) || !is_version(version));
        if let Some((name, version)) = odd.next() {
            return Some(format!("{name:?} = {version:?} is no package and version"));
        }
        let mut odd = self
            .images
            .iter()
            .filter(|(name, digest)| !is_image(name) || !is_digest(digest));
        let (name, digest) = odd.next()?;
        Some(format!("{name:?} = {digest:?} is no image and digest"))
    }
}

fn is_time(text: &str) -> bool {
    let shape: String = text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    shape == "00000000T000000Z"
}

/// Debian's policy, 5.6.7; behind a colon an architecture.
fn is_package(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "+-.:".contains(c);
    name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.chars().all(plain)
}

/// Debian's policy, 5.6.12.
fn is_version(version: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || ".+~:-".contains(c);
    version.starts_with(|c: char| c.is_ascii_digit()) && version.chars().all(plain)
}

fn is_image(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-/:".contains(c);
    name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.chars().all(plain)
}

fn is_digest(digest: &str) -> bool {
    let hex = digest.strip_prefix("sha256:").unwrap_or_default();
    hex.len() == 64 && hex.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f'))
}
