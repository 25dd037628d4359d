//! Pins, tried with a real apt on a signed archive that is made here: it has two versions of a package, and expired.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use super::SCRIPT;

const TIME: &str = "20260801T093000Z";

/// An archive like Debian's snapshot archive, and an apt of its own that trusts its key.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        for folder in ["gnupg", "root/etc", "run", "lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(place.path(folder)).unwrap();
        }
        fs::write(place.path("root/etc/os-release"), "VERSION_CODENAME=test\n").unwrap();
        fs::write(place.path("status"), "").unwrap();
        fs::set_permissions(place.path("gnupg"), std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        let args = [
            "--quick-gen-key",
            "Test archive <archive@example.org>",
            "ed25519",
            "sign",
            "never",
        ];
        done(place.gpg().args(args));
        let key = done(place.gpg().arg("--export"));
        fs::write(place.path("trusted.gpg"), key).unwrap();
        for (archive, suite) in [
            ("debian", "test"),
            ("debian", "test-updates"),
            ("debian-security", "test-security"),
        ] {
            place.publish(&place.path("archive").join(archive).join(TIME), suite);
        }
        let _ = Command::new("gpgconf")
            .args(["--kill", "all"])
            .env("GNUPGHOME", place.path("gnupg"))
            .status();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn gpg(&self) -> Command {
        let mut gpg = Command::new("gpg");
        gpg.args(["--batch", "--quiet", "--pinentry-mode", "loopback", "--passphrase", ""]);
        gpg.env("GNUPGHOME", self.path("gnupg"));
        gpg
    }

    /// Both versions in one suite, whose signed list was to be used until some day in the past.
    fn publish(&self, archive: &Path, suite: &str) {
        let codename = format!("APT::FTPArchive::Release::Codename={suite}");
        let suite = archive.join("dists").join(suite);
        let index = suite.join("main/binary-amd64");
        fs::create_dir_all(&index).unwrap();
        fs::create_dir_all(archive.join("pool")).unwrap();
        for version in ["1.0", "2.0"] {
            package(archive, "thing", version);
        }
        let mut list = Command::new("apt-ftparchive");
        let list = done(list.args(["packages", "pool"]).current_dir(archive));
        fs::write(index.join("Packages"), list).unwrap();
        let mut release = Command::new("apt-ftparchive");
        release.args(["-o", &codename]);
        let release = done(release.args(["release", "."]).current_dir(&suite));
        let release = String::from_utf8(release).unwrap();
        // apt-ftparchive writes its own date; this list is as old as it says.
        let lines = release.lines().filter(|line| !line.starts_with("Date:"));
        let mut text = "Date: Sat, 01 Aug 2026 09:00:00 UTC\nValid-Until: Sat, 08 Aug 2026 09:00:00 UTC\n".to_owned();
        text.extend(lines.map(|line| format!("{line}\n")));
        fs::write(suite.join("Release"), text).unwrap();
        let mut sign = self.gpg();
        sign.arg("--clearsign").arg("--output").arg(suite.join("InRelease"));
        done(sign.arg(suite.join("Release")));
    }

    /// The script's functions, then `commands`, in which `$OWN` are the settings of an apt that touches nothing of this host.
    fn run(&self, pins: &[&str], commands: &str) -> Output {
        let (functions, _) = SCRIPT.split_once("\nconfigure_resolver\nconfigure_proxy\n").unwrap();
        let below = |name: &str| self.path(name).display().to_string();
        let script = functions
            .replace("/etc/os-release", &below("root/etc/os-release"))
            .replace("apt_folder=/run", &format!("apt_folder={}", below("run")));
        let settings = [
            format!("Dir::State={}", below("")),
            format!("Dir::State::status={}", below("status")),
            format!("Dir::Cache={}", below("cache")),
            format!("Dir::Etc::trusted={}", below("trusted.gpg")),
            "Dir::Etc::trustedparts=/dev/null".to_owned(),
            "Dir::Etc::preferencesparts=/dev/null".to_owned(),
            // Whatever the settings of this host's own apt are.
            "Acquire::Check-Date=true".to_owned(),
            "Acquire::Check-Valid-Until=true".to_owned(),
            "APT::Architecture=amd64".to_owned(),
            "APT::Sandbox::User=root".to_owned(),
        ];
        let own: Vec<String> = settings.iter().map(|setting| format!("-o {setting}")).collect();
        let mut args = vec!["--snapshot".to_owned(), format!("file://{}", below("archive"))];
        args.extend(["--snapshot-time".to_owned(), TIME.to_owned()]);
        for pin in pins {
            args.extend(["--pin".to_owned(), (*pin).to_owned()]);
        }
        Command::new("sh")
            .args([
                "-c",
                &format!("{script}\nOWN='{}'\n{commands}\n", own.join(" ")),
                "docker.sh",
            ])
            .args(args)
            .output()
            .unwrap()
    }
}

