//! The server: one request at a time to the right hand.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use hyper::body::Incoming as Asking;
use hyper::header::{HOST, PROXY_AUTHORIZATION};
use hyper::service::service_fn;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use reqwest::Url;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::digest::Digest;
use super::names::{Asked, NOWHERE};
use super::reply::{self, Reply};
use super::store::{Entry, Fetched, Incoming, Store};
use super::upstream::{GATEWAY, Upstream, authority_of, credentials};
use super::{archive, registry, tunnel};
use crate::event::Events;

/// How many connections are served at the same time; more wait.
const CONNECTIONS: usize = 128;

/// How long the head of a request may take.
const HEAD: Duration = Duration::from_secs(30);

/// What the keeper answers to a guest that asks whether it is led here.
pub const GREETING: &str = "led";

/// What all requests share.
pub struct Shared {
    /// Where things are kept.
    pub store: Store,
    /// The ways out; none without a network.
    pub upstream: Option<Upstream>,
    /// The port on 127.0.0.1.
    pub port: u16,
    /// Where events go.
    pub events: Events,
    /// Tokens of registries, by what they allow.
    pub tokens: Mutex<std::collections::BTreeMap<String, String>>,
    /// Names that a guest without a network asked for.
    pub names: Asked,
    /// Room for ways through the proxy, which outlive the connections of requests.
    pub tunnels: Arc<Semaphore>,
    view: Mutex<Fetched>,
    fetched: Mutex<Fetched>,
    unkept: Mutex<BTreeSet<String>>,
    missed: Mutex<BTreeSet<String>>,
    hosts: Mutex<BTreeSet<String>>,
    full: AtomicBool,
}

impl Shared {
    /// What a keeper begins with.
    pub fn new(store: Store, upstream: Option<Upstream>, port: u16, events: Events) -> Self {
        Self {
            store,
            upstream,
            port,
            events,
            tokens: Mutex::default(),
            names: Asked::default(),
            tunnels: Arc::new(Semaphore::new(CONNECTIONS)),
            view: Mutex::default(),
            fetched: Mutex::default(),
            unkept: Mutex::default(),
            missed: Mutex::default(),
            hosts: Mutex::default(),
            full: AtomicBool::new(false),
        }
    }

    /// A guest was given this.
    pub fn fetched(&self, entry: &Entry) {
        self.events.detail(format!("kept: {} ({})", entry.key, entry.digest));
        if let Ok(mut fetched) = self.fetched.lock() {
            fetched.insert(entry.key.clone(), entry.digest.clone());
        }
    }

    /// A guest was given this, and it is not kept.
    pub fn unkept(&self, key: &str) {
        self.events.detail(format!("given but not kept: {key}"));
        if let Ok(mut unkept) = self.unkept.lock() {
            unkept.insert(key.to_owned());
        }
    }

    /// A guest wanted this, and it is neither kept nor to be had.
    pub fn missed(&self, what: impl Into<String>) {
        let what = what.into();
        self.events.detail(format!("not kept: {what}"));
        if let Ok(mut missed) = self.missed.lock() {
            missed.insert(what);
        }
    }

    /// What was given since the last call.
    pub fn take_fetched(&self) -> Fetched {
        self.fetched
            .lock()
            .map(|mut fetched| std::mem::take(&mut *fetched))
            .unwrap_or_default()
    }

    /// What was given and not kept since the last call.
    pub fn take_unkept(&self) -> BTreeSet<String> {
        self.unkept
            .lock()
            .map(|mut unkept| std::mem::take(&mut *unkept))
            .unwrap_or_default()
    }

    /// What was missed since the last call; names that were asked for without a request that followed belong to
    /// fetches that are not plain HTTP.
    pub fn take_missed(&self) -> Vec<String> {
        let take =
            |set: &Mutex<BTreeSet<String>>| set.lock().map(|mut set| std::mem::take(&mut *set)).unwrap_or_default();
        let (missed, names, hosts) = (take(&self.missed), take(&self.names), take(&self.hosts));
        // The guest's own clock and site ask, and Docker turns to its hub once an image is not kept.
        let is_own = |name: &String| {
            [".ntp.org", ".42.fr", "docker.io"]
                .iter()
                .any(|end| name.ends_with(end))
        };
        let others = names.into_iter().filter(|name| !hosts.contains(name) && !is_own(name));
        let others = others.map(|name| {
            format!("something of {name} that is not fetched by plain HTTP (such downloads cannot be kept)")
        });
        missed.into_iter().chain(others).collect()
    }

    /// Begins to keep something; a full disk keeps nothing and stops nobody.
    pub fn incoming(&self, key: &str) -> Option<Incoming> {
        match self.store.incoming() {
            Ok(incoming) => Some(incoming),
            Err(error) => {
                self.cannot_keep(key, Some(error));
                None
            }
        }
    }

    /// What `key` gave was not kept: said once.
    pub fn cannot_keep(&self, key: &str, why: Option<anyhow::Error>) {
        self.unkept(key);
        if let Some(error) = why
            && !self.full.swap(true, Ordering::SeqCst)
        {
            self.events.warn(format!(
                "what guests fetch is not kept for later ({error:#}); `--offline` will miss it"
            ));
        }
    }

    /// Without a network addresses give again what they gave then.
    pub fn set_view(&self, fetched: Fetched) {
        if let Ok(mut view) = self.view.lock() {
            *view = fetched;
        }
    }

    fn entry(&self, key: &str) -> Option<Entry> {
        let entry = self.store.entry(key);
        let then = self.view.lock().ok()?.get(key).cloned();
        let Some(digest) = then.filter(|_| self.upstream.is_none()) else {
            return entry;
        };
        entry
            .filter(|entry| entry.digest == digest)
            .or_else(|| {
                // Manifests are kept by their digest, too, with their kind.
                let (name, _) = key.strip_prefix("docker.io/").and_then(|name| name.rsplit_once(':'))?;
                self.store.entry(&format!("docker.io/{name}@{digest}"))
            })
            .or_else(|| {
                Some(Entry {
                    key: key.to_owned(),
                    size: self.store.size_of(&digest)?,
                    digest,
                    media_type: None,
                    etag: None,
                    modified: None,
                    at: now(),
                })
            })
    }

    /// The kept content of `key`, opened, if it is there and sound.
    pub async fn kept(self: &Arc<Self>, key: &str) -> Option<(Entry, std::fs::File)> {
        let (shared, key) = (Arc::clone(self), key.to_owned());
        let look = move || {
            let entry = shared.entry(&key)?;
            let (file, _) = shared.store.blob(&entry.digest).ok()??;
            Some((entry, file))
        };
        tokio::task::spawn_blocking(look).await.ok()?
    }

    /// The kept content of that digest, opened, if it is there and sound.
    pub async fn content(self: &Arc<Self>, digest: &Digest) -> Option<(std::fs::File, u64)> {
        let (shared, digest) = (Arc::clone(self), digest.clone());
        tokio::task::spawn_blocking(move || shared.store.blob(&digest).ok()?)
            .await
            .ok()?
    }
}

/// Seconds since 1970.
pub fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap_or_default().as_secs()
}

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
    if there == format!("{GATEWAY}:{}", shared.port) || there == format!("127.0.0.1:{}", shared.port) {
        return registry::answer(shared, request).await;
    }
    if let Ok(mut hosts) = shared.hosts.lock() {
        hosts.insert(url.host_str().unwrap_or_default().to_owned());
    }
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
