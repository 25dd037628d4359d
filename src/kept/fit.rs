//! What of plain-HTTP answers may be kept, and what addresses say of their content.

use std::sync::Arc;

use hyper::StatusCode;
use hyper::header::{CACHE_CONTROL, CONTENT_LENGTH, HeaderMap, SET_COOKIE, TRANSFER_ENCODING, VARY};
use reqwest::Url;

use super::digest::Digest;
use super::shared::{Shared, now};
use super::store::Entry;

/// Content whose address says what it is (`Acquire-By-Hash` of Debian's archive).
pub async fn by_hash(shared: &Arc<Shared>, url: &Url) -> Option<(Entry, std::fs::File)> {
    let digest = digest_in(url)?;
    let (file, size) = shared.content(&digest).await?;
    let entry = Entry {
        key: url.as_str().to_owned(),
        digest,
        size,
        media_type: None,
        etag: None,
        modified: None,
        at: now(),
    };
    Some((entry, file))
}

pub fn digest_in(url: &Url) -> Option<Digest> {
    let (_, digest) = url.path().rsplit_once("/by-hash/SHA256/")?;
    Digest::parse(digest)
}

/// Whether an address means the same content for ever: a package's file name holds its version.
pub fn is_package(url: &Url) -> bool {
    [".deb", ".udeb"].iter().any(|end| url.path().ends_with(end))
}

/// A guest that goes on with an answer that is not kept will miss it.
pub fn lost(shared: &Shared, status: StatusCode, url: &Url) {
    if status.is_success() || status.is_redirection() {
        shared.unkept(url.as_str());
    }
}

/// Whether an answer's end can be told from a broken connection, and it is for everybody.
pub fn may_keep(headers: &HeaderMap) -> bool {
    let is_whole = headers.contains_key(CONTENT_LENGTH) || headers.contains_key(TRANSFER_ENCODING);
    let control = headers.get(CACHE_CONTROL).and_then(|value| value.to_str().ok());
    let is_private = control.is_some_and(|control| control.contains("no-store") || control.contains("private"));
    let varies = headers.get(VARY).is_some_and(|value| value.as_bytes() == b"*");
    is_whole && !is_private && !varies && !headers.contains_key(SET_COOKIE)
}
