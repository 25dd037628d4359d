//! Which images a guest has, and on which others they were built, as its engine tells it.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::ssh::{Exec, Session};

/// Asks the engine's API (docs.docker.com, "Docker Engine API"); the path follows. Its client takes half a second for each
/// start in an emulated guest.
const ASK: &str = "curl --silent --show-error --fail --unix-socket /run/docker.sock http://docker";

/// All images that have a name or are used.
const IMAGES: &str = "/images/json";

/// What `BuildKit` keeps: it pulls images into a store of its own, and says of each where it came from.
const BUILD_CACHE: &str = "/system/df?type=build-cache";

/// How `BuildKit` describes what it pulled: `pulled from docker.io/library/debian:bookworm@sha256:…`.
const PULLED: &str = "pulled from ";

/// What compose writes on every image that it builds.
const BUILT: &str = "com.docker.compose.project";

/// An image.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Image {
    /// Its whole name: `docker.io/library/debian:bookworm`; that of one that was built here is as its project gives it.
    pub name: String,
    /// The digest under which a registry gave it; none of one that was built here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// The digest of its configuration, which the engine calls its ID; none of one that only `BuildKit` has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
}

/// The images in the guest, by name. `exec` makes a command with the caller's limits.
///
/// # Errors
/// When the guest cannot be asked or its answer cannot be read.
pub fn ask<'a>(session: &mut Session, exec: impl Fn(String) -> Exec<'a>) -> Result<Vec<Image>> {
    let images = session.read(&exec(format!("{ASK}{IMAGES}")))?;
    let cache = session.read(&exec(format!("{ASK}'{BUILD_CACHE}'")))?;
    read(&images, &cache)
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    id: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    repo_digests: Option<Vec<String>>,
    #[serde(default)]
    labels: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Usage {
    #[serde(default)]
    build_cache: Option<Vec<Cached>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Cached {
    #[serde(default)]
    description: String,
}

fn read(images: &str, cache: &str) -> Result<Vec<Image>> {
    let listed: Vec<Listed> = parse(images)?;
    let usage: Usage = parse(cache)?;
    let mut found: BTreeSet<Image> = listed.into_iter().flat_map(named).collect();
    for cached in usage.build_cache.unwrap_or_default() {
        let pulled = cached.description.strip_prefix(PULLED);
        let Some((name, digest)) = pulled.and_then(|reference| reference.split_once('@')) else {
            continue;
        };
        let (name, digest) = (whole(name), Some(digest.to_owned()));
        // The engine's own list says more of it.
        if !found.iter().any(|image| image.name == name && image.digest == digest) {
            found.insert(Image { name, digest, id: None });
        }
    }
    Ok(found.into_iter().collect())
}

/// One image may have several names, and none.
fn named(listed: Listed) -> Vec<Image> {
    let is_built = listed.labels.is_some_and(|labels| labels.contains_key(BUILT));
    let digests: Vec<(String, String)> = listed
        .repo_digests
        .unwrap_or_default()
        .iter()
        .filter(|_| !is_built)
        .filter_map(|reference| reference.split_once('@'))
        .map(|(repository, digest)| (repository.to_owned(), digest.to_owned()))
        .filter(|(repository, _)| repository != "<none>")
        .collect();
    let tags: Vec<String> = listed.repo_tags.unwrap_or_default();
    let tags = tags.into_iter().filter(|tag| tag != "<none>:<none>");
    let mut untagged = digests.clone();
    let mut images = Vec::new();
    for tag in tags {
        let repository = repository(&tag);
        untagged.retain(|(of, _)| of != repository);
        let digest = digests.iter().find(|(of, _)| of == repository);
        images.push(Image {
            name: if digest.is_some() { whole(&tag) } else { tag.clone() },
            digest: digest.map(|(_, digest)| digest.clone()),
            id: Some(listed.id.clone()),
        });
    }
    images.extend(untagged.into_iter().map(|(repository, digest)| Image {
        name: whole(&repository),
        digest: Some(digest),
        id: Some(listed.id.clone()),
    }));
    images
}

/// A name without its tag.
fn repository(name: &str) -> &str {
    match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => repository,
        _ => name,
    }
}

/// A name with its registry, as Docker completes it.
fn whole(name: &str) -> String {
    match name.split_once('/') {
        None => format!("docker.io/library/{name}"),
        Some((first, _)) if first == "localhost" || first.contains(['.', ':']) => name.to_owned(),
        Some(_) => format!("docker.io/{name}"),
    }
}

fn parse<T: DeserializeOwned>(answer: &str) -> Result<T> {
    serde_json::from_str(answer).with_context(|| {
        let shown: String = answer.chars().take(200).collect();
        format!("reading what Docker answered: {shown}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Docker 26's answers, less what is of no use here.
    const IMAGES: &str = r#"[{"Containers":-1,"Created":1763641313,"Id":"sha256:11","Labels":{"com.docker.compose.project":
        "inception","com.docker.compose.service":"nginx"},"ParentId":"","RepoDigests":[],"RepoTags":["nginx:inception"],
        "SharedSize":-1,"Size":188743680},
        {"Id":"sha256:22","Labels":null,"RepoDigests":["debian@sha256:aa","reg.example.org:5000/debian@sha256:bb"],
        "RepoTags":["debian:bookworm","debian:12","reg.example.org:5000/debian:12"]},
        {"Id":"sha256:33","Labels":{},"RepoDigests":["grafana/loki@sha256:cc"],"RepoTags":["<none>:<none>"]},
        {"Id":"sha256:44","Labels":{"com.docker.compose.project":"inception"},"RepoDigests":["web@sha256:dd"],
        "RepoTags":["web:1"]},
        {"Id":"sha256:55","RepoDigests":null,"RepoTags":null}]"#;
    const CACHE: &str = r#"{"LayersSize":0,"Images":null,"Containers":null,"Volumes":null,"BuildCache":[
        {"ID":"a","Type":"regular","Description":"pulled from docker.io/library/debian:bookworm@sha256:aa","InUse":true},
        {"ID":"b","Type":"regular","Description":"pulled from docker.io/library/alpine:3.22@sha256:ee","InUse":true},
        {"ID":"d","Type":"regular","Description":"pulled from docker.io/library/alpine:3.22@sha256:ee","InUse":true},
        {"ID":"c","Type":"source.local","Description":"local source for context","InUse":false}]}"#;

    #[test]
    fn pulled_images_have_a_digest_and_built_ones_an_id() {
        let images = read(IMAGES, CACHE).unwrap();
        let shown: Vec<String> = images
            .iter()
            .map(|image| {
                let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".into());
                format!("{} {} {}", image.name, or_none(&image.digest), or_none(&image.id))
            })
            .collect();
        assert_eq!(
            shown,
            [
                "docker.io/grafana/loki sha256:cc sha256:33",
                "docker.io/library/alpine:3.22 sha256:ee -",
                "docker.io/library/debian:12 sha256:aa sha256:22",
                "docker.io/library/debian:bookworm sha256:aa sha256:22",
                "nginx:inception - sha256:11",
                "reg.example.org:5000/debian:12 sha256:bb sha256:22",
                "web:1 - sha256:44",
            ]
        );
    }

    #[test]
    fn a_guest_without_images_has_none() {
        assert_eq!(read("[]", r#"{"BuildCache":null}"#).unwrap(), []);
        assert!(read("permission denied", "{}").is_err());
    }
}
