//! What the keeper answers with, and how content flows through it into the store.

use std::fs::File;
use std::io::Read as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body, Bytes, Frame};
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderMap, HeaderName, HeaderValue, LAST_MODIFIED};
use hyper::{Response, StatusCode};
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::digest::Digest;
use super::shared::Shared;
use super::store::Entry;

/// Whatever may go wrong in a body.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// An answer.
pub type Reply = Response<BoxBody<Bytes, BoxError>>;

/// How many blocks of a body may wait.
const AHEAD: usize = 8;

/// What is read from a file at once, in bytes.
const BLOCK: usize = 128 << 10;

/// The largest content that is kept, in bytes; more flows by.
const LARGEST: u64 = 4 << 30;

/// A body that comes from another task.
struct Flow(Receiver<Result<Bytes, BoxError>>);

impl Body for Flow {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.0
            .poll_recv(context)
            .map(|block| block.map(|block| block.map(Frame::data)))
    }
}

/// A short answer.
pub fn text(status: StatusCode, text: impl Into<String>) -> Reply {
    let body = Full::new(Bytes::from(text.into()));
    let mut reply = Response::new(body.map_err(|never| match never {}).boxed());
    *reply.status_mut() = status;
    reply
}

/// An answer without a body.
pub fn empty(status: StatusCode) -> Reply {
    text(status, String::new())
}

/// The head that goes with kept content.
pub fn head_of(entry: &Entry) -> HeaderMap {
    let mut head = HeaderMap::new();
    let mut put = |name: HeaderName, value: Option<&str>| {
        if let Some(value) = value.and_then(|value| HeaderValue::from_str(value).ok()) {
            head.insert(name, value);
        }
    };
    put(CONTENT_TYPE, entry.media_type.as_deref());
    put(ETAG, entry.etag.as_deref());
    put(LAST_MODIFIED, entry.modified.as_deref());
    put(CONTENT_LENGTH, Some(&entry.size.to_string()));
    head
}

/// Kept content, of which only the head is sent if that is what was asked for.
pub fn kept(entry: &Entry, file: File, head_only: bool) -> Reply {
    let mut reply = if head_only {
        empty(StatusCode::OK)
    } else {
        let (to, from) = channel(AHEAD);
        tokio::task::spawn_blocking(move || pour(file, &to));
        Response::new(Flow(from).boxed())
    };
    *reply.headers_mut() = head_of(entry);
    reply
}

/// Content from memory, of which only the head is sent if that is what was asked for.
pub fn content(entry: &Entry, content: Vec<u8>, head_only: bool) -> Reply {
    let content = if head_only { Bytes::new() } else { content.into() };
    let body = Full::new(content).map_err(|never| match never {}).boxed();
    let mut reply = Response::new(body);
    *reply.headers_mut() = head_of(entry);
    reply
}

fn pour(mut file: File, to: &Sender<Result<Bytes, BoxError>>) {
    loop {
        let mut block = vec![0; BLOCK];
        let sent = match file.read(&mut block) {
            Ok(0) => return,
            Ok(count) => {
                block.truncate(count);
                to.blocking_send(Ok(block.into()))
            }
            Err(error) => to.blocking_send(Err(error.into())),
        };
        // Who asked has hung up.
        if sent.is_err() {
            return;
        }
    }
}

/// How an answer's content is kept.
pub struct Keep {
    /// Under which address.
    pub key: String,
    /// What it must be, where that is known.
    pub expected: Option<Digest>,
}

/// The content of `response` as it comes, kept on its way if `keep` says so. Its last block goes out only once the
/// whole is found to be what it should be.
pub fn relayed(shared: &Arc<Shared>, response: reqwest::Response, keep: Option<Keep>) -> BoxBody<Bytes, BoxError> {
    let (to, from) = channel(AHEAD);
    let shared = Arc::clone(shared);
    tokio::spawn(async move {
        if let Err(error) = relay(&shared, response, keep, &to).await {
            let _ = to.send(Err(error)).await;
        }
    });
    Flow(from).boxed()
}

async fn relay(
    shared: &Arc<Shared>,
    mut response: reqwest::Response,
    keep: Option<Keep>,
    to: &Sender<Result<Bytes, BoxError>>,
) -> Result<(), BoxError> {
    let field = |name: HeaderName| Some(response.headers().get(name)?.to_str().ok()?.to_owned());
    let (media_type, etag, modified) = (field(CONTENT_TYPE), field(ETAG), field(LAST_MODIFIED));
    let mut incoming = keep.as_ref().and_then(|keep| shared.incoming(&keep.key));
    let (mut pending, mut total): (Option<Bytes>, u64) = (None, 0);
    while let Some(block) = response.chunk().await? {
        total += block.len() as u64;
        if let (Some(into), Some(keep)) = (&mut incoming, &keep) {
            let written = into.write(&block);
            if total > LARGEST || written.is_err() {
                shared.cannot_keep(&keep.key, written.err());
                incoming = None;
            }
        }
        if let Some(before) = pending.replace(block)
            && to.send(Ok(before)).await.is_err()
        {
            return Ok(());
        }
    }
    if let (Some(incoming), Some(keep)) = (incoming, keep) {
        if keep
            .expected
            .as_ref()
            .is_some_and(|expected| *expected != incoming.digest())
        {
            return Err(format!("{} is not what it should be", keep.key).into());
        }
        let key = keep.key.clone();
        let entry = |digest, size| Entry {
            key,
            digest,
            size,
            media_type,
            etag,
            modified,
            at: super::shared::now(),
        };
        let shared = Arc::clone(shared);
        tokio::task::spawn_blocking(move || {
            let kept = incoming.finish().and_then(|(digest, size)| {
                let entry = entry(digest, size);
                shared.store.remember(&entry)?;
                Ok(entry)
            });
            match kept {
                Ok(entry) => shared.fetched(&entry),
                Err(error) => shared.cannot_keep(&keep.key, Some(error)),
            }
        })
        .await?;
    }
    if let Some(last) = pending {
        let _ = to.send(Ok(last)).await;
    }
    Ok(())
}
