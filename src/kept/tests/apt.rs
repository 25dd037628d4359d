//! A real apt with a real, signed archive.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::world::{Serving, World, run};
use crate::kept::Keeper;

/// An archive with one package, signed by a key made here.
struct Archive {
    folder: tempfile::TempDir,
}

impl Archive {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let archive = Self { folder };
        archive.add("1.0");
        archive
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    /// Makes a version of the package and signs the lists anew.
    fn add(&self, version: &str) {
        let control = self.path("build/DEBIAN");
        fs::create_dir_all(&control).unwrap();
        let text = format!(
            "Package: thing\nVersion: {version}\nArchitecture: all\nMaintainer: A <a@example.org>\nDescription: a thing\n"
        );
        fs::write(control.join("control"), text).unwrap();
        let debian = self.path("www/debian");
        let lists = debian.join("dists/stable/main/binary-amd64");
        fs::create_dir_all(&lists).unwrap();
        fs::create_dir_all(debian.join("pool")).unwrap();
        run(Command::new("dpkg-deb")
            .args(["--build", "--root-owner-group"])
            .arg(self.path("build"))
            .arg(debian.join(format!("pool/thing_{version}_all.deb"))));
        let packages = run(Command::new("apt-ftparchive")
            .args(["packages", "pool"])
            .current_dir(&debian));
        fs::write(lists.join("Packages"), packages).unwrap();
        let release = run(Command::new("apt-ftparchive")
            .args(["-o", "APT::FTPArchive::Release::Suite=stable"])
            .args(["-o", "APT::FTPArchive::Release::Architectures=amd64"])
            .args(["-o", "APT::FTPArchive::Release::Components=main"])
            .args(["release", "dists/stable"])
            .current_dir(&debian));
        fs::write(debian.join("dists/stable/Release"), release).unwrap();
        self.sign(&debian.join("dists/stable"));
    }

    fn sign(&self, release: &Path) {
        use std::os::unix::fs::PermissionsExt as _;
        let home = self.path("gnupg");
        let gpg = |args: &[&str]| {
            run(Command::new("gpg")
                .args([
                    "--batch",
                    "--yes",
                    "--quiet",
                    "--pinentry-mode",
                    "loopback",
                    "--passphrase",
                    "",
                ])
                .args(args)
                .current_dir(release)
                .env("GNUPGHOME", &home));
        };
        if !home.exists() {
            fs::create_dir(&home).unwrap();
            fs::set_permissions(&home, fs::Permissions::from_mode(0o700)).unwrap();
            gpg(&["--quick-gen-key", "Archive <a@example.org>", "ed25519", "sign", "never"]);
            gpg(&["--output", self.path("key.gpg").to_str().unwrap(), "--export"]);
        }
        gpg(&["--output", "InRelease", "--clearsign", "Release"]);
        let _ = Command::new("gpgconf")
            .args(["--kill", "all"])
            .env("GNUPGHOME", &home)
            .status();
    }

    /// `apt-get update` and a download on a machine that has nothing yet; what it printed if it failed.
    fn apt(&self, keeper: &Keeper, port: u16) -> Result<Vec<String>, String> {
        let machine = tempfile::tempdir().unwrap();
        let at = |name: &str| machine.path().join(name);
        for name in ["lists/partial", "cache/archives/partial", "debs"] {
            fs::create_dir_all(at(name)).unwrap();
        }
        fs::write(at("status"), "").unwrap();
        let source = format!(
            "deb [signed-by={}] http://10.0.2.2:{port}/debian stable main\n",
            self.path("key.gpg").display()
        );
        fs::write(at("sources.list"), source).unwrap();
        let at = |name: &str| machine.path().join(name).display().to_string();
        let options = [
            format!("Dir::State={}", machine.path().display()),
            format!("Dir::State::lists={}", at("lists")),
            format!("Dir::State::status={}", at("status")),
            format!("Dir::Cache={}", at("cache")),
            format!("Dir::Etc::sourcelist={}", at("sources.list")),
            "Dir::Etc::sourceparts=/dev/null".into(),
            "Acquire::Languages=none".into(),
            "APT::Sandbox::User=".into(),
            "APT::Architecture=amd64".into(),
            "APT::Update::Error-Mode=any".into(),
            "Acquire::Retries=0".into(),
            format!("Acquire::http::Proxy=http://127.0.0.1:{}", keeper.route().port),
        ];
        for words in [&["update"][..], &["download", "thing"]] {
            let mut command = Command::new("apt-get");
            for option in &options {
                command.args(["-o", option]);
            }
            let output = command.arg("-q").args(words).current_dir(at("debs")).output().unwrap();
            if !output.status.success() {
                return Err(String::from_utf8_lossy(&output.stderr).into_owned());
            }
        }
        let debs = fs::read_dir(at("debs")).unwrap().flatten();
        Ok(debs
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect())
    }
}

