//! A proxy on 127.0.0.1 that passes requests for http addresses on.

use std::io::{BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use super::http::{Asked, read_request};

/// The proxy. Its thread ends with the test.
pub struct Proxy {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Proxy {
    /// A proxy on a free port that takes every host for `origin`'s.
    pub fn start(origin: &str) -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (shared, origin) = (Arc::clone(&asked), origin.to_owned());
        std::thread::spawn(move || {
            for connection in socket.incoming() {
                pass(connection.unwrap(), &origin, &shared).unwrap();
            }
        });
        Self { address, asked }
    }

    /// Its address as it stands in `HTTP_PROXY`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What it was asked for.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

fn pass(mut client: TcpStream, origin: &str, seen: &Mutex<Vec<Asked>>) -> std::io::Result<()> {
    let asked = read_request(&mut BufReader::new(&client))?;
    let path = asked.target.splitn(4, '/').nth(3).unwrap_or_default().to_owned();
    seen.lock().unwrap().push(asked);
    let host = origin.trim_start_matches("http://").trim_end_matches('/');
    let mut server = TcpStream::connect(host)?;
    write!(server, "GET /{path} HTTP/1.1\r\nHost: {host}\r\n\r\n")?;
    std::io::copy(&mut server, &mut client)?;
    Ok(())
}
