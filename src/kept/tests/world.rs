//! Keepers on one store, and what stands behind them.

use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::cancel::Cancel;
use crate::config::{Docker, Network, Proxy};
use crate::event::{Event, Events};
use crate::kept::{Keeper, Store};
use crate::process::testing::free_port;
use crate::wait::Wait;

/// A store in a folder of its own.
pub struct World {
    pub folder: tempfile::TempDir,
    events: Events,
    pub told: Arc<Mutex<Vec<Event>>>,
}

impl World {
    pub fn new() -> Self {
        let (events, told) = Events::recorder();
        Self {
            folder: tempfile::tempdir().unwrap(),
            events,
            told,
        }
    }

    pub fn store(&self) -> Store {
        Store::new(self.folder.path()).with_floor(0)
    }

    /// A keeper before what listens on `port` of this host, as registry and as Debian's mirror.
    pub fn online(&self, port: u16) -> Keeper {
        let (docker, network) = behind(port);
        Keeper::online(self.store(), &docker, &network, &self.events).unwrap()
    }

    pub fn offline(&self) -> Keeper {
        Keeper::offline(self.store(), &Docker::default(), &Network::default(), &self.events).unwrap()
    }

    pub fn through_proxy(&self, proxy: &str) -> Keeper {
        let network = Network {
            http_proxy: Some(Proxy::new(proxy.into())),
            ..Network::default()
        };
        Keeper::online(self.store(), &Docker::default(), &network, &self.events).unwrap()
    }

    pub fn warnings(&self) -> Vec<String> {
        let told = self.told.lock().unwrap();
        let warnings = told.iter().filter_map(|event| match event {
            Event::Warning { text } => Some(text.clone()),
            _ => None,
        });
        warnings.collect()
    }

    /// The files of content that are kept.
    pub fn blobs(&self) -> usize {
        let folder = std::fs::read_dir(self.folder.path().join("kept/blobs"));
        folder.map_or(0, Iterator::count)
    }
}

fn behind(port: u16) -> (Docker, Network) {
    let there = format!("http://10.0.2.2:{port}");
    let docker = Docker {
        source: None,
        registry_mirror: Some(there.clone()),
    };
    let network = Network {
        debian_mirror: Some(format!("{there}/debian")),
        ..Network::default()
    };
    (docker, network)
}

/// A program that serves, ended when it is dropped.
pub struct Serving {
    child: Child,
    pub port: u16,
}

impl Serving {
    /// Starts what `command` makes for a port, and waits until it listens.
    pub fn start(command: impl FnOnce(u16) -> Command) -> Self {
        let port = free_port();
        let child = command(port)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Wait::new("the server to listen", Duration::from_secs(60))
            .until(|| Ok(TcpStream::connect(("127.0.0.1", port)).ok().map(drop)))
            .unwrap();
        Self { child, port }
    }

    /// A web server for the files in `folder`.
    pub fn files(folder: &Path) -> Self {
        Self::start(|port| {
            let mut command = Command::new("python3");
            command
                .args(["-m", "http.server", "--bind", "127.0.0.1", "--directory"])
                .arg(folder)
                .arg(port.to_string());
            command
        })
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a program, which must succeed.
#[track_caller]
pub fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{command:?}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A flag that nobody raises.
pub fn going_on() -> Cancel {
    Cancel::default()
}

/// Asks a keeper as curl does: `asked` is the request's head. Gives the whole answer.
pub fn raw(keeper: &Keeper, asked: &str) -> String {
    use std::io::{Read as _, Write as _};
    let mut stream = TcpStream::connect(("127.0.0.1", keeper.route().port)).unwrap();
    stream.write_all(asked.as_bytes()).unwrap();
    let mut answer = Vec::new();
    // One that breaks off on purpose is part of the tests.
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

/// Asks for a path of the mirror at `port`.
pub fn get(keeper: &Keeper, port: u16, path: &str) -> String {
    raw(
        keeper,
        &format!("GET {path} HTTP/1.1\r\nHost: 10.0.2.2:{port}\r\nConnection: close\r\n\r\n"),
    )
}