#[test]
fn what_apt_fetched_once_it_has_without_a_network() {
    let (world, archive) = (World::new(), Archive::new());
    let server = Serving::files(&archive.path("www"));
    let port = server.port;
    let online = world.online(port);
    assert_eq!(archive.apt(&online, port).unwrap(), ["thing_1.0_all.deb"]);
    let fetched = online.take_fetched();
    assert!(
        fetched.keys().any(|key| key.ends_with("/pool/thing_1.0_all.deb")),
        "{fetched:?}"
    );
    drop((online, server));
    let offline = world.offline();
    assert_eq!(archive.apt(&offline, port).unwrap(), ["thing_1.0_all.deb"]);
    assert_eq!(offline.take_missed(), Vec::<String>::new());
}

#[test]
fn a_newer_archive_is_seen_and_a_silent_one_is_not_needed() {
    let (world, archive) = (World::new(), Archive::new());
    let server = Serving::files(&archive.path("www"));
    let port = server.port;
    let keeper = world.online(port);
    archive.apt(&keeper, port).unwrap();
    // The mirror's dates count seconds.
    let later = std::time::SystemTime::now() + std::time::Duration::from_secs(5);
    archive.add("2.0");
    for name in ["InRelease", "Release", "main/binary-amd64/Packages"] {
        let file = archive.path("www/debian/dists/stable").join(name);
        fs::File::options()
            .write(true)
            .open(file)
            .unwrap()
            .set_modified(later)
            .unwrap();
    }
    assert_eq!(archive.apt(&keeper, port).unwrap(), ["thing_2.0_all.deb"]);
    drop(server);
    assert_eq!(
        archive.apt(&keeper, port).unwrap(),
        ["thing_2.0_all.deb"],
        "the same keeper, the mirror gone"
    );
}

#[test]
fn what_is_not_kept_is_named() {
    let (world, archive) = (World::new(), Archive::new());
    let offline = world.offline();
    let said = archive.apt(&offline, 8000).unwrap_err();
    assert!(said.contains("504"), "{said}");
    let missed = offline.take_missed();
    assert!(
        missed.contains(&"http://10.0.2.2:8000/debian/dists/stable/InRelease".to_owned()),
        "{missed:?}"
    );
    assert!(offline.take_missed().is_empty(), "told once");
}

#[test]
fn a_damaged_file_is_fetched_again_or_missing_but_never_used() {
    let (world, archive) = (World::new(), Archive::new());
    let server = Serving::files(&archive.path("www"));
    let port = server.port;
    archive.apt(&world.online(port), port).unwrap();
    let spoil = || {
        for blob in fs::read_dir(world.folder.path().join("kept/blobs")).unwrap().flatten() {
            fs::write(blob.path(), "rubbish").unwrap();
        }
    };
    spoil();
    assert_eq!(archive.apt(&world.online(port), port).unwrap(), ["thing_1.0_all.deb"]);
    drop(server);
    spoil();
    let offline = world.offline();
    archive.apt(&offline, port).unwrap_err();
    assert!(!offline.take_missed().is_empty());
}
