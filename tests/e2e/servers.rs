//! The servers that stand in for Debian's image server and for Docker Hub: real ones, on 127.0.0.1.

use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::programs::free_port;

/// A server, ended when it is dropped.
pub struct Server {
    /// None where another run of the tests serves the same.
    child: Option<Child>,
    /// Where it listens on 127.0.0.1.
    pub port: u16,
}

impl Server {
    fn start(command: &mut Command, port: u16) -> Self {
        assert!(TcpStream::connect(("127.0.0.1", port)).is_err(), "port {port} is taken");
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut server = Self {
            child: Some(child),
            port,
        };
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let ended = server.child.as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none(), "{command:?} ended");
            assert!(start.elapsed() < Duration::from_secs(30), "{command:?} does not listen");
            std::thread::sleep(Duration::from_millis(50));
        }
        server
    }

    /// A web server for the files in `folder`.
    pub fn files(folder: &Path) -> Self {
        let port = free_port();
        let mut command = Command::new("python3");
        command
            .args(["-m", "http.server", "--bind", "127.0.0.1", "--directory"])
            .arg(folder)
            .arg(port.to_string());
        Self::start(&mut command, port)
    }

    /// A registry with the content in `folder`. Its port is part of the docker stage's key, so it is always the same, and
    /// one that stands there already is taken.
    pub fn registry(folder: &Path) -> Self {
        const PORT: u16 = 25_000;
        if is_registry(PORT) {
            return Self {
                child: None,
                port: PORT,
            };
        }
        Self::registry_at(folder, PORT)
    }

    /// A registry that has nothing in it yet.
    pub fn empty_registry(folder: &Path) -> Self {
        std::fs::create_dir(folder).unwrap();
        Self::registry_at(folder, free_port())
    }

    fn registry_at(folder: &Path, port: u16) -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/media/docker-hub-standin.sh");
        let mut command = Command::new(script);
        command.arg("serve").arg(folder).arg(port.to_string());
        Self::start(&mut command, port)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Whether a registry with the base image answers on `port`.
fn is_registry(port: u16) -> bool {
    let address = format!("http://127.0.0.1:{port}/v2/library/debian/tags/list");
    let status = Command::new("curl").args(["-sf", "-o", "/dev/null", &address]).status();
    status.unwrap().success()
}
