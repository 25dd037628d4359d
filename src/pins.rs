//! `provision.lock`: what alone a machine may be made of, written from one that was made.
//!
//! ```toml
//! version = 1
//! snapshot = "20260801T093000Z"      # the time at which Debian's snapshot archive has these packages
//! [iso]
//! name = "debian-13.0.0-amd64-netinst.iso"
//! digest = "sha512:…"
//! [packages.install]                 # name = version; these are on the ISO
//! [packages.docker]                  # these come from the network
//! [images]                           # name = digest; those that were built in the guest are made of these
//! ```

mod diff;
mod file;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::checkpoint::{Layer, Store};
use crate::config::Network;
use crate::event::Stage;
use crate::facts::{self, Facts, Provenance};
use crate::fault::{Cause, Fault};
use crate::guest::Definition;
use crate::key::{Inputs, digest};
use crate::media::{self, Pinned};
use crate::plan::Plan;
use crate::plan::making::LOCKED;
use crate::text;
use diff::Difference;
pub use file::File;

/// The file's name; it lies beside `provision.toml`.
pub const FILE_NAME: &str = "provision.lock";

/// What was pinned, and where.
#[derive(Debug, Clone, PartialEq)]
pub struct Lock {
    path: PathBuf,
    file: File,
}

impl Lock {
    /// The lock at `path`.
    ///
    /// # Errors
    /// A [`Cause::Config`] fault when there is none, or it cannot be understood.
    pub fn read(path: &Path) -> Result<Self> {
        let text = match text::read(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let message = format!("there is no {}", path.display());
                bail!(
                    Fault::new(Cause::Config, message).hint("`provision lock` writes it from a machine that is made")
                );
            }
            other => other.with_context(|| {
                Fault::new(Cause::Config, format!("{} cannot be read", path.display()))
                    .hint("move it away; `provision lock` writes it from a machine that is made")
            })?,
        };
        let file = File::parse(&text, &path.display().to_string())?;
        Ok(Self {
            path: path.to_owned(),
            file,
        })
    }

    /// What pins the machine of `provenance`.
    ///
    /// # Errors
    /// A [`Cause::Usage`] fault when too little is known of it.
    pub fn of(provenance: &Provenance, path: &Path) -> Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            file: File::of(provenance)?,
        })
    }

    /// Writes it, whole or not at all.
    ///
    /// # Errors
    /// When it cannot be written; what was there stays then.
    pub fn write(&self) -> Result<()> {
        let writing = || format!("writing {}", self.path.display());
        let folder = self.path.parent().unwrap_or(Path::new("."));
        let mut new = tempfile::Builder::new()
            .prefix(".provision.lock-")
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))
            .tempfile_in(folder)
            .with_context(writing)?;
        std::io::Write::write_all(&mut new, self.file.text()?.as_bytes()).with_context(writing)?;
        new.as_file().sync_all().with_context(writing)?;
        new.persist(&self.path).with_context(writing)?;
        Ok(())
    }

    /// What it says.
    pub const fn file(&self) -> &File {
        &self.file
    }

    /// What differs from it to `other`, a line each; empty if nothing does.
    pub fn diff(&self, other: &Self) -> Vec<String> {
        diff::files(&self.file, &other.file)
    }

    /// The ISO, where it can be fetched by its name.
    pub fn released_iso(&self) -> Option<Pinned> {
        let iso = &self.file.iso;
        Some(Pinned {
            name: iso.name.clone()?,
            digest: iso.digest.clone(),
        })
    }

    /// Refuses another ISO than the pinned one.
    ///
    /// # Errors
    /// A [`Cause::Verification`] fault with the difference.
    pub fn require_iso(&self, iso: &media::Iso) -> Result<()> {
        let found = [(iso.name.clone(), iso.digest.to_string())];
        let pinned = &self.file.iso;
        if pinned.digest == iso.digest {
            return Ok(());
        }
        let name = pinned.name.clone().unwrap_or_else(|| iso.name.clone());
        let differences = diff::between(&[(name, pinned.digest.to_string())].into(), &found.into());
        Err(self
            .refusal("the ISO", &differences, "`provision lock` pins another machine's")
            .into())
    }

    /// Refuses a plan of which cached layers hold what is not pinned.
    ///
    /// # Errors
    /// A [`Cause::Verification`] fault with all differences.
    pub fn require_layers(&self, store: &Store, plan: &Plan) -> Result<()> {
        let layers = plan.stages.iter().filter_map(|planned| store.get(&planned.key));
        let differing: Vec<(Stage, Vec<Difference>)> = layers
            .map(|layer| (layer.manifest.stage, self.differences(&layer)))
            .filter(|(_, differences)| !differences.is_empty())
            .collect();
        let Some((first, _)) = differing.first() else {
            return Ok(());
        };
        let hint = format!(
            "`provision rebuild --locked --from {first}` makes the machine of what is pinned; `provision lock` pins what \
             it was made of"
        );
        let all: Vec<Difference> = differing
            .iter()
            .flat_map(|(_, differences)| differences.clone())
            .collect();
        Err(self.refusal("the machine", &all, &hint).into())
    }

    /// Whether `layer` holds just what is pinned.
    pub fn fits(&self, layer: &Layer) -> bool {
        self.differences(layer).is_empty()
    }

    fn differences(&self, layer: &Layer) -> Vec<Difference> {
        let facts = &layer.manifest.facts;
        match layer.manifest.stage {
            Stage::Docker => self.file.pins().of_packages(&facts.packages),
            Stage::Project => self.file.pins().of_images(&facts.images),
            _ => Vec::new(),
        }
    }

    /// What tells a stage that is made of what is pinned from an ordinary one.
    pub fn marks(&self, stage: Stage) -> Inputs {
        let pinned = match stage {
            Stage::Docker => format!("{} {:?}", self.file.snapshot, self.file.packages),
            Stage::Project => format!("{:?}", self.file.images),
            _ => return Inputs::new(),
        };
        Inputs::from([(LOCKED.to_owned(), digest(pinned.as_bytes()))])
    }

    /// What the stage docker may install, and from where.
    ///
    /// # Errors
    /// A [`Cause::Config`] fault when nobody says where Debian's snapshot archive is.
    pub fn packages(&self, network: &Network, guest: &Definition) -> Result<Packages> {
        let mirror = network.snapshot_mirror.as_ref().or(guest.snapshot_mirror.as_ref());
        let mirror = mirror.with_context(|| {
            Fault::new(
                Cause::Config,
                "this guest definition does not say where old packages are to be had",
            )
            .hint("`--snapshot-mirror URL`, or snapshot_mirror = \"URL\" in [network]")
        })?;
        Ok(Packages {
            mirror: mirror.trim_end_matches('/').to_owned(),
            lock: self.clone(),
        })
    }

    /// The images of which alone the stage project may make its own.
    pub fn images(&self) -> Images {
        Images { lock: self.clone() }
    }

    fn refusal(&self, what: &str, differences: &[Difference], hint: &str) -> Fault {
        let lines: Vec<String> = differences.iter().map(ToString::to_string).collect();
        let message = format!(
            "{what} is not what {} pins (- pinned, + found)\n{}",
            self.path.display(),
            lines.join("\n")
        );
        Fault::new(Cause::Verification, message).hint(hint)
    }
}