fn package(archive: &Path, name: &str, version: &str) {
    let tree = tempfile::tempdir().unwrap();
    fs::set_permissions(tree.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    fs::create_dir(tree.path().join("DEBIAN")).unwrap();
    let control = format!(
        "Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: Tests <tests@example.org>\n\
         Description: of no use\n"
    );
    fs::write(tree.path().join("DEBIAN/control"), control).unwrap();
    let mut build = Command::new("dpkg-deb");
    build.args(["--root-owner-group", "--build"]).arg(tree.path());
    done(build.arg(archive.join(format!("pool/{name}_{version}_all.deb"))));
}

#[track_caller]
fn done(command: &mut Command) -> Vec<u8> {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

fn said(output: &Output) -> String {
    let both = [output.stdout.as_slice(), &output.stderr].concat();
    String::from_utf8_lossy(&both).into_owned()
}

/// What `apt-get --simulate` would install.
const INSTALL: &str = "configure_pins\napt $OWN update && apt $OWN --simulate install -y thing | grep ^Inst";

#[test]
fn the_pinned_version_is_taken_from_an_archive_that_expired() {
    let place = Place::new();
    let newest = said(&place.run(&[], INSTALL));
    assert!(newest.contains("Inst thing (2.0"), "{newest}");
    let pinned = said(&place.run(&["thing=1.0", "other=1:3~x+y"], INSTALL));
    assert!(pinned.contains("Inst thing (1.0"), "{pinned}");
    // It is also what an installed newer one becomes.
    let installed = "Package: thing\nStatus: install ok installed\nVersion: 2.0\nArchitecture: all\n\
                     Maintainer: Tests <tests@example.org>\nDescription: of no use\n\n";
    fs::write(place.path("status"), installed).unwrap();
    let policy = "configure_pins\napt-cache $OWN policy thing";
    let policy = said(&place.run(&["thing=1.0"], policy));
    assert!(policy.contains("Candidate: 1.0"), "{policy}");
}

#[test]
fn only_the_time_of_an_archive_is_forgiven() {
    let place = Place::new();
    let update = |change: &str| {
        let run = place.run(&["thing=1.0"], &format!("configure_pins\n{change}\napt $OWN update"));
        (run.status.success(), said(&run))
    };
    assert!(update("").0, "{}", update("").1);
    // It did expire: apt itself would not take it.
    let strict = r#"sed -i 's/ \[check-valid-until=no\]//' "$apt_folder/provision-sources.list""#;
    let (passed, said) = update(strict);
    assert!(!passed && said.contains("expired"), "{said}");
    // Whoever changes a list lacks the key.
    let list = place.path("archive/debian").join(TIME).join("dists/test/InRelease");
    let text = fs::read_to_string(&list).unwrap();
    fs::write(&list, text.replace("Codename: test", "Codename: tess")).unwrap();
    let (passed, said) = update("");
    assert!(!passed && said.contains("test InRelease"), "{said}");
}
