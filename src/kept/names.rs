//! Names: which addresses the keeper may connect to, and what a guest without a network is told.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use simple_dns::rdata::{A, RData};
use simple_dns::{CLASS, Packet, PacketFlag, QTYPE, Question, RCODE, ResourceRecord, TYPE};
use tokio::net::UdpSocket;

/// What every name leads to in a guest without a network: an address of the documentation (RFC 5737) that the guest's
/// firewall leads to the keeper, and by which it tests that.
pub const NOWHERE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 80);

/// The port of the gateway at which a guest's engine finds its mirror, whichever the keeper's own is: `BuildKit` goes on asking
/// there for some minutes, when no keeper leads the guest any more or another does (util/resolver/pool.go). It is tcpmux's
/// (RFC 1078), which nobody offers, so that the answer is a refusal then.
pub const MIRROR_PORT: u16 = 1;

/// How long a name server may take for an answer, and how often it is asked.
const PATIENCE: Duration = Duration::from_secs(5);
const TRIES: usize = 3;

/// Whether a guest could reach the address by itself, and it is no service of this host's own: loopback, link-local
/// (where clouds keep credentials), or an address of many.
pub fn may_reach(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(ip) => {
            !(ip.is_loopback()
                || ip.is_unspecified()
                || ip.is_link_local()
                || ip.is_multicast()
                || ip.is_broadcast()
                || ip.octets()[0] == 0)
        }
        IpAddr::V6(ip) => !(ip.is_loopback() || ip.is_unspecified() || ip.is_multicast() || ip.is_unicast_link_local()),
    }
}

/// Resolves names by the configured servers, else as this host does, and gives only what may be reached.
#[derive(Debug, Clone, Default)]
pub struct Resolver {
    /// The name servers; this host's own way if there are none.
    pub servers: Vec<SocketAddr>,
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (name, servers) = (name.as_str().to_owned(), self.servers.clone());
        Box::pin(async move {
            let found = lookup(&name, &servers).await?;
            let fit: Vec<_> = found.into_iter().filter(|ip| may_reach(*ip)).collect();
            if fit.is_empty() {
                return Err(format!("{name} leads to no address that a guest may reach").into());
            }
            let addresses: Addrs = Box::new(fit.into_iter().map(|ip| SocketAddr::new(ip, 0)));
            Ok(addresses)
        })
    }
}

async fn lookup(name: &str, servers: &[SocketAddr]) -> Result<Vec<IpAddr>> {
    if servers.is_empty() {
        let found = tokio::net::lookup_host((name, 0))
            .await
            .with_context(|| format!("resolving {name}"))?;
        return Ok(found.map(|address| address.ip()).collect());
    }
    let mut last = None;
    for server in servers.iter().cycle().take(servers.len() * TRIES) {
        match tokio::time::timeout(PATIENCE, ask(name, *server)).await {
            Ok(Ok(found)) => return Ok(found),
            Ok(Err(error)) => last = Some(error),
            Err(_) => last = Some(anyhow::anyhow!("no answer from {server}")),
        }
    }
    Err(last.unwrap_or_else(|| anyhow::anyhow!("no name server"))).with_context(|| format!("resolving {name}"))
}

/// Asks one server for the IPv4 addresses of `name` (RFC 1035).
async fn ask(name: &str, server: SocketAddr) -> Result<Vec<IpAddr>> {
    let here: SocketAddr = if server.is_ipv4() {
        (Ipv4Addr::UNSPECIFIED, 0).into()
    } else {
        (std::net::Ipv6Addr::UNSPECIFIED, 0).into()
    };
    let socket = UdpSocket::bind(here).await?;
    // Only this server's answers come in then.
    socket.connect(server).await?;
    let id: u16 = rand::random();
    let mut query = Packet::new_query(id);
    query.set_flags(PacketFlag::RECURSION_DESIRED);
    let asked = simple_dns::Name::new(name).context("the name is none")?;
    query
        .questions
        .push(Question::new(asked, TYPE::A.into(), CLASS::IN.into(), false));
    socket.send(&query.build_bytes_vec()?).await?;
    let mut buffer = vec![0; 4096];
    loop {
        let count = socket.recv(&mut buffer).await?;
        let Ok(reply) = Packet::parse(&buffer[..count]) else {
            continue;
        };
        if reply.id() == id && reply.has_flags(PacketFlag::RESPONSE) {
            // One that cannot tell is no answer: the next may know.
            if !matches!(reply.rcode(), RCODE::NoError | RCODE::NameError) {
                bail!("{server} answers {:?}", reply.rcode());
            }
            let addresses = reply.answers.iter().filter_map(|record| match &record.rdata {
                RData::A(A { address }) => Some(IpAddr::V4((*address).into())),
                _ => None,
            });
            return Ok(addresses.collect());
        }
    }
}

