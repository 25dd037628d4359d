//! Ports on 127.0.0.1 for a machine's site and its SSH.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, TcpListener};

use anyhow::{Context as _, Result};

use crate::config::Ports;
use crate::fault::{Cause, Fault};

/// The ports of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chosen {
    /// Leads to the guest's 443.
    pub https: u16,
    /// Leads to the guest's 22.
    pub ssh: u16,
}

/// What is tried for the site when the user does not say, before any free port.
const HTTPS: [u16; 2] = [443, 8443];

/// Chooses the ports: the wanted ones; else for the site 443 if the user may bind it, 8443, or a free one, and for
/// SSH a free one. `taken` are those of other machines, which may not run now.
///
/// # Errors
/// [`Cause::Busy`] when a wanted port is taken, [`Cause::Config`] when this user may not bind it.
pub fn choose(wanted: Ports, taken: &[u16]) -> Result<Chosen> {
    let reserved: Vec<u16> = wanted.ssh.iter().chain(taken).copied().collect();
    let https = match wanted.https {
        Some(port) => demanded(port, taken)?,
        None => match HTTPS
            .into_iter()
            .find(|port| !reserved.contains(port) && bind(*port).is_ok())
        {
            Some(port) => port,
            None => free(&reserved)?,
        },
    };
    let ssh = match wanted.ssh {
        Some(port) => demanded(port, taken)?,
        None => free(&[taken, &[https]].concat())?,
    };
    Ok(Chosen { https, ssh })
}

fn demanded(port: u16, taken: &[u16]) -> Result<u16> {
    if taken.contains(&port) {
        let fault = Fault::new(Cause::Busy, format!("port {port} belongs to another machine"));
        return Err(fault.hint("`provision list` shows which; choose another port").into());
    }
    let Err(error) = bind(port) else {
        return Ok(port);
    };
    let fault = match error.kind() {
        ErrorKind::AddrInUse => Fault::new(Cause::Busy, format!("port {port} on 127.0.0.1 is taken"))
            .hint(format!("`{}` shows by whom; choose another port", who(port))),
        ErrorKind::PermissionDenied => Fault::new(Cause::Config, format!("you may not bind port {port}"))
            .hint("choose a port from 1024 on, such as 8443"),
        _ => Fault::new(Cause::Other, format!("port {port} on 127.0.0.1 cannot be bound")),
    };
    Err(anyhow::Error::new(error).context(fault))
}

/// The command that names the program behind a port.
fn who(port: u16) -> String {
    if cfg!(target_os = "linux") {
        format!("ss -ltnp 'sport = :{port}'")
    } else {
        format!("lsof -nP -iTCP:{port} -sTCP:LISTEN")
    }
}

/// Whether this user may bind `port` now and nobody else has it; the port is free again when this returns.
pub fn bind(port: u16) -> std::io::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    Ok(listener.local_addr()?.port())
}

/// A port that the kernel gives and that is not in `avoid`.
fn free(avoid: &[u16]) -> Result<u16> {
    // The kernel does not repeat itself while a listener is held: so at most one more is needed than are to be avoided.
    let mut held = Vec::new();
    loop {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("looking for a free port")?;
        let port = listener.local_addr().context("looking for a free port")?.port();
        if !avoid.contains(&port) {
            return Ok(port);
        }
        held.push(listener);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(https: Option<u16>, ssh: Option<u16>) -> Ports {
        Ports { https, ssh }
    }

    #[test]
    fn the_site_gets_the_first_of_the_usual_ports_that_is_free() {
        let chosen = choose(wanted(None, None), &[443]).unwrap();
        assert_ne!(chosen.https, 443);
        assert_ne!(chosen.https, chosen.ssh);
        let chosen = choose(wanted(None, None), &[443, 8443]).unwrap();
        assert!(chosen.https > 1023 && chosen.https != 8443);
    }

    #[test]
    fn a_taken_port_is_refused() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        for ports in [wanted(Some(port), None), wanted(None, Some(port))] {
            let error = choose(ports, &[]).unwrap_err();
            let fault = Fault::of(&error).unwrap();
            assert_eq!(fault.cause, Cause::Busy);
            assert!(fault.message.contains(&port.to_string()));
            assert!(fault.hint.as_deref().unwrap().contains(&port.to_string()));
        }
    }

    #[test]
    fn a_port_of_another_machine_is_refused() {
        let port = free(&[]).unwrap();
        let error = choose(wanted(Some(port), None), &[port]).unwrap_err();
        assert_eq!(Fault::of(&error).unwrap().cause, Cause::Busy);
        let chosen = choose(wanted(Some(port), None), &[]).unwrap();
        assert_eq!(chosen.https, port);
    }

    #[test]
    fn the_wanted_ssh_port_is_not_given_to_the_site() {
        if bind(8443).is_ok() {
            let chosen = choose(wanted(None, Some(8443)), &[443]).unwrap();
            assert_eq!(chosen.ssh, 8443);
            assert_ne!(chosen.https, 8443);
        }
    }
}
