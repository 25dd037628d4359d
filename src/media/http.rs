//! HTTP for what is downloaded: every answer can be interrupted, nothing waits for ever, and an error says whether
//! it may pass. The proxies of the environment (`HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`, `NO_PROXY`, in upper or
//! lower case) are used, as is the host's store of certificate authorities.

mod error;
mod head;

use std::io::Read as _;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use anyhow::{Context as _, Result};
use reqwest::Url;
use reqwest::blocking::{Client, Response};
use reqwest::header::{self, HeaderMap, HeaderName, HeaderValue};

pub use self::error::HttpError;
use self::error::{broken, chain, no_client, unreachable};
pub use self::head::Part;
use self::head::{Head, head_of};
use crate::cancel::Cancel;
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

impl Http {
    /// A client that gives up when `cancel` is raised.
    ///
    /// # Errors
    /// A [`crate::fault::Cause::Network`] fault when the host has no store of certificate authorities.
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
