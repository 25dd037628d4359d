//! What all requests share: what was given and missed, and what is kept.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use tokio::sync::Semaphore;

use super::digest::Digest;
use super::names::Asked;
use super::server::CONNECTIONS;
use super::store::{Entry, Fetched, Incoming, Store};
use super::upstream::Upstream;
use crate::event::Events;

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

    /// A guest sent a request to this host.
    pub fn asked(&self, host: &str) {
        if let Ok(mut hosts) = self.hosts.lock() {
            hosts.insert(host.to_owned());
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
