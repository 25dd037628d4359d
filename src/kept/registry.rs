//! Images: a registry (OCI distribution specification) that stands before the configured mirror and Docker Hub.

use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use hyper::body::Incoming as Asking;
use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};

use super::digest::Digest;
use super::hub::ask;
use super::place::{Wanted, key_of, wanted};
use super::reply::{self, Keep, Reply};
use super::shared::{Shared, now};
use super::store::{Entry, Store};
use super::upstream::Upstream;

const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
const API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");

/// The largest manifest, in bytes: what registries accept.
const MANIFEST: usize = 4 << 20;

/// The kinds of manifests that there are (OCI image specification; Docker's before it).
pub const KINDS: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
                         application/vnd.docker.distribution.manifest.list.v2+json, \
                         application/vnd.docker.distribution.manifest.v2+json";

/// Answers a request to the registry.
pub async fn answer(shared: &Arc<Shared>, request: Request<Asking>) -> Reply {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return reply::text(StatusCode::METHOD_NOT_ALLOWED, "this registry is only read\n");
    }
    let head_only = request.method() == Method::HEAD;
    let mut reply = match wanted(request.uri().path()) {
        None => unknown("UNSUPPORTED", "there is no such thing"),
        Some(Wanted::Base) => reply::text(StatusCode::OK, "{}"),
        Some(Wanted::Manifest { name, reference }) => {
            let accept = request.headers().get_all(ACCEPT).iter();
            let accept: Vec<_> = accept.filter_map(|value| value.to_str().ok()).collect();
            manifest(shared, &name, &reference, &accept.join(", "), head_only).await
        }
        Some(Wanted::Blob { name, digest }) => blob(shared, &name, &digest, head_only).await,
    };
    let version = HeaderValue::from_static("registry/2.0");
    reply.headers_mut().insert(API_VERSION, version);
    reply
}

/// An error as registries tell it.
fn unknown(code: &str, text: &str) -> Reply {
    let body = serde_json::json!({ "errors": [{ "code": code, "message": text }] });
    let mut reply = reply::text(StatusCode::NOT_FOUND, body.to_string());
    let json = HeaderValue::from_static("application/json");
    reply.headers_mut().insert(CONTENT_TYPE, json);
    reply
}

fn with_digest(mut reply: Reply, digest: &Digest) -> Reply {
    if let Ok(value) = HeaderValue::from_str(&digest.to_string()) {
        reply.headers_mut().insert(CONTENT_DIGEST, value);
    }
    reply
}

async fn manifest(shared: &Arc<Shared>, name: &str, reference: &str, accept: &str, head_only: bool) -> Reply {
    let key = key_of(name, reference);
    let kept = shared.kept(&key).await;
    let is_digest = reference.contains(':');
    let given = |(entry, content): (Entry, Vec<u8>)| {
        let reply = reply::content(&entry, content, head_only);
        with_digest(reply, &entry.digest)
    };
    let (entry, file) = match (&shared.upstream, kept) {
        (Some(upstream), None) => match fetch_manifest(shared, upstream, name, reference, accept).await {
            Ok(found) => return given(found),
            Err(error) => {
                shared.events.detail(format!("{key}: {error:#}"));
                return unknown("MANIFEST_UNKNOWN", &format!("{error:#}"));
            }
        },
        (Some(upstream), Some(kept)) if !is_digest => {
            match fetch_manifest(shared, upstream, name, reference, accept).await {
                Ok(found) => return given(found),
                Err(error) => {
                    let events = &shared.events;
                    events.detail(format!("{key} is taken from what is kept: {error:#}"));
                    kept
                }
            }
        }
        (_, Some(kept)) => kept,
        (None, None) => {
            shared.missed(format!("the image {}", key.trim_start_matches("docker.io/library/")));
            return unknown(
                "MANIFEST_UNKNOWN",
                "it is not kept on this host, and there is no network",
            );
        }
    };
    shared.fetched(&entry);
    with_digest(reply::kept(&entry, file, head_only), &entry.digest)
}

