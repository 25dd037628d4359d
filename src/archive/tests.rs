//! A checkpoint carried from one host to another, with real disks.

mod damage;
mod full;
mod harm;
mod keys;
mod kills;
mod whole;

use std::collections::BTreeMap;
use std::io::Read as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use anyhow::Result;
use fs_err as fs;

use super::*;
use crate::cancel::Cancel;
use crate::checkpoint::{Layer, Making, Manifest, Store};
use crate::event::{Events, Stage};
use crate::fault::{Cause, Fault};
use crate::identity::Identity;
use crate::key::{Inputs, Key};
use crate::machine::driver::{Hypervisor, MEMORY};
use crate::machine::qemu::image;
use crate::paths::Paths;

/// How large the kept memory says it is, in bytes; a few KiB of it are data.
const MEMORY_SIZE: u64 = 64 << 20;

/// The folders of one host.
struct Host {
    folder: tempfile::TempDir,
    paths: Paths,
    store: Store,
}

impl Host {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let paths = paths(folder.path());
        let store = Store::open(&paths.cache).unwrap();
        Self { folder, paths, store }
    }

    /// One with every stage's checkpoint for the login jdoe.
    fn with_all() -> (Self, Vec<Layer>) {
        let host = Self::new();
        let builder = Identity::load_or_create(&host.paths.builder(), false).unwrap();
        let identity = Identity::load_or_create(&host.paths.identity("jdoe"), true).unwrap();
        let inputs = |pairs: &[(&str, String)]| -> Inputs {
            pairs
                .iter()
                .map(|(name, value)| ((*name).to_owned(), value.clone()))
                .collect()
        };
        let mut layers = Vec::new();
        for (stage, inputs) in [
            (
                Stage::Install,
                inputs(&[("iso", "sha512:00".into()), ("seed", builder.fingerprint())]),
            ),
            (Stage::Docker, inputs(&[("docker.sh", "1".into())])),
            (
                Stage::Account,
                inputs(&[("login", "jdoe".into()), ("identity", identity.fingerprint())]),
            ),
            (Stage::Project, inputs(&[("Makefile", "1".into())])),
        ] {
            layers.push(host.make(stage, layers.last(), inputs));
        }
        (host, layers)
    }

    /// Makes a layer; that of docker has a memory beside it.
    fn make(&self, stage: Stage, parent: Option<&Layer>, inputs: Inputs) -> Layer {
        let work = self.folder.path().join("work");
        fs::create_dir_all(&work).unwrap();
        let disk = work.join("disk.qcow2");
        match parent {
            Some(parent) => image::create_overlay(&disk, &parent.disk).unwrap(),
            None => image::create(&disk, 1).unwrap(),
        }
        let end = fs::metadata(&disk).unwrap().len();
        let noise: Vec<u8> = std::iter::repeat_with(rand::random::<u8>).take(200_000).collect();
        let file = fs::OpenOptions::new().write(true).open(&disk).unwrap();
        file.file().write_all_at(&noise, end.next_multiple_of(1 << 16)).unwrap();
        let memory = [MEMORY, "memory.json"].map(|name| work.join(name));
        let mut beside: Vec<&Path> = Vec::new();
        if stage == Stage::Docker {
            let file = fs::File::create(&memory[0]).unwrap();
            file.file().set_len(MEMORY_SIZE).unwrap();
            file.file().write_all_at(b"remembered", 20 << 20).unwrap();
            fs::write(&memory[1], "{}").unwrap();
            beside = memory.iter().map(PathBuf::as_path).collect();
        }
        let key = Key::derive(stage, parent.map(|layer| &layer.manifest.base.key), &inputs);
        let making = Making {
            hypervisor: Hypervisor::Qemu,
            disk: &disk,
            beside: &beside,
            arrives: false,
        };
        let manifest = Manifest::new(stage, key, parent, inputs, 1.0);
        self.store.commit_all(making, &manifest).unwrap()
    }

    /// The archive of a layer.
    fn send(&self, layer: &Layer) -> Result<Vec<u8>> {
        let mut archive = Vec::new();
        send(
            &self.sending(layer, &Events::ignore(), &Cancel::default()),
            &mut archive,
        )?;
        Ok(archive)
    }

    fn sending<'a>(&'a self, layer: &'a Layer, events: &'a Events, cancel: &'a Cancel) -> Sending<'a> {
        Sending {
            layer,
            store: &self.store,
            memory: true,
            release: None,
            paths: &self.paths,
            events,
            cancel,
        }
    }

    fn receive(&self, archive: &[u8]) -> Result<Vec<State>> {
        let (events, cancel) = (Events::ignore(), Cancel::default());
        let wanted = Receiving {
            paths: &self.paths,
            events: &events,
            cancel: &cancel,
        };
        let received = receive(&wanted, archive)?;
        Ok(received
            .checkpoints
            .into_iter()
            .map(|checkpoint| checkpoint.state)
            .collect())
    }

    /// Why an archive is refused; nothing may have come of it.
    #[track_caller]
    fn refuses(&self, archive: &[u8]) -> Fault {
        let before = self.tree();
        let error = self.receive(archive).unwrap_err();
        assert_eq!(self.tree(), before, "{error:?}");
        Fault::of(&error).unwrap_or_else(|| panic!("{error:?}")).clone()
    }

    /// Every file in the cache but locks, with what is in it.
    fn tree(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut files = BTreeMap::new();
        let mut folders = vec![self.paths.cache.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let is_lock = path.extension().is_some_and(|end| end == "lock") || path.ends_with(".use");
                if path.is_dir() {
                    folders.push(path);
                } else if !is_lock {
                    let inner = path.strip_prefix(&self.paths.cache).unwrap().to_owned();
                    files.insert(inner, fs::read(path).unwrap());
                }
            }
        }
        files
    }
}