/// The names that were asked for.
pub type Asked = Arc<Mutex<BTreeSet<String>>>;

/// Answers every question of a guest without a network by [`NOWHERE`].
pub async fn answer(socket: UdpSocket, asked: Asked) {
    let mut buffer = vec![0; 1500];
    loop {
        // A datagram that cannot be received or answered is one that got lost.
        let Ok((count, from)) = socket.recv_from(&mut buffer).await else {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        if let Some(reply) = reply_to(&buffer[..count], &asked) {
            let _ = socket.send_to(&reply, from).await;
        }
    }
}

fn reply_to(query: &[u8], asked: &Asked) -> Option<Vec<u8>> {
    let query = Packet::parse(query).ok()?;
    if query.has_flags(PacketFlag::RESPONSE) {
        return None;
    }
    let mut reply = Packet::new_reply(query.id());
    reply.set_flags(PacketFlag::RECURSION_DESIRED | PacketFlag::RECURSION_AVAILABLE);
    for question in query.questions {
        if question.qtype == QTYPE::TYPE(TYPE::A) {
            asked.lock().ok()?.insert(question.qname.to_string().to_lowercase());
            let address = A {
                address: NOWHERE.into(),
            };
            let name = question.qname.clone();
            reply
                .answers
                .push(ResourceRecord::new(name, CLASS::IN, 1, RData::A(address)));
        }
        reply.questions.push(question);
    }
    reply.build_bytes_vec().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_service_of_this_host_is_reached() {
        for ip in [
            "127.0.0.1",
            "127.9.9.9",
            "0.0.0.0",
            "0.1.2.3",
            "169.254.169.254",
            "::1",
            "::ffff:127.0.0.1",
            "::",
            "fe80::1",
            "224.0.0.1",
            "255.255.255.255",
        ] {
            assert!(!may_reach(ip.parse().unwrap()), "{ip}");
        }
        for ip in ["151.101.2.132", "10.1.2.3", "192.168.1.1", "2a04:4e42::644"] {
            assert!(may_reach(ip.parse().unwrap()), "{ip}");
        }
    }

    #[test]
    fn the_configured_server_is_asked() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            let server = socket.local_addr().unwrap();
            let asked = Asked::default();
            tokio::spawn(answer(socket, Arc::clone(&asked)));
            // One that does not listen comes first.
            let silent = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))
                .await
                .unwrap()
                .local_addr()
                .unwrap();
            // Then one that fails.
            let failing = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            let fails = failing.local_addr().unwrap();
            tokio::spawn(async move {
                let mut buffer = vec![0; 1500];
                loop {
                    let (count, from) = failing.recv_from(&mut buffer).await.unwrap();
                    let query = Packet::parse(&buffer[..count]).unwrap();
                    let mut reply = Packet::new_reply(query.id());
                    *reply.rcode_mut() = RCODE::ServerFailure;
                    failing.send_to(&reply.build_bytes_vec().unwrap(), from).await.unwrap();
                }
            });
            let found = lookup("mirror.test", &[silent, fails, server]).await.unwrap();
            assert_eq!(found, [IpAddr::V4(NOWHERE)]);
            assert!(asked.lock().unwrap().contains("mirror.test"));
        });
    }

    #[test]
    fn every_name_leads_nowhere() {
        let asked = Asked::default();
        let mut query = Packet::new_query(7);
        let name = simple_dns::Name::new("Example.org").unwrap();
        for kind in [TYPE::A, TYPE::AAAA] {
            query
                .questions
                .push(Question::new(name.clone(), kind.into(), CLASS::IN.into(), false));
        }
        let reply = reply_to(&query.build_bytes_vec().unwrap(), &asked).unwrap();
        let reply = Packet::parse(&reply).unwrap();
        assert_eq!((reply.id(), reply.questions.len(), reply.answers.len()), (7, 2, 1));
        assert!(asked.lock().unwrap().contains("example.org"));
        assert!(reply_to(b"rubbish", &asked).is_none());
    }
}
