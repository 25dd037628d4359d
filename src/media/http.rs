//! HTTP for what is downloaded: every answer can be interrupted, nothing waits for ever, and an error says whether
//! it may pass. The proxies of the environment (`HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`, `NO_PROXY`, in upper or
//! lower case) are used, as is the host's store of certificate authorities.

use std::io::Read as _;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use anyhow::{Context as _, Result};
use reqwest::Url;
use reqwest::blocking::{Client, Response};
use reqwest::header::{self, HeaderMap, HeaderName, HeaderValue};

use crate::cancel::Cancel;
use crate::fault::{Cause, Fault};
use crate::wait::{self, Wait};

/// How many bytes are taken from the connection at once, and how many such blocks may wait for the reader: enough
/// that the network does not stand still while the disk writes.
const BLOCK: usize = 256 << 10;
const BLOCKS_AHEAD: usize = 16;

/// How long one look for the next block lasts before the user's wish to stop is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// How patient a client is.
#[derive(Debug, Clone)]
pub struct Patience {
    /// For a connection.
    pub connect: Duration,
    /// For the next byte.
    pub silence: Duration,
    /// How often the same is tried without coming nearer to the end.
    pub tries: u32,
    /// The first pause between two tries; each next one is twice as long.
    pub pause: Duration,
    /// Whether the environment's proxies are used.
    pub proxies: bool,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(30),
            silence: Duration::from_secs(60),
            tries: 5,
            pause: Duration::from_secs(1),
            proxies: true,
        }
    }
}

/// Why a request gave nothing. Addresses are shown without user name and password.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// Not an http or https address.
    #[error("{0:?} is no http or https address")]
    Address(String),
    /// No answer at all.
    #[error("no answer from {url}: {reason}")]
    Unreachable {
        /// What was asked for.
        url: String,
        /// What went wrong.
        reason: String,
    },
    /// Somebody answers who cannot prove to be the server.
    #[error("{url} has a certificate that this host does not trust: {reason}")]
    Untrusted {
        /// What was asked for.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// An answer other than the file.
    #[error("{url} answered {status}")]
    Status {
        /// What was asked for.
        url: String,
        /// The status code.
        status: u16,
    },
    /// The answer broke off.
    #[error("{url} broke off: {reason}")]
    Broken {
        /// What was asked for.
        url: String,
        /// What went wrong.
        reason: String,
    },
    /// An answer that is something else than the file, as login pages and some proxies give.
    #[error("{url} is not what it should be: {reason}")]
    Other {
        /// What was asked for.
        url: String,
        /// What it is instead.
        reason: String,
    },
    /// The answer is larger than what was asked for can be.
    #[error("{url} is larger than {limit} bytes")]
    TooLarge {
        /// What was asked for.
        url: String,
        /// What was allowed.
        limit: u64,
    },
}

impl HttpError {
    /// Whether `error` is one of these.
    pub fn of(error: &anyhow::Error) -> Option<&Self> {
        error.downcast_ref()
    }

    /// Whether the same request may succeed a little later.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Broken { .. } => true,
            // Request Timeout, Too Early, Too Many Requests, and the server's own troubles.
            Self::Status { status, .. } => matches!(status, 408 | 425 | 429 | 500..=599),
            Self::Address(_) | Self::Untrusted { .. } | Self::Other { .. } | Self::TooLarge { .. } => false,
        }
    }

    /// Whether the server says that the file is not there (any more).
    pub const fn is_gone(&self) -> bool {
        matches!(self, Self::Status { status: 404 | 410, .. })
    }
}

/// A client.
pub struct Http {
    client: Client,
    cancel: Cancel,
    patience: Patience,
}

/// The head of an answer, and its body.
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The size of the body in bytes, where the server says.
    pub length: Option<u64>,
    /// What `If-Range` takes to know this very file again: a strong `ETag`, or else `Last-Modified`.
    pub validator: Option<String>,
    /// Which part of the file this is, for 206.
    pub part: Option<Part>,
    /// The body.
    pub body: Body,
}

/// A part of a file: `Content-Range` (RFC 9110, 14.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// The first byte's place.
    pub from: u64,
    /// The whole file's size in bytes, where the server says.
    pub total: Option<u64>,
}

