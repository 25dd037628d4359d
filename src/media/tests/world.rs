//! A mirror with a signed release, and a cache.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use fs_err as fs;
use sha2::{Digest as _, Sha512};

use crate::cancel::Cancel;
use crate::event::{Event, Events};
use crate::fault::{Cause, Fault};
use crate::media::http::Patience;
use crate::media::testing::{KeyMaker, Server, signed_at};
use crate::media::{Iso, Release, Request, obtain_with};

pub const NAME: &str = "debian-13.2.0-amd64-netinst.iso";
pub const FILE: &str = "/current/debian-13.2.0-amd64-netinst.iso";
pub const ARCHIVED: &str = "/archive/13.2.0/debian-13.2.0-amd64-netinst.iso";
pub const SUMS: &str = "/current/SHA512SUMS";
pub const SIGNATURE: &str = "/current/SHA512SUMS.sign";

/// Larger than what the connection, the client and the kernel hold back together.
pub const SIZE: usize = 3_000_000;

pub struct World {
    pub server: Server,
    pub release: Release,
    pub key: Vec<u8>,
    pub content: Vec<u8>,
    pub cancel: Cancel,
    maker: crate::media::testing::Key,
    folder: tempfile::TempDir,
}

/// What a call gave and told.
pub struct Outcome {
    pub result: Result<Iso>,
    pub events: Vec<Event>,
}

/// Patience for tests: none.
pub fn hasty() -> Patience {
    Patience {
        connect: Duration::from_secs(10),
        silence: Duration::from_secs(3),
        tries: 3,
        pause: Duration::from_millis(1),
        proxies: false,
    }
}

/// Bytes of which no two parts are alike.
pub fn bytes(size: usize, seed: u32) -> Vec<u8> {
    let mut state = seed;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    std::iter::repeat_with(next).take(size).collect()
}

pub fn sha512(bytes: &[u8]) -> String {
    hex::encode(Sha512::digest(bytes))
}

impl World {
    pub fn new() -> Self {
        let maker = KeyMaker::default().make();
        let server = Server::start();
        let release = Release {
            directories: vec![server.url("/current/")],
            archive: Some(server.url("/archive/{version}/")),
            file: "debian-13.*-amd64-netinst.iso".into(),
            sums: "SHA512SUMS".into(),
            signature: "SHA512SUMS.sign".into(),
            key: "test.asc".into(),
        };
        let world = Self {
            key: maker.armoured(),
            content: bytes(SIZE, 1),
            cancel: Cancel::default(),
            folder: tempfile::tempdir().unwrap(),
            server,
            release,
            maker,
        };
        world.publish(NAME, &world.content);
        world
    }

    /// Makes `content` the current release under `name`.
    pub fn publish(&self, name: &str, content: &[u8]) {
        self.publish_signed(name, content, 0);
    }

    /// The same with a list that was signed so many seconds ago.
    pub fn publish_signed(&self, name: &str, content: &[u8], age: u32) {
        let sums = format!("{}  {name}\n", sha512(content));
        let when = pgp::types::Timestamp::now().as_secs() - age;
        let signature = signed_at(&self.maker, sums.as_bytes(), when, None);
        self.server.put(SIGNATURE, signature);
        self.server.put(SUMS, sums);
        self.server.put(&format!("/current/{name}"), content);
    }

    pub fn cache(&self) -> PathBuf {
        self.folder.path().join("cache")
    }

    pub fn request(&self) -> Request<'_> {
        Request {
            release: &self.release,
            key: &self.key,
            choice: None,
            pinned: None,
            refresh: false,
            offline: false,
        }
    }

    pub fn obtain(&self) -> Outcome {
        self.obtain_as(&self.request())
    }

    pub fn obtain_as(&self, request: &Request) -> Outcome {
        let (events, told) = Events::recorder();
        let result = obtain_with(hasty(), request, &self.cache(), &events, &self.cancel);
        let events = told.lock().unwrap().clone();
        Outcome { result, events }
    }

    /// The ISO's place in the cache.
    pub fn place(&self) -> PathBuf {
        let folder = format!("sha512-{}", &sha512(&self.content)[..32]);
        self.cache().join(folder).join(NAME)
    }
}

impl Outcome {
    /// The ISO, which holds `content`.
    pub fn holding(self, content: &[u8]) -> Self {
        let iso = self.result.as_ref().unwrap();
        assert!(
            fs::read(&iso.path).unwrap() == content,
            "{} holds something else",
            iso.path.display()
        );
        self
    }

    pub fn warnings(&self) -> Vec<&str> {
        let text = |event: &'_ Event| matches!(event, Event::Warning { .. });
        let warnings = self.events.iter().filter(|event| text(event));
        let text = warnings.map(|event| match event {
            Event::Warning { text } => text.as_str(),
            _ => unreachable!(),
        });
        text.collect()
    }

    /// The error's cause, message with all beneath it, and hint.
    pub fn fault(&self) -> (Cause, String, String) {
        let error = self.result.as_ref().unwrap_err();
        let fault = Fault::of(error).unwrap_or_else(|| panic!("no fault: {error:#}"));
        (
            fault.cause,
            format!("{error:#}"),
            fault.hint.clone().unwrap_or_default(),
        )
    }
}
