//! What stages are known to need of what is kept.

use std::path::Path;

use anyhow::Result;

use super::Parts;
use crate::config::Config;
use crate::event::Stage;
use crate::kept::dockerfile;
use crate::kept::need::{Image, Receipt};
use crate::kept::{Digest, Store};
use crate::pins::Images;
use crate::stage::project::reference;

/// How the receipts of builds begin.
const BUILDS: &str = "builds-";

/// What of the stages may be missing.
pub struct Needs<'a> {
    config: &'a Config,
    parts: &'a Parts,
    pub(super) kept: Store,
}

impl<'a> Needs<'a> {
    /// What `config` needs of the store in the folder `cache`.
    pub fn new(config: &'a Config, parts: &'a Parts, cache: &Path) -> Self {
        let kept = Store::new(cache);
        Self { config, parts, kept }
    }

    /// The name of the receipt of what `stage` fetches; none for stages that fetch nothing.
    ///
    /// # Errors
    /// When a file of the project cannot be read.
    pub fn receipt_of(&self, stage: Stage) -> Result<Option<String>> {
        let mirror = self.config.network.debian_mirror.as_deref().unwrap_or_default();
        Ok(match stage {
            Stage::Docker => {
                let text = format!("{}\n{}\n{mirror}", self.config.guest, self.parts.docker.packages());
                Some(format!("docker-{}", &Digest::of(text.as_bytes()).hex()[..32]))
            }
            Stage::Project => {
                let dockerfiles = self.parts.project.tree.dockerfiles()?;
                let target = self.config.project.target.as_deref().unwrap_or_default();
                let builds = dockerfile::fingerprint(dockerfiles.iter().map(String::as_str).chain([target]));
                Some(format!("{BUILDS}{builds}"))
            }
            _ => None,
        })
    }

    /// The receipt of `stage`, if an earlier run left one.
    ///
    /// # Errors
    /// When a file of the project cannot be read.
    pub fn receipt(&self, stage: Stage) -> Result<Option<Receipt>> {
        Ok(self.receipt_of(stage)?.and_then(|name| self.kept.receipt(&name)))
    }

    /// Whether all that `stage` fetches is known and kept.
    ///
    /// # Errors
    /// When a file of the project cannot be read.
    pub fn is_kept(&self, stage: Stage) -> Result<bool> {
        Ok(self
            .receipt(stage)?
            .is_some_and(|receipt| receipt.missing(&self.kept).is_empty()))
    }

    /// Whether apt minds in `stage` that lists are too old: not where the packages are pinned.
    pub(super) fn expires(&self, stage: Stage) -> bool {
        stage != Stage::Docker || self.parts.docker.pins().is_none()
    }

    /// The images that the project's Dockerfiles name, and those that are pinned.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn images(&self) -> Result<Vec<Image>> {
        let dockerfiles = self.parts.project.tree.dockerfiles()?;
        let mut images: Vec<_> = dockerfiles.iter().flat_map(|text| dockerfile::images(text)).collect();
        // The engine builds on an image that it has by that name.
        for (name, digest) in self.parts.project.images.iter().flat_map(Images::pinned) {
            let named = Image::parse(name);
            images.retain(|image| match &image.at_hub {
                Some(at_hub) => named.at_hub.as_ref() != Some(at_hub),
                None => image.written != name,
            });
            images.push(Image::parse(&reference(name, digest)));
        }
        images.sort();
        images.dedup();
        Ok(images)
    }

    /// What `stage` needs and this host has not, in words; and whether the rest is only supposed.
    pub(super) fn missing(&self, stage: Stage) -> Result<(Vec<String>, bool)> {
        let receipt = self.receipt(stage)?;
        let mut missing = match &receipt {
            Some(receipt) => receipt.missing(&self.kept),
            None => Vec::new(),
        };
        match (stage, receipt) {
            (Stage::Docker, None) => missing.push(format!("Docker's packages for {}", self.config.guest)),
            (Stage::Project, receipt) => {
                let images = self.images()?;
                missing.extend(images.iter().filter_map(|image| image.missing(&self.kept)));
                if receipt.is_none() && !images.is_empty() {
                    if self.kept.has_receipt(BUILDS) {
                        return Ok((missing, true));
                    }
                    missing.push(
                        "the packages that the project's builds fetch: nothing was built with this cache yet".into(),
                    );
                }
            }
            _ => {}
        }
        Ok((missing, false))
    }
}