impl Http {
    /// A client that gives up when `cancel` is raised.
    ///
    /// # Errors
    /// A [`Cause::Network`] fault when the host has no store of certificate authorities.
    pub fn new(patience: Patience, cancel: &Cancel) -> Result<Self> {
        // Fails only when there is one already, which serves as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = Client::builder()
            .user_agent(concat!("provision/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(patience.connect)
            // The blocking client counts this anew for the head and for every read of the body.
            .timeout(patience.silence);
        if !patience.proxies {
            builder = builder.no_proxy();
        }
        Ok(Self {
            client: builder.build().map_err(no_client)?,
            cancel: cancel.clone(),
            patience,
        })
    }

    /// The flag that ends every request.
    pub const fn cancel(&self) -> &Cancel {
        &self.cancel
    }

    /// Repeats `attempt` while its error may pass.
    ///
    /// # Errors
    /// The last attempt's, or an interruption.
    pub fn retry<T>(&self, mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
        let may_pass = |error: &anyhow::Error| HttpError::of(error).is_some_and(HttpError::may_pass);
        let Patience { tries, pause, .. } = self.patience;
        wait::retry(tries, pause, &self.cancel, may_pass, |_| attempt())
    }

    /// Asks for `url` once. Statuses from 400 on are errors, but 416 is not, as it answers a range.
    ///
    /// # Errors
    /// [`HttpError`], or an interruption.
    pub fn get(&self, url: &str, headers: HeaderMap) -> Result<Answer> {
        let (address, shown) = parse(url)?;
        let request = self.client.get(address).headers(headers);
        let (to_head, head) = sync_channel(1);
        let (to_body, body) = sync_channel(BLOCKS_AHEAD);
        // A blocked read cannot be interrupted, so it has a thread; that ends with the reader or with the time-out.
        std::thread::spawn(move || match request.send() {
            Ok(response) => {
                if to_head.send(Ok(head_of(&response))).is_ok() {
                    pump(response, &to_body);
                }
            }
            Err(error) => drop(to_head.send(Err(error))),
        });
        let body = Body {
            blocks: body,
            shown: shown.clone(),
            cancel: self.cancel.clone(),
            // The client's own limit comes first; this one is for a name server that does not answer.
            limit: self.patience.silence + self.patience.connect,
        };
        let Head {
            status,
            length,
            validator,
            part,
        } = match body.receive(&head)? {
            Some(Ok(head)) => head,
            Some(Err(error)) => return Err(unreachable(shown, error).into()),
            None => return Err(broken(shown, "the request was given up").into()),
        };
        if status >= 400 && status != 416 {
            return Err(HttpError::Status { url: shown, status }.into());
        }
        Ok(Answer {
            status,
            length,
            validator,
            part,
            body,
        })
    }

    /// The whole of the small text file `url`.
    ///
    /// # Errors
    /// [`HttpError`], also when it is larger than `limit` bytes, no UTF-8 or a web page; or an interruption.
    pub fn text(&self, url: &str, limit: u64) -> Result<String> {
        let bytes = self.retry(|| {
            let mut answer = self.get(url, HeaderMap::new())?;
            let mut bytes = Vec::new();
            while let Some(block) = answer.body.next()? {
                bytes.extend_from_slice(&block);
                if bytes.len() as u64 > limit {
                    let url = answer.body.shown;
                    return Err(HttpError::TooLarge { url, limit }.into());
                }
            }
            Ok(bytes)
        })?;
        let other = |reason: &str| HttpError::Other {
            url: shown(url),
            reason: reason.to_owned(),
        };
        let text = String::from_utf8(bytes).map_err(|_| other("it is no text"))?;
        if text.trim_start().starts_with('<') {
            return Err(other("it is a web page").into());
        }
        Ok(text)
    }
}

/// An answer's body, block by block.
pub struct Body {
    blocks: Receiver<std::io::Result<Vec<u8>>>,
    shown: String,
    cancel: Cancel,
    limit: Duration,
}

impl Body {
    /// The next bytes, or `None` at the end.
    ///
    /// # Errors
    /// [`HttpError::Broken`], or an interruption.
    pub fn next(&mut self) -> Result<Option<Vec<u8>>> {
        match self.receive(&self.blocks)? {
            Some(Ok(block)) => Ok(Some(block)),
            Some(Err(error)) => Err(broken(self.shown.clone(), &chain(&error)).into()),
            None => Ok(None),
        }
    }

    /// The next value, or `None` when the sender is gone.
    fn receive<T>(&self, channel: &Receiver<T>) -> Result<Option<T>> {
        Wait::new(format!("an answer of {}", self.shown), self.limit)
            .cancel(&self.cancel)
            .until(|| match channel.recv_timeout(LOOK) {
                Ok(value) => Ok(Some(Some(value))),
                Err(RecvTimeoutError::Disconnected) => Ok(Some(None)),
                Err(RecvTimeoutError::Timeout) => Ok(None),
            })
    }
}

/// Header fields with which the rest of a file is asked for, if it is still the file that `validator` means.
///
/// # Errors
/// When the validator cannot be sent.
pub fn rest_from(start: u64, validator: Option<&str>) -> Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    let mut put = |name: HeaderName, value: &str| -> Result<()> {
        let value = HeaderValue::from_str(value).context("asking for the rest of a file")?;
        headers.insert(name, value);
        Ok(())
    };
    put(header::RANGE, &format!("bytes={start}-"))?;
    if let Some(validator) = validator {
        put(header::IF_RANGE, validator)?;
    }
    Ok(headers)
}

/// `url` without a user name and password, for messages and records.
pub fn shown(url: &str) -> String {
    parse(url).map_or_else(|_| url.to_owned(), |(_, shown)| shown)
}

fn parse(url: &str) -> Result<(Url, String), HttpError> {
    let address = Url::parse(url).map_err(|_| HttpError::Address(url.to_owned()))?;
    let mut bare = address.clone();
    // Both fail only for addresses without a host, which have neither.
    let _ = bare.set_username("");
    let _ = bare.set_password(None);
    match address.scheme() {
        "http" | "https" => Ok((address, bare.into())),
        _ => Err(HttpError::Address(bare.into())),
    }
}

struct Head {
    status: u16,
    length: Option<u64>,
    validator: Option<String>,
    part: Option<Part>,
}

fn head_of(response: &Response) -> Head {
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

/// Carries the body over to the reader until either has enough.
fn pump(mut response: Response, to: &SyncSender<std::io::Result<Vec<u8>>>) {
    let mut block = vec![0; BLOCK];
    loop {
        let read = response.read(&mut block);
        let over = !matches!(read, Ok(1..));
        let sent = match read {
            Ok(0) => break,
            read => to.send(read.map(|count| block[..count].to_vec())),
        };
        if over || sent.is_err() {
            break;
        }
    }
}

fn no_client(error: reqwest::Error) -> anyhow::Error {
    let reason = chain(&error);
    let fault = Fault::new(Cause::Network, format!("HTTPS cannot be set up: {reason}"));
    let hint = "install the package ca-certificates, or name a file of trusted certificates in SSL_CERT_FILE";
    anyhow::Error::new(error).context(fault.hint(hint))
}

fn unreachable(url: String, error: reqwest::Error) -> HttpError {
    let error = error.without_url();
    if let Some(certificate) = certificate_error(&error) {
        let reason = certificate.to_string();
        return HttpError::Untrusted { url, reason };
    }
    let reason = chain(&error);
    HttpError::Unreachable { url, reason }
}

fn certificate_error<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a rustls::CertificateError> {
    let mut next = Some(error);
    while let Some(error) = next {
        // An I/O error does not count what it wraps among its sources.
        let wrapped = error.downcast_ref::<std::io::Error>().and_then(|io| io.get_ref());
        let tls = wrapped
            .and_then(|inner| inner.downcast_ref())
            .or_else(|| error.downcast_ref());
        if let Some(rustls::Error::InvalidCertificate(certificate)) = tls {
            return Some(certificate);
        }
        next = wrapped.map(|inner| inner as _).or_else(|| error.source());
    }
    None
}

fn broken(url: String, reason: &str) -> HttpError {
    let reason = reason.to_owned();
    HttpError::Broken { url, reason }
}

/// An error with what lies beneath it, each part once.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}
