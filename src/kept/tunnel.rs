//! HTTPS through the configured proxy: what flows there cannot be read, and so not kept.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use hyper::body::Incoming as Asking;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use reqwest::Url;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::reply::{self, Reply};
use super::server::{may_use_proxy, unauthorised};
use super::shared::Shared;
use super::upstream::credentials;

/// The largest head of a proxy's answer, in bytes.
const HEAD: usize = 16 << 10;

/// How long the proxy may take to open a way.
const PATIENCE: Duration = Duration::from_secs(60);

/// Opens a way through the configured proxy to where the request names. The proxy decides whether it may.
pub async fn open(shared: &Arc<Shared>, request: Request<Asking>) -> Reply {
    let Some(authority) = request.uri().authority().map(ToString::to_string) else {
        return reply::text(StatusCode::BAD_REQUEST, "the request names no host\n");
    };
    let Some(upstream) = &shared.upstream else {
        shared.missed(format!(
            "something of {authority} by HTTPS (such downloads cannot be kept)"
        ));
        return reply::text(StatusCode::GATEWAY_TIMEOUT, "there is no network\n");
    };
    let Some(proxy) = upstream.proxy.clone() else {
        return reply::text(StatusCode::METHOD_NOT_ALLOWED, "this is no proxy for HTTPS\n");
    };
    if !may_use_proxy(shared, &request) {
        return unauthorised();
    }
    let Ok(place) = Arc::clone(&shared.tunnels).try_acquire_owned() else {
        return reply::text(StatusCode::SERVICE_UNAVAILABLE, "there are too many ways open\n");
    };
    let events = shared.events.clone();
    // What the proxy says is the answer: whoever asks learns why there is no way.
    let asked = tokio::time::timeout(PATIENCE, connect(&proxy, &authority)).await;
    let mut there = match asked.unwrap_or_else(|_| bail!("the proxy does not answer")) {
        Ok(Ok(there)) => there,
        Ok(Err(status)) => {
            events.detail(format!("the way to {authority}: the proxy answers {status}"));
            return reply::text(status, format!("the proxy answers {status}\n"));
        }
        Err(error) => {
            events.detail(format!("the way to {authority}: {error:#}"));
            return reply::text(StatusCode::BAD_GATEWAY, format!("{error:#}\n"));
        }
    };
    tokio::spawn(async move {
        let carried = async {
            let here = hyper::upgrade::on(request)
                .await
                .context("taking the connection over")?;
            tokio::io::copy_bidirectional(&mut TokioIo::new(here), &mut there).await?;
            anyhow::Ok(())
        };
        if let Err(error) = carried.await {
            events.detail(format!("the way to {authority}: {error:#}"));
        }
        drop(place);
    });
    reply::empty(StatusCode::OK)
}

/// Asks the proxy for a way (RFC 9110, 9.3.6); gives its answer if it opens none.
async fn connect(proxy: &Url, authority: &str) -> Result<Result<TcpStream, StatusCode>> {
    if proxy.scheme() != "http" {
        bail!("the proxy is not reached by plain HTTP");
    }
    let host = proxy.host_str().context("a proxy has a host")?;
    let port = proxy.port_or_known_default().context("a proxy has a port")?;
    let mut stream = TcpStream::connect((host, port))
        .await
        .context("connecting to the proxy")?;
    let credentials = credentials(proxy).map(|given| format!("Proxy-Authorization: {given}\r\n"));
    let ask = format!(
        "CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n{}\r\n",
        credentials.unwrap_or_default()
    );
    stream.write_all(ask.as_bytes()).await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() == HEAD {
            bail!("the proxy's answer is too long");
        }
        // Byte by byte: what follows the head is not ours.
        head.push(stream.read_u8().await.context("reading the proxy's answer")?);
    }
    let head = String::from_utf8_lossy(&head);
    let status = head.split(' ').nth(1).unwrap_or_default();
    let status = StatusCode::from_bytes(status.as_bytes()).context("reading the proxy's answer")?;
    if status.is_success() {
        return Ok(Ok(stream));
    }
    // What is no answer to this request must not be taken for one.
    let is_refusal = status.is_client_error() || status.is_server_error();
    Ok(Err(if is_refusal { status } else { StatusCode::BAD_GATEWAY }))
}
