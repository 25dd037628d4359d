//! The way out: clients that reach what a guest could reach, and nothing else of this host.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder, Url};

use super::names::{Resolver, may_reach};
use crate::config::{Docker, Network};

/// This host as a guest sees it, in QEMU's and `VirtualBox`'s networks.
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);

/// The name server that a guest sees in these networks: it asks this host's.
const FORWARDER: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 3);

const CONNECT: Duration = Duration::from_secs(30);
const SILENCE: Duration = Duration::from_secs(60);

/// How often a registry may send its client elsewhere for a blob.
const REDIRECTS: usize = 5;

/// Docker Hub (docker.io's registry).
const HUB: &str = "https://registry-1.docker.io";

/// The ways out.
#[derive(Debug, Clone)]
pub struct Upstream {
    /// As guests go without a proxy; follows no redirects, since the guest itself does.
    pub direct: Client,
    /// Through the configured proxy.
    pub proxied: Option<Client>,
    /// To registries; follows redirects.
    pub registry: Client,
    /// The proxy's address as this host reaches it.
    pub proxy: Option<Url>,
    /// Registries in the order in which they are asked, without a slash at the end.
    pub registries: Vec<String>,
    /// What of this host's own services may be reached: the configured Debian mirror.
    own: Option<(String, Url)>,
    /// Other ports than 80 that guests fetch through.
    pub ports: Vec<u16>,
}

impl Upstream {
    /// The ways out that follow from the configuration.
    ///
    /// # Errors
    /// When an address cannot be read, or HTTPS cannot be set up.
    pub fn new(docker: &Docker, network: &Network) -> Result<Self> {
        // Fails only when there is one already, which serves as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let resolver = resolver(network);
        let proxy = network
            .http_proxy
            .as_ref()
            .map(|proxy| here(proxy.expose()).context("reading the proxy's address"))
            .transpose()?;
        let own = own_mirror(network)?;
        let mirror = docker
            .registry_mirror
            .as_deref()
            .map(|mirror| here(mirror).context("reading the registry mirror's address"))
            .transpose()?;
        // One that is reached by TLS knows who it speaks to.
        let plain = proxy.iter().filter(|proxy| proxy.scheme() == "http");
        let mut ports: Vec<u16> = plain.filter_map(Url::port_or_known_default).collect();
        ports.extend(network.debian_mirror.as_deref().and_then(port_of));
        let direct = client(&resolver).redirect(Policy::none());
        let proxied = proxy.clone().map(|proxy| -> Result<_> {
            let through = reqwest::Proxy::all(proxy).context("using the proxy")?;
            build(client(&resolver).redirect(Policy::none()).proxy(through))
        });
        // The mirror is the user's own word, and the guest would reach it without the proxy.
        let home = mirror.clone();
        let mut registry = client(&resolver).redirect(Policy::custom(move |attempt| {
            if attempt.previous().len() > REDIRECTS {
                return attempt.error("too many redirects");
            }
            if is_same_place(attempt.url(), home.as_ref()) || literal_may_reach(attempt.url()) {
                attempt.follow()
            } else {
                attempt.stop()
            }
        }));
        if let Some(proxy) = &proxy {
            let (proxy, home) = (proxy.clone(), mirror.clone());
            registry = registry.proxy(reqwest::Proxy::custom(move |url| {
                (!is_same_place(url, home.as_ref())).then(|| proxy.clone())
            }));
        }
        let registries = mirror.iter().map(bare).chain([HUB.to_owned()]).collect();
        Ok(Self {
            direct: build(direct)?,
            proxied: proxied.transpose()?,
            registry: build(registry)?,
            proxy,
            registries,
            own,
            ports,
        })
    }

    /// The address that is really asked for what a guest wants from `url`: the configured mirror may be on this host.
    ///
    /// # Errors
    /// When the address is one that guests may not reach through the keeper.
    pub fn address(&self, url: &Url) -> Result<Url> {
        if let Some((authority, own)) = &self.own
            && authority_of(url) == *authority
        {
            let mut there = url.clone();
            there.set_host(own.host_str()).context("a mirror has a host")?;
            return Ok(there);
        }
        if !literal_may_reach(url) {
            bail!("{} is none that guests may reach through this host", authority_of(url));
        }
        Ok(url.clone())
    }
}