/// What the stage docker may install.
#[derive(Debug, Clone)]
pub struct Packages {
    mirror: String,
    lock: Lock,
}

impl Packages {
    /// The options of docker.sh that pin.
    pub fn args(&self) -> Vec<String> {
        let file = &self.lock.file;
        let mut args = vec![
            "--snapshot".to_owned(),
            self.mirror.clone(),
            "--snapshot-time".to_owned(),
            file.snapshot.clone(),
        ];
        for (name, version) in &file.packages.docker {
            args.extend(["--pin".to_owned(), format!("{name}={version}")]);
        }
        args
    }

    /// Refuses what the guest has otherwise.
    ///
    /// # Errors
    /// A [`Cause::Verification`] fault with the difference.
    pub fn require(&self, found: &[facts::Package]) -> Result<()> {
        let differences = self.lock.file.pins().of_packages(found);
        refuse(&self.lock, "what Docker's installation brought", &differences)
    }
}

/// The images of which alone the stage project may make its own.
#[derive(Debug, Clone)]
pub struct Images {
    lock: Lock,
}

impl Images {
    /// Name and digest of each.
    pub fn pinned(&self) -> impl Iterator<Item = (&str, &str)> {
        let images = self.lock.file.images.iter();
        images.map(|(name, digest)| (name.as_str(), digest.as_str()))
    }

    /// Refuses what the guest has otherwise.
    ///
    /// # Errors
    /// A [`Cause::Verification`] fault with the difference.
    pub fn require(&self, found: &Facts) -> Result<()> {
        let differences = self.lock.file.pins().of_images(&found.images);
        refuse(&self.lock, "what make pulled", &differences)
    }
}

fn refuse(lock: &Lock, what: &str, differences: &[Difference]) -> Result<()> {
    if differences.is_empty() {
        return Ok(());
    }
    let hint = "without `--locked` the machine is made of this, and `provision lock` then pins it";
    Err(lock.refusal(what, differences, hint).into())
}

#[cfg(test)]
mod tests;
