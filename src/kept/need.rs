//! What a stage is known to need: what an earlier run of it fetched, and the images that Dockerfiles name.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::digest::Digest;
use super::place::key_of;
use super::store::{Fetched, Store};

/// What a stage fetched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// Addresses and what they gave.
    pub fetched: Fetched,
    /// What it was given besides, and could not be kept.
    #[serde(default)]
    pub unkept: BTreeSet<String>,
}

impl Receipt {
    /// What of it is not kept, or not any more.
    pub fn missing(&self, store: &Store) -> Vec<String> {
        let gone = self.fetched.iter().filter(|(_, digest)| !store.has(digest, None));
        let is_lost = |key: &&String| {
            let entry = store.entry(key);
            !entry.is_some_and(|entry| store.has(&entry.digest, Some(entry.size)))
        };
        // It may have been kept later.
        let lost = self.unkept.iter().filter(is_lost);
        gone.map(|(key, _)| key).chain(lost).cloned().collect()
    }
}

/// An image as a Dockerfile names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Image {
    /// As it is written there.
    pub written: String,
    /// Its name and tag or digest at Docker Hub; nothing for one of another registry.
    pub at_hub: Option<(String, String)>,
}

impl Image {
    /// Takes a reference apart.
    pub fn parse(written: &str) -> Self {
        let (first, rest) = written.split_once('/').unwrap_or(("", written));
        let is_host = first.contains('.') || first.contains(':') || first == "localhost";
        let name = match (is_host, first) {
            (true, "docker.io" | "index.docker.io") => Some(rest.to_owned()),
            (true, _) => None,
            (false, _) => Some(written.to_owned()),
        };
        let at_hub = name.map(|name| {
            let (name, reference) = match (name.split_once('@'), name.rsplit_once(':')) {
                (Some((name, digest)), _) => (name.split(':').next().unwrap_or(name), digest),
                (None, Some((name, tag))) => (name, tag),
                (None, None) => (name.as_str(), "latest"),
            };
            let library = if name.contains('/') { "" } else { "library/" };
            (format!("{library}{name}"), reference.to_owned())
        });
        Self {
            written: written.to_owned(),
            at_hub,
        }
    }

    /// What of it is not kept, in words.
    pub fn missing(&self, store: &Store) -> Option<String> {
        let Some((name, reference)) = &self.at_hub else {
            return Some(format!(
                "the image {} (only Docker Hub's are kept, not those of other registries)",
                self.written
            ));
        };
        let is_whole = content_of(store, &key_of(name, reference))
            .and_then(|manifest| parts(store, name, &manifest))
            .is_some_and(|parts| parts.iter().all(|(digest, size)| store.has(digest, *size)));
        (!is_whole).then(|| format!("the image {}", self.written))
    }
}

fn content_of(store: &Store, key: &str) -> Option<Value> {
    let entry = store.entry(key)?;
    let (file, _) = store.blob(&entry.digest).ok()??;
    serde_json::from_reader(std::io::BufReader::new(file)).ok()
}

/// Configuration and layers of a manifest, of the one for the guests' processor if it is a list.
fn parts(store: &Store, name: &str, manifest: &Value) -> Option<Vec<(Digest, Option<u64>)>> {
    if manifest.get("manifests").is_some() {
        let digest = for_guests(manifest)?;
        let manifest = content_of(store, &key_of(name, &digest.to_string()))?;
        return manifest
            .get("layers")
            .is_some()
            .then(|| parts(store, name, &manifest))?;
    }
    let layers = manifest.get("layers")?.as_array()?;
    let part = |part: &Value| {
        Some((
            Digest::parse(part.get("digest")?.as_str()?)?,
            part.get("size")?.as_u64(),
        ))
    };
    std::iter::once(manifest.get("config")?)
        .chain(layers)
        .map(part)
        .collect()
}

/// The digest of the manifest for the guests' processor in a list of manifests.
pub fn for_guests(list: &Value) -> Option<Digest> {
    let is_ours = |entry: &&Value| {
        let platform = |field: &str| entry.pointer(&format!("/platform/{field}"))?.as_str();
        platform("os") == Some("linux") && platform("architecture") == Some("amd64")
    };
    let entry = list.get("manifests")?.as_array()?.iter().find(is_ours)?;
    Digest::parse(entry.get("digest")?.as_str()?)
}

/// Configuration and layers that a manifest names.
pub fn blobs_of(manifest: &Value) -> Vec<Digest> {
    let layers = manifest.get("layers").and_then(Value::as_array).into_iter().flatten();
    let all = manifest.get("config").into_iter().chain(layers);
    all.filter_map(|part| Digest::parse(part.get("digest")?.as_str()?))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_taken_apart() {
        let digest = format!("sha256:{}", "0".repeat(64));
        let pinned = format!("debian:bookworm@{digest}");
        let table = [
            ("debian", Some(("library/debian", "latest"))),
            ("debian:bookworm", Some(("library/debian", "bookworm"))),
            ("docker.io/library/debian:12", Some(("library/debian", "12"))),
            ("bitnami/redis:7", Some(("bitnami/redis", "7"))),
            ("ghcr.io/some/thing:1", None),
            ("localhost/thing", None),
            (pinned.as_str(), Some(("library/debian", digest.as_str()))),
        ];
        for (written, expected) in table {
            let expected = expected.map(|(name, reference)| (name.to_owned(), reference.to_owned()));
            assert_eq!(Image::parse(written).at_hub, expected, "{written}");
        }
    }
}
