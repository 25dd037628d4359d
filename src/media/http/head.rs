//! What the head of an answer says of the file.

use reqwest::blocking::Response;
use reqwest::header::{self, HeaderName};

/// A part of a file: `Content-Range` (RFC 9110, 14.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// The first byte's place.
    pub from: u64,
    /// The whole file's size in bytes, where the server says.
    pub total: Option<u64>,
}

/// The head of an answer.
pub(super) struct Head {
    pub(super) status: u16,
    pub(super) length: Option<u64>,
    pub(super) validator: Option<String>,
    pub(super) part: Option<Part>,
}

/// What the head of `response` says.
pub(super) fn head_of(response: &Response) -> Head {
    let field = |name: HeaderName| response.headers().get(name)?.to_str().ok();
    // A weak tag may not be used with ranges (RFC 9110, 13.1.5).
    let tag = field(header::ETAG).filter(|tag| tag.starts_with('"'));
    Head {
        status: response.status().as_u16(),
        length: response.content_length(),
        validator: tag.or_else(|| field(header::LAST_MODIFIED)).map(ToOwned::to_owned),
        part: field(header::CONTENT_RANGE).and_then(parse_part),
    }
}

/// `bytes 100-199/1000` or `bytes 100-199/*`.
fn parse_part(text: &str) -> Option<Part> {
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (from, _) = range.split_once('-')?;
    Some(Part {
        from: from.parse().ok()?,
        total: total.parse().ok(),
    })
}