/// Who gives tokens for `registry`, looked at as any other address unless it is the registry itself.
///
/// # Errors
/// When it is an address that guests may not reach through the keeper.
pub fn token_giver(realm: Url, registry: &str) -> Result<Url> {
    let registry = Url::parse(registry).context("reading the registry's address")?;
    if is_same_place(&realm, Some(&registry)) || literal_may_reach(&realm) {
        return Ok(realm);
    }
    bail!("{} gives no tokens", authority_of(&realm))
}

fn client(resolver: &Resolver) -> ClientBuilder {
    Client::builder()
        .no_proxy()
        .user_agent(concat!("provision/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT)
        .read_timeout(SILENCE)
        .dns_resolver(Arc::new(resolver.clone()))
}

fn build(builder: ClientBuilder) -> Result<Client> {
    builder.build().context("setting up the client for what guests fetch")
}

fn resolver(network: &Network) -> Resolver {
    let is_ours = |ip: &&IpAddr| **ip == IpAddr::V4(FORWARDER);
    if network.dns.iter().any(|ip| is_ours(&ip)) {
        return Resolver::default();
    }
    let place = |ip: IpAddr| {
        if ip == IpAddr::V4(GATEWAY) {
            Ipv4Addr::LOCALHOST.into()
        } else {
            ip
        }
    };
    Resolver {
        servers: network.dns.iter().map(|ip| SocketAddr::new(place(*ip), 53)).collect(),
    }
}

/// The configured Debian mirror where it is on this host: its host and port as guests write it, and as it is here.
fn own_mirror(network: &Network) -> Result<Option<(String, Url)>> {
    let Some(mirror) = &network.debian_mirror else {
        return Ok(None);
    };
    let there = Url::parse(mirror).context("reading the mirror's address")?;
    let here = here(mirror)?;
    Ok((there.host() != here.host()).then(|| (authority_of(&there), here)))
}

/// `address` as this host reaches what a guest reaches there.
fn here(address: &str) -> Result<Url> {
    let mut url = Url::parse(address)?;
    if url.host_str() == Some(&GATEWAY.to_string()) {
        url.set_host(Some("127.0.0.1"))?;
    }
    Ok(url)
}

/// The port of a plain-HTTP address.
fn port_of(address: &str) -> Option<u16> {
    let url = Url::parse(address).ok()?;
    let is_on_host = url.host_str() == Some(&GATEWAY.to_string());
    let port = url.port_or_known_default()?;
    // 80 is led anyway, but on the way to this host.
    (url.scheme() == "http" && (port != 80 || is_on_host)).then_some(port)
}

/// Host and port, the port even where it is the scheme's own.
pub fn authority_of(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    format!("{host}:{}", url.port_or_known_default().unwrap_or_default())
}

fn bare(url: &Url) -> String {
    url.as_str().trim_end_matches('/').to_owned()
}

fn is_same_place(url: &Url, other: Option<&Url>) -> bool {
    other.is_some_and(|other| other.scheme() == url.scheme() && authority_of(other) == authority_of(url))
}

/// Whether a host that is written as an address may be reached; names are looked at when they are resolved.
fn literal_may_reach(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let literal = host.trim_start_matches('[').trim_end_matches(']');
    match literal.parse::<IpAddr>() {
        Ok(ip) => may_reach(ip) && ip != IpAddr::V4(GATEWAY),
        Err(_) => !host.is_empty() && matches!(url.scheme(), "http" | "https"),
    }
}

/// Basic credentials of an address, as `Proxy-Authorization` wants them (RFC 7617).
pub fn credentials(url: &Url) -> Option<String> {
    let password = url.password();
    if url.username().is_empty() && password.is_none() {
        return None;
    }
    let plain = |text: &str| percent_decoded(text);
    let pair = [plain(url.username()), vec![b':'], plain(password.unwrap_or_default())].concat();
    Some(format!("Basic {}", openssl::base64::encode_block(&pair)))
}

fn percent_decoded(text: &str) -> Vec<u8> {
    let (bytes, mut decoded, mut at) = (text.as_bytes(), Vec::new(), 0);
    while let Some(byte) = bytes.get(at) {
        let code = bytes.get(at + 1..at + 3).and_then(|digits| hex::decode(digits).ok());
        match code {
            Some(code) if *byte == b'%' => {
                decoded.extend(code);
                at += 3;
            }
            _ => {
                decoded.push(*byte);
                at += 1;
            }
        }
    }
    decoded
}
