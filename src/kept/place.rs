//! How images, their manifests and their parts are named (OCI distribution specification).

use super::digest::Digest;

/// What a path of the registry's names.
#[derive(Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Whether there is a registry at all.
    Base,
    /// A manifest by tag or digest.
    Manifest { name: String, reference: String },
    /// Content by digest.
    Blob { name: String, digest: Digest },
}

/// Under which address a manifest is kept.
pub fn key_of(name: &str, reference: &str) -> String {
    let separator = if reference.contains(':') { '@' } else { ':' };
    format!("docker.io/{name}{separator}{reference}")
}

/// What a request's path means; nothing if it means nothing here.
pub fn wanted(path: &str) -> Option<Wanted> {
    let rest = path.strip_prefix("/v2")?;
    if matches!(rest, "" | "/") {
        return Some(Wanted::Base);
    }
    let rest = rest.strip_prefix('/')?;
    let is_fit = |text: &str, more: &str| {
        !text.is_empty() && !text.contains("..") && text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c))
    };
    if let Some((name, reference)) = rest.rsplit_once("/manifests/") {
        let fit = is_fit(name, "/._-") && is_fit(reference, ":._-");
        let (name, reference) = (name.to_owned(), reference.to_owned());
        return fit.then_some(Wanted::Manifest { name, reference });
    }
    let (name, digest) = rest.rsplit_once("/blobs/")?;
    let digest = digest.starts_with("sha256:").then(|| Digest::parse(digest))??;
    is_fit(name, "/._-").then(|| Wanted::Blob {
        name: name.to_owned(),
        digest,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_taken_apart() {
        let manifest = |name: &str, reference: &str| {
            Some(Wanted::Manifest {
                name: name.into(),
                reference: reference.into(),
            })
        };
        assert_eq!(wanted("/v2/"), Some(Wanted::Base));
        assert_eq!(
            wanted("/v2/library/debian/manifests/bookworm"),
            manifest("library/debian", "bookworm")
        );
        let digest = format!("sha256:{}", "a".repeat(64));
        assert_eq!(wanted(&format!("/v2/a/manifests/{digest}")), manifest("a", &digest));
        assert_eq!(
            wanted(&format!("/v2/a/b/blobs/{digest}")),
            Some(Wanted::Blob {
                name: "a/b".into(),
                digest: Digest::parse(&digest).unwrap()
            })
        );
        for path in [
            "/",
            "/v2/../x/manifests/a",
            "/v2/a/blobs/sha256:..",
            "/v2/a/blobs/aa",
            "/v2/a b/manifests/c",
            "/v2/_catalog",
        ] {
            assert_eq!(wanted(path), None, "{path}");
        }
    }
}
