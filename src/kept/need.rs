//! What a stage is known to need: what an earlier run of it fetched, and the images that Dockerfiles name.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::registry::key_of;
use super::store::{Digest, Fetched, Store};

/// What a stage fetched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// Addresses and what they gave.
    pub fetched: Fetched,
}

impl Receipt {
    /// What of it is not kept any more.
    pub fn missing(&self, store: &Store) -> Vec<String> {
        let gone = self.fetched.iter().filter(|(_, digest)| !store.has(digest, None));
        gone.map(|(key, _)| key.clone()).collect()
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

/// The images that a Dockerfile names and does not make itself: of its FROM lines, COPY --from, and its syntax. Names
/// that hold variables without a value here are left out (Dockerfile reference).
pub fn images(dockerfile: &str) -> Vec<Image> {
    let (mut arguments, mut stages, mut found) = (Vec::new(), Vec::new(), Vec::new());
    let syntax = dockerfile.lines().next().and_then(|line| line.strip_prefix('#'));
    if let Some(("syntax", image)) = syntax
        .and_then(|line| line.trim().split_once('='))
        .map(|(name, value)| (name.trim(), value.trim()))
    {
        found.push(image.to_owned());
    }
    for line in instructions(dockerfile) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let Some((instruction, rest)) = words.split_first() else {
            continue;
        };
        match instruction.to_ascii_uppercase().as_str() {
            "ARG" if stages.is_empty() => {
                arguments.extend(
                    rest.iter()
                        .filter_map(|word| word.split_once('='))
                        .map(|(name, value)| (name.to_owned(), value.trim_matches('"').to_owned())),
                );
            }
            "FROM" => {
                let mut names = rest.iter().filter(|word| !word.starts_with("--"));
                let image = names.next().and_then(|image| filled(image, &arguments));
                found.extend(image.filter(|image| image != "scratch" && !stages.contains(image)));
                let name = names
                    .nth(1)
                    .map_or_else(|| stages.len().to_string(), |name| (*name).to_owned());
                stages.push(name);
            }
            "COPY" => {
                let from = rest.iter().find_map(|word| word.strip_prefix("--from="));
                let is_stage = |name: &str| name.parse::<usize>().is_ok() || stages.iter().any(|stage| stage == name);
                found.extend(
                    from.filter(|name| !is_stage(name) && !name.contains('$'))
                        .map(ToOwned::to_owned),
                );
            }
            _ => {}
        }
    }
    let mut images: Vec<_> = found.iter().map(|written| Image::parse(written)).collect();
    images.sort();
    images.dedup();
    images
}

/// Instructions of a Dockerfile, a line each, without comments.
pub fn instructions(dockerfile: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for line in dockerfile.lines() {
        let line = line.trim();
        if line.starts_with('#') {
            continue;
        }
        let Some(last) = lines.last_mut() else { continue };
        if let Some(begun) = line.strip_suffix('\\') {
            last.push_str(begun);
            last.push(' ');
        } else {
            last.push_str(line);
            lines.push(String::new());
        }
    }
    lines.retain(|line| !line.trim().is_empty());
    lines
}

/// `text` with the values of its variables; nothing if one has none.
fn filled(text: &str, arguments: &[(String, String)]) -> Option<String> {
    let (mut filled, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once('$') {
        filled += before;
        let (name, default, after) = if let Some(braced) = after.strip_prefix('{') {
            let (inner, after) = braced.split_once('}')?;
            let default = inner.split_once(":-");
            let (name, default) = default.map_or((inner, None), |(name, value)| (name, Some(value)));
            (name, default, after)
        } else {
            let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
            let (name, after) = after.split_at(after.find(|c| !is_name(c)).unwrap_or(after.len()));
            (name, None, after)
        };
        let value = arguments.iter().rev().find(|(known, _)| known == name);
        filled += value
            .map(|(_, value)| value.as_str())
            .filter(|value| !value.is_empty())
            .or(default)?;
        rest = after;
    }
    Some(filled + rest)
}

/// What tells which downloads builds make: the instructions that run or fetch something.
pub fn fingerprint<'a>(dockerfiles: impl IntoIterator<Item = &'a str>) -> String {
    let mut texts: Vec<String> = dockerfiles
        .into_iter()
        .map(|text| {
            let counts = |line: &String| {
                let word = line.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
                matches!(word.as_str(), "FROM" | "ARG" | "ENV" | "RUN" | "ADD" | "SHELL")
            };
            instructions(text)
                .into_iter()
                .filter(counts)
                .collect::<Vec<_>>()
                .join("\n")
        })
        .collect();
    texts.sort();
    Digest::of(texts.join("\n\n").as_bytes()).hex()[..32].to_owned()
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

    #[test]
    fn a_dockerfile_names_what_it_does_not_make() {
        let text = "# syntax=docker/dockerfile:1\n\
                    ARG RELEASE=bookworm OTHER\nARG FLAVOUR=\"slim\"\n\
                    from --platform=linux/amd64 debian:${RELEASE}-$FLAVOUR as base\n\
                    FROM base AS second\n# FROM comment\nFROM scratch\n\
                    FROM alpine:${OTHER:-3.20}\nFROM nothing:${UNKNOWN}\n\
                    RUN echo \\\n  FROM inside\n\
                    COPY --from=base /a /b\nCOPY --from=0 /a /b\nCOPY --from=busybox:1 /bin /bin\n";
        let found: Vec<_> = images(text).into_iter().map(|image| image.written).collect();
        assert_eq!(
            found,
            [
                "alpine:3.20",
                "busybox:1",
                "debian:bookworm-slim",
                "docker/dockerfile:1"
            ]
        );
    }

    #[test]
    fn only_what_runs_counts() {
        let one = "FROM a\nRUN x \\\n y\nEXPOSE 1\n";
        let same = "# new\nFROM a\nRUN x \\\n y\nEXPOSE 2\nCOPY z /\n";
        let other = "FROM a\nRUN x z\n";
        assert_eq!(fingerprint([one, other]), fingerprint([other, same]));
        assert_ne!(fingerprint([one]), fingerprint([other]));
    }
}
