//! The images that `make` builds on: brought as they are pinned, noted down as they are found.

use anyhow::Result;

use super::super::Host;
use crate::event::Stage;
use crate::facts::{Facts, images};
use crate::fault::{Cause, Fault};
use crate::pins::Images;
use crate::ssh::{self, Exec, Session};

/// How long, on a real machine, an image may take to come.
const PULL: u64 = 600;

/// How long, on a real machine, the engine may take to tell what it has.
const ASK: u64 = 60;

/// Pulls each pinned image by its digest and gives it its name: the engine builds on an image that it has, so a name that
/// means another image in its registry by now does no harm.
///
/// # Errors
/// A [`Cause::Network`] fault when one is not to be had.
pub fn pull(host: &Host, session: &mut Session, images: &Images) -> Result<()> {
    for (name, digest) in images.pinned() {
        host.events
            .step(Stage::Project, format!("pulling {name} as it is pinned"));
        let commands = commands(name, digest)?;
        let job = Exec::new(commands).limit(host.patience(PULL)).cancel(&host.cancel);
        let mut said = String::new();
        let status = session.exec(&job, None, &mut |_, line| {
            said += line;
            said.push('\n');
        })?;
        if status != 0 {
            let message = format!(
                "the pinned image {name} ({digest}) is not to be had:\n{}",
                said.trim_end()
            );
            return Err(Fault::new(Cause::Network, message)
                .hint("registries drop old images; `provision lock` pins what a machine made without `--locked` has")
                .into());
        }
    }
    Ok(())
}

/// How the image is pulled that `name` meant when it was pinned.
pub fn reference(name: &str, digest: &str) -> String {
    format!("{}@{digest}", repository(name))
}

/// What brings one image. One without a tag is found by its digest alone.
fn commands(name: &str, digest: &str) -> Result<String> {
    let reference = reference(name, digest);
    let pull = ssh::quote(&["docker", "pull", "--quiet", &reference])?;
    if repository(name) == name {
        return Ok(pull);
    }
    Ok(format!(
        "{pull} && {}",
        ssh::quote(&["docker", "tag", &reference, name])?
    ))
}

/// A name without its tag.
fn repository(name: &str) -> &str {
    match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => repository,
        _ => name,
    }
}

/// The images that the guest has after `make`.
///
/// # Errors
/// When the engine cannot be asked, or there are others than those pinned.
pub fn look(host: &Host, session: &mut Session, pinned: Option<&Images>) -> Result<Facts> {
    let ask = |command: String| Exec::new(command).limit(host.patience(ASK)).cancel(&host.cancel);
    let facts = Facts {
        images: images::ask(session, ask)?,
        ..Facts::default()
    };
    pinned.map_or(Ok(()), |pinned| pinned.require(&facts))?;
    Ok(facts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_pulled_by_digest_and_named() {
        let table = [
            (
                "docker.io/library/debian:bookworm",
                "docker pull --quiet docker.io/library/debian@sha256:11 && docker tag docker.io/library/debian@sha256:11 \
                 docker.io/library/debian:bookworm",
            ),
            (
                "reg.example.org:5000/a",
                "docker pull --quiet reg.example.org:5000/a@sha256:11",
            ),
        ];
        for (name, wanted) in table {
            assert_eq!(commands(name, "sha256:11").unwrap().replace('\'', ""), wanted);
        }
    }
}
