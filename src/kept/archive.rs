//! Plain-HTTP addresses: Debian's archive and whatever else guests fetch. What comes is kept and asked for again
//! each time (RFC 9111); what cannot be had is taken from what is kept.

use std::sync::Arc;

use hyper::body::Incoming as Asking;
use hyper::header::{
    ACCEPT, AUTHORIZATION, CONNECTION, CONTENT_LENGTH, COOKIE, HOST, HeaderMap, HeaderName, IF_MODIFIED_SINCE,
    IF_NONE_MATCH, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE, USER_AGENT,
};
use hyper::{Method, Request, Response, StatusCode};
use reqwest::Url;

use super::fit::{by_hash, digest_in, is_package, lost, may_keep};
use super::reply::{self, Keep, Reply};
use super::shared::Shared;
use super::store::Entry;

/// Fields that concern one connection only (RFC 9110, 7.6.1).
const HOP: [HeaderName; 8] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Answers a request for `url`, by the configured proxy if the guest meant that.
pub async fn answer(shared: &Arc<Shared>, url: &Url, by_proxy: bool, request: Request<Asking>) -> Reply {
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    let is_own = [AUTHORIZATION, COOKIE]
        .iter()
        .any(|name| request.headers().contains_key(name));
    let asked = Asked {
        url,
        head_only: request.method() == Method::HEAD,
        headers: request.headers().clone(),
    };
    let Some(upstream) = &shared.upstream else {
        if !is_read || is_own {
            shared.missed(url.as_str());
            return gone(url);
        }
        return offline(shared, &asked).await;
    };
    let there = match upstream.address(url) {
        Ok(there) => there,
        Err(error) => return reply::text(StatusCode::FORBIDDEN, format!("{error:#}\n")),
    };
    let client = match (&upstream.proxied, by_proxy) {
        (Some(proxied), true) => proxied,
        _ => &upstream.direct,
    };
    if is_read && !is_own {
        online(shared, &asked, client, there).await
    } else {
        let is_get = request.method() == Method::GET;
        passed(shared, upstream_request(client, there, request), url, is_get).await
    }
}

/// What a guest wants.
struct Asked<'a> {
    url: &'a Url,
    head_only: bool,
    headers: HeaderMap,
}

impl Asked<'_> {
    /// Kept content, or the news that the guest has it already.
    fn kept(&self, entry: &Entry, file: std::fs::File) -> Reply {
        let has = |name: HeaderName, value: Option<&String>| {
            let given = self.headers.get(name).and_then(|given| given.to_str().ok());
            value.is_some() && given == value.map(String::as_str)
        };
        if has(IF_NONE_MATCH, entry.etag.as_ref()) || has(IF_MODIFIED_SINCE, entry.modified.as_ref()) {
            let mut reply = reply::empty(StatusCode::NOT_MODIFIED);
            *reply.headers_mut() = reply::head_of(entry);
            reply.headers_mut().remove(CONTENT_LENGTH);
            return reply;
        }
        reply::kept(entry, file, self.head_only)
    }
}

fn gone(url: &Url) -> Reply {
    let text = format!("{url} is not kept on this host, and there is no network\n");
    // Not 404: it may well exist.
    reply::text(StatusCode::GATEWAY_TIMEOUT, text)
}

async fn offline(shared: &Arc<Shared>, asked: &Asked<'_>) -> Reply {
    if let Some((entry, file)) = shared.kept(asked.url.as_str()).await {
        shared.fetched(&entry);
        return asked.kept(&entry, file);
    }
    if let Some((entry, file)) = by_hash(shared, asked.url).await {
        shared.fetched(&entry);
        return asked.kept(&entry, file);
    }
    shared.missed(asked.url.as_str());
    gone(asked.url)
}