fn paths(folder: &Path) -> Paths {
    Paths {
        cache: folder.join("cache"),
        machines: folder.join("machines"),
    }
}

/// A member of an archive.
#[derive(Clone)]
struct Member {
    header: tar::Header,
    content: Vec<u8>,
}

impl Member {
    fn name(&self) -> String {
        String::from_utf8_lossy(&self.header.path_bytes()).into_owned()
    }

    /// A plain file.
    fn file(name: &str, content: &[u8]) -> Self {
        let mut header = tar::Header::new_gnu();
        // set_path refuses what these tests need.
        let field = &mut header.as_old_mut().name;
        field[..name.len()].copy_from_slice(name.as_bytes());
        header.set_mode(0o600);
        header.set_size(content.len() as u64);
        header.set_entry_type(tar::EntryType::Regular);
        header.set_cksum();
        Self {
            header,
            content: content.to_vec(),
        }
    }
}

/// The members of an archive.
fn members(archive: &[u8]) -> Vec<Member> {
    let plain = zstd::decode_all(archive).unwrap();
    let mut tar = tar::Archive::new(&*plain);
    let entries = tar.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        Member {
            header: entry.header().clone(),
            content,
        }
    });
    entries.collect()
}

/// An archive of these members, whatever they are.
fn packed(members: &[Member]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for member in members {
        tar.append(&member.header, &*member.content).unwrap();
    }
    zstd::encode_all(&*tar.into_inner().unwrap(), 1).unwrap()
}

/// The same members with the digest of `name` as it is now, as somebody would write it who means harm.
fn vouched(members: &[Member], name: &str) -> Vec<Member> {
    let mut members = members.to_vec();
    let content = members.iter().find(|member| member.name() == name).unwrap();
    let digest = crate::key::digest(&content.content);
    let last = members.last_mut().unwrap();
    let mut digests: BTreeMap<String, String> = serde_json::from_slice(&last.content).unwrap();
    digests.insert(name.to_owned(), digest);
    *last = Member::file(DIGESTS, &serde_json::to_vec(&digests).unwrap());
    members
}

/// The same members with another index, vouched for.
fn reindexed(members: &[Member], change: impl FnOnce(&mut serde_json::Value)) -> Vec<Member> {
    let mut members = members.to_vec();
    let mut index: serde_json::Value = serde_json::from_slice(&members[0].content).unwrap();
    change(&mut index);
    members[0] = Member::file(INDEX, &serde_json::to_vec(&index).unwrap());
    vouched(&members, INDEX)
}