/// Gets a manifest and keeps it, by its name and by its digest.
async fn fetch_manifest(
    shared: &Arc<Shared>,
    upstream: &Upstream,
    name: &str,
    reference: &str,
    accept: &str,
) -> Result<(Entry, Vec<u8>)> {
    let accept = if accept.is_empty() { KINDS } else { accept };
    let path = format!("{name}/manifests/{reference}");
    let mut response = ask(shared, upstream, name, &path, Some(accept)).await?;
    let field = |headers: &HeaderMap, name| Some(headers.get(name)?.to_str().ok()?.to_owned());
    let media_type = field(response.headers(), CONTENT_TYPE);
    let said = field(response.headers(), CONTENT_DIGEST).and_then(|digest| Digest::parse(&digest));
    let mut content = Vec::new();
    while let Some(block) = response.chunk().await.context("reading the manifest")? {
        content.extend_from_slice(&block);
        if content.len() > MANIFEST {
            bail!("the manifest is too large");
        }
    }
    let digest = Digest::of(&content);
    let expected = if reference.contains(':') {
        Digest::parse(reference)
    } else {
        said
    };
    if expected.is_some_and(|expected| expected != digest) {
        bail!("the registry gives another manifest than it says");
    }
    let entry = Entry {
        key: key_of(name, reference),
        size: content.len() as u64,
        digest,
        media_type,
        etag: None,
        modified: None,
        at: now(),
    };
    let by_digest = key_of(name, &entry.digest.to_string());
    let (shared, manifest) = (Arc::clone(shared), (entry, content));
    let keep = move || {
        let (entry, content) = &manifest;
        match keep_manifest(&shared.store, entry, by_digest, content) {
            Ok(()) => shared.fetched(entry),
            // The guest can do without.
            Err(error) => shared.cannot_keep(&entry.key, Some(error)),
        }
        manifest
    };
    tokio::task::spawn_blocking(keep).await.context("keeping the manifest")
}

fn keep_manifest(store: &Store, entry: &Entry, by_digest: String, content: &[u8]) -> Result<()> {
    let mut incoming = store.incoming()?;
    incoming.write(content)?;
    incoming.finish()?;
    let key = by_digest;
    store.remember(&Entry { key, ..entry.clone() })?;
    store.remember(entry)
}

async fn blob(shared: &Arc<Shared>, name: &str, digest: &Digest, head_only: bool) -> Reply {
    let key = format!("docker.io/{name} {digest}");
    if let Some((file, size)) = shared.content(digest).await {
        let entry = Entry {
            key,
            digest: digest.clone(),
            size,
            media_type: Some("application/octet-stream".into()),
            etag: None,
            modified: None,
            at: now(),
        };
        shared.fetched(&entry);
        return with_digest(reply::kept(&entry, file, head_only), digest);
    }
    let Some(upstream) = &shared.upstream else {
        shared.missed(format!("a layer of the image docker.io/{name}"));
        return unknown("BLOB_UNKNOWN", "it is not kept on this host, and there is no network");
    };
    match ask(shared, upstream, name, &format!("{name}/blobs/{digest}"), None).await {
        Ok(response) => {
            let length = response.content_length();
            let keep = Keep {
                key,
                expected: Some(digest.clone()),
            };
            let mut reply = if head_only {
                reply::empty(StatusCode::OK)
            } else {
                Response::new(reply::relayed(shared, response, Some(keep)))
            };
            if let Some(length) = length {
                reply.headers_mut().insert(hyper::header::CONTENT_LENGTH, length.into());
            }
            with_digest(reply, digest)
        }
        Err(error) => {
            shared.events.detail(format!("{key}: {error:#}"));
            unknown("BLOB_UNKNOWN", &format!("{error:#}"))
        }
    }
}
