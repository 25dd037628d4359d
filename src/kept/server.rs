//! The server: one request at a time to the right hand.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming as Asking;
use hyper::header::{HOST, PROXY_AUTHORIZATION};
use hyper::service::service_fn;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use reqwest::Url;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::names::{MIRROR_PORT, NOWHERE};
use super::reply::{self, Reply};
use super::shared::Shared;
use super::upstream::{GATEWAY, authority_of, credentials};
use super::{archive, registry, tunnel};

/// How many connections are served at the same time; more wait.
pub const CONNECTIONS: usize = 128;

/// How long the head of a request may take.
const HEAD: Duration = Duration::from_secs(30);

/// What the keeper answers to a guest that asks whether it is led here.
pub const GREETING: &str = "led";

/// Serves what connects to `listener`, until the task is dropped.
pub async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        let Ok((stream, _)) = listener.accept().await else {
            // As when this process has too many files open.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let service = service_fn(|request| {
                let shared = Arc::clone(&shared);
                async move { Ok::<_, Infallible>(handle(&shared, request).await) }
            });
            let mut server = hyper::server::conn::http1::Builder::new();
            server.timer(TokioTimer::new()).header_read_timeout(HEAD);
            // A client that hangs up is no trouble.
            let _ = server
                .serve_connection(TokioIo::new(stream), service)
                .with_upgrades()
                .await;
            drop(place);
        });
    }
}

async fn handle(shared: &Arc<Shared>, request: Request<Asking>) -> Reply {
    let authority = match request.uri().authority() {
        Some(authority) => Some(authority.as_str().to_owned()),
        None => request
            .headers()
            .get(HOST)
            .and_then(|host| Some(host.to_str().ok()?.to_owned())),
    };
    // Two hosts in one request are how caches are poisoned.
    let hosts = request.headers().get_all(HOST).iter().count();
    let (Some(authority), true) = (authority, hosts <= 1) else {
        return reply::text(StatusCode::BAD_REQUEST, "the request names no host, or two\n");
    };
    if request.method() == Method::CONNECT {
        return tunnel::open(shared, request).await;
    }
    if request.uri().scheme_str().is_some_and(|scheme| scheme != "http") || authority.contains('@') {
        return reply::text(StatusCode::BAD_REQUEST, "only http addresses are fetched\n");
    }
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let Ok(url) = Url::parse(&format!("http://{authority}{path}")) else {
        return reply::text(StatusCode::BAD_REQUEST, "the address cannot be read\n");
    };
    let there = authority_of(&url);
    if there == format!("{NOWHERE}:80") {
        return reply::text(StatusCode::OK, GREETING);
    }
    let own = [
        format!("{GATEWAY}:{MIRROR_PORT}"),
        format!("{GATEWAY}:{}", shared.port),
        format!("127.0.0.1:{}", shared.port),
    ];
    if own.contains(&there) {
        return registry::answer(shared, request).await;
    }
    shared.asked(url.host_str().unwrap_or_default());
    let by_proxy = request.uri().authority().is_some();
    if by_proxy && !may_use_proxy(shared, &request) {
        return unauthorised();
    }
    archive::answer(shared, &url, by_proxy, request).await
}

/// Whether a request has the credentials that the configured proxy would demand: the keeper's own use of them is no way
/// around the password.
pub fn may_use_proxy<T>(shared: &Shared, request: &Request<T>) -> bool {
    let proxy = shared.upstream.as_ref().and_then(|upstream| upstream.proxy.as_ref());
    let Some(wanted) = proxy.and_then(credentials) else {
        return true;
    };
    let given = request.headers().get(PROXY_AUTHORIZATION);
    given.is_some_and(|given| given.as_bytes() == wanted.as_bytes())
}

/// The answer to who lacks them.
pub fn unauthorised() -> Reply {
    let mut reply = reply::text(
        StatusCode::PROXY_AUTHENTICATION_REQUIRED,
        "the proxy wants a password\n",
    );
    let scheme = hyper::header::HeaderValue::from_static("Basic realm=\"proxy\"");
    reply.headers_mut().insert(hyper::header::PROXY_AUTHENTICATE, scheme);
    reply
}
