//! The keeper: the server in a thread of its own, for as long as it is held.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use tokio::sync::oneshot;

use super::names;
use super::prune::Bound;
use super::server;
use super::shared::Shared;
use super::store::{Fetched, Store};
use super::upstream::Upstream;
use crate::config::{Docker, Network};
use crate::event::{Events, Stage};

/// How much is kept, and how long after its last use.
const BOUND: Bound = Bound {
    age: Some(Duration::from_secs(180 * 24 * 3600)),
    bytes: Some(16 << 30),
    every: false,
};

/// How a guest is led to the keeper, as its firewall needs to know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The keeper's port on the host.
    pub port: u16,
    /// Other ports than 80 whose requests are led to it: those of the configured proxy and mirror.
    pub ports: Vec<u16>,
    /// Where names are answered, in a guest that has no network.
    pub names: Option<u16>,
}

/// What a stage was given earlier.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Past {
    /// Addresses and what they gave then: other projects may have fetched newer content of the same addresses since.
    pub fetched: Fetched,
    /// When the lists of packages among it are valid, if not now.
    pub clock: Option<Timestamp>,
}

/// A running keeper; it ends when it is dropped.
pub struct Keeper {
    shared: Arc<Shared>,
    route: Route,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    pasts: Mutex<BTreeMap<Stage, Past>>,
}

impl std::fmt::Debug for Keeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Keeper on port {}", self.route.port)
    }
}

impl Keeper {
    /// A keeper that goes out as the configuration says, and keeps what comes.
    ///
    /// # Errors
    /// When the configuration's addresses cannot be read, or no port is to be had.
    pub fn online(store: Store, docker: &Docker, network: &Network, events: &Events) -> Result<Self> {
        // What is left over is no reason not to go on.
        if let Err(error) = store.prune(BOUND) {
            events.detail(format!("clearing what is kept: {error:#}"));
        }
        Self::start(store, docker, network, true, events)
    }

    /// A keeper that gives only what is kept.
    ///
    /// # Errors
    /// When the configuration's addresses cannot be read, or no port is to be had.
    pub fn offline(store: Store, docker: &Docker, network: &Network, events: &Events) -> Result<Self> {
        Self::start(store, docker, network, false, events)
    }

    fn start(store: Store, docker: &Docker, network: &Network, online: bool, events: &Events) -> Result<Self> {
        let upstream = Upstream::new(docker, network)?;
        let ports = upstream.ports.clone();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("listening for guests")?;
        listener.set_nonblocking(true).context("listening for guests")?;
        let port = listener.local_addr().context("listening for guests")?.port();
        let names = if online { None } else { Some(socket()?) };
        let route = Route {
            port,
            ports,
            names: names.as_ref().map(|(_, port)| *port),
        };
        let shared = Arc::new(Shared::new(store, online.then_some(upstream), port, events.clone()));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("starting what serves guests")?;
        let (stop, stopped) = oneshot::channel();
        let served = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            runtime.block_on(async move {
                if let Ok(listener) = tokio::net::TcpListener::from_std(listener) {
                    tokio::spawn(server::serve(listener, Arc::clone(&served)));
                }
                if let Some(socket) = names.and_then(|(socket, _)| tokio::net::UdpSocket::from_std(socket).ok()) {
                    tokio::spawn(names::answer(socket, Arc::clone(&served.names)));
                }
                // An error says the same: the keeper is no longer held.
                let _ = stopped.await;
            });
            // A file that is being hashed is not waited for.
            runtime.shutdown_background();
        });
        Ok(Self {
            shared,
            route,
            stop: Some(stop),
            thread: Some(thread),
            pasts: Mutex::default(),
        })
    }

    /// How guests are led here.
    pub const fn route(&self) -> &Route {
        &self.route
    }

    /// The configured proxy, with its password.
    pub fn proxy(&self) -> Option<&reqwest::Url> {
        self.shared.upstream.as_ref()?.proxy.as_ref()
    }

    /// Whether it gives only what is kept.
    pub fn is_offline(&self) -> bool {
        self.shared.upstream.is_none()
    }

    /// What guests were given since the last call.
    pub fn take_fetched(&self) -> Fetched {
        self.shared.take_fetched()
    }

    /// What guests were given and what was not kept since the last call.
    pub fn take_unkept(&self) -> BTreeSet<String> {
        self.shared.take_unkept()
    }

    /// What guests wanted and did not get since the last call.
    pub fn take_missed(&self) -> Vec<String> {
        self.shared.take_missed()
    }

    /// What stages were given earlier, which they are given again without a network.
    pub fn set_pasts(&self, pasts: BTreeMap<Stage, Past>) {
        if let Ok(mut before) = self.pasts.lock() {
            *before = pasts;
        }
    }

    /// Begins to serve `stage`; gives the time at which its guest works, in seconds since 1970, if it is not now.
    pub fn enter(&self, stage: Stage) -> Option<i64> {
        // What other machines fetched before is not this stage's.
        drop((self.take_fetched(), self.take_unkept(), self.take_missed()));
        let past = self.pasts.lock().ok().and_then(|pasts| pasts.get(&stage).cloned());
        let past = past.unwrap_or_default();
        self.shared.set_view(past.fetched);
        past.clock.map(Timestamp::as_second)
    }

    /// Where it keeps things.
    pub fn store(&self) -> &Store {
        &self.shared.store
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn socket() -> Result<(UdpSocket, u16)> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).context("listening for guests' questions")?;
    socket
        .set_nonblocking(true)
        .context("listening for guests' questions")?;
    let port = socket.local_addr().context("listening for guests' questions")?.port();
    Ok((socket, port))
}