async fn online(shared: &Arc<Shared>, asked: &Asked<'_>, client: &reqwest::Client, there: Url) -> Reply {
    if let Some((entry, file)) = by_hash(shared, asked.url).await {
        shared.fetched(&entry);
        return asked.kept(&entry, file);
    }
    let kept = shared.kept(asked.url.as_str()).await;
    let mut request = client.get(there);
    for name in [ACCEPT, USER_AGENT] {
        if let Some(value) = asked.headers.get(&name) {
            request = request.header(name, value);
        }
    }
    let validators = kept
        .as_ref()
        .map_or([(IF_NONE_MATCH, None), (IF_MODIFIED_SINCE, None)], |(entry, _)| {
            [
                (IF_NONE_MATCH, entry.etag.clone()),
                (IF_MODIFIED_SINCE, entry.modified.clone()),
            ]
        });
    if is_package(asked.url)
        && validators.iter().all(|(_, value)| value.is_none())
        && let Some((entry, file)) = kept
    {
        shared.fetched(&entry);
        return asked.kept(&entry, file);
    }
    for (name, value) in validators {
        if let Some(value) = value {
            request = request.header(name, value);
        }
    }
    match (request.send().await, kept) {
        (Ok(response), Some((entry, file))) if response.status() == StatusCode::NOT_MODIFIED => {
            shared.fetched(&entry);
            asked.kept(&entry, file)
        }
        (Ok(response), Some((entry, file))) if response.status().is_server_error() => {
            stale(shared, asked, &entry, file, &response.status().to_string())
        }
        (Ok(response), _) => fresh(shared, asked, response),
        (Err(error), Some((entry, file))) => stale(shared, asked, &entry, file, &error.without_url().to_string()),
        (Err(error), None) => {
            let error = anyhow::Error::new(error.without_url());
            shared
                .events
                .detail(format!("{} is not to be had: {error:#}", asked.url));
            reply::text(StatusCode::BAD_GATEWAY, format!("{error:#}\n"))
        }
    }
}

/// What is kept, since nothing newer is to be had.
fn stale(shared: &Shared, asked: &Asked<'_>, entry: &Entry, file: std::fs::File, why: &str) -> Reply {
    shared
        .events
        .detail(format!("{} is taken from what is kept: {why}", asked.url));
    shared.fetched(entry);
    asked.kept(entry, file)
}

/// What the server gave.
fn fresh(shared: &Arc<Shared>, asked: &Asked<'_>, response: reqwest::Response) -> Reply {
    let may = response.status() == StatusCode::OK && may_keep(response.headers());
    let keep = (may && !asked.head_only).then(|| Keep {
        key: asked.url.as_str().to_owned(),
        expected: digest_in(asked.url),
    });
    if keep.is_none() && !asked.head_only {
        lost(shared, response.status(), asked.url);
    }
    relayed(shared, response, keep, asked.head_only)
}

fn relayed(shared: &Arc<Shared>, response: reqwest::Response, keep: Option<Keep>, head_only: bool) -> Reply {
    let (status, mut headers) = (response.status(), response.headers().clone());
    for name in &HOP {
        headers.remove(name);
    }
    let mut reply = if head_only {
        reply::empty(status)
    } else {
        Response::new(reply::relayed(shared, response, keep))
    };
    *reply.status_mut() = status;
    *reply.headers_mut() = headers;
    reply
}

/// A request that changes something or is one user's own, as it came.
fn upstream_request(client: &reqwest::Client, there: Url, request: Request<Asking>) -> reqwest::RequestBuilder {
    let (head, body) = request.into_parts();
    let mut headers = head.headers;
    for name in HOP.iter().chain([&HOST, &CONTENT_LENGTH]) {
        headers.remove(name);
    }
    client
        .request(head.method, there)
        .headers(headers)
        .body(reqwest::Body::wrap(body))
}

async fn passed(shared: &Arc<Shared>, request: reqwest::RequestBuilder, url: &Url, is_get: bool) -> Reply {
    match request.send().await {
        Ok(response) => {
            if is_get {
                lost(shared, response.status(), url);
            }
            relayed(shared, response, None, false)
        }
        Err(error) => {
            let error = anyhow::Error::new(error.without_url());
            shared.events.detail(format!("{url} is not to be had: {error:#}"));
            reply::text(StatusCode::BAD_GATEWAY, format!("{error:#}\n"))
        }
    }
}
