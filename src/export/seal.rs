//! Makes a copy of a disk fit to hand out: what is removed and why is in `provision/debian/seal.sh`.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::Source;
use crate::config::Ports;
use crate::event::Stage;
use crate::fault::{Cause, Fault};
use crate::host;
use crate::identity::{Identity, Secret};
use crate::machine::Forward;
use crate::machine::qemu::image;
use crate::ssh::{Exec, Session, Target};
use crate::stage::booted::{self, Log};
use crate::stage::{Host, Work};

const SCRIPT: &str = include_str!("../../provision/debian/seal.sh");
const FIRST_BOOT: &str = include_str!("../../provision/debian/first-boot/provision-first-boot.sh");
const UNIT: &str = include_str!("../../provision/debian/first-boot/provision-first-boot.service");

const KEYS_UNIT: &str = include_str!("../../provision/debian/first-boot/provision-keys@.service");
const RULES: &str = include_str!("../../provision/debian/first-boot/90-provision.rules");

/// How long, in seconds on a real machine, sealing may take: an initramfs may have to be packed.
const LIMIT: u64 = 600;

/// Boots a copy of the source's disk in the empty folder `folder` and seals it. Gives the copy, and the new password of
/// the guest's user.
///
/// # Errors
/// When the guest does not come up, does not take this host's keys, or the script fails.
pub fn run(host: &Host, source: &Source, backing: &Path, folder: &Path) -> Result<(PathBuf, Option<Secret>)> {
    let identity = Identity::load(&source.identity).with_context(|| {
        Fault::new(
            Cause::Usage,
            format!("{} cannot be opened: its keys are missing", source.what),
        )
        .hint("without `--seal` no key is needed")
    })?;
    let disk = folder.join("disk.qcow2");
    image::create_overlay(&disk, backing)?;
    let ports = host::ports::choose(Ports::default(), &[])?;
    let forward = Forward {
        host: ports.ssh,
        guest: 22,
    };
    let work = Work {
        machine: source.name.clone(),
        name: format!("{}-{}", source.name, Stage::Seal),
        dir: folder.to_owned(),
        disk: disk.clone(),
        from: None,
        keeps: None,
        oem_strings: without_containers(),
    };
    let target = Target::new(ports.ssh, source.user(), &identity);
    let password = source.login.is_some().then(Identity::password_of_its_own).transpose()?;
    let files = archive(&identity, password.as_ref().map(|(_, hash)| hash)).context("packing what sealing needs")?;
    booted::with_guest(
        host,
        &work,
        Stage::Seal,
        &[forward],
        &target,
        |_| false,
        |session| seal(host, &work, source, session, &files),
    )?;
    Ok((disk, password.map(|(clear, _)| clear)))
}

/// Has systemd pass the engine by, whose containers nobody needs while their disk is sealed: they take longer to start
/// than all the rest. From systemd 256 on; an older one starts them (systemd-debug-generator(8)).
fn without_containers() -> Vec<String> {
    let passed_by = |unit| {
        format!(
            "io.systemd.credential:systemd.unit-dropin.{unit}=[Unit]\nConditionPathExists=/run/provision-starts-no-containers\n"
        )
    };
    ["docker.service", "containerd.service"].map(passed_by).into()
}

fn seal(host: &Host, work: &Work, source: &Source, session: &mut Session, files: &[u8]) -> Result<()> {
    host.events.step(Stage::Seal, "removing keys, logs and caches");
    let mut log = Log::new(host, work, Stage::Seal)?;
    let mut input = files;
    let status = session.exec(
        &Exec::new(command(source.login.as_ref().map(crate::config::Login::as_str)))
            .limit(host.patience(LIMIT))
            .cancel(&host.cancel),
        Some(&mut input as &mut dyn std::io::Read),
        &mut |stream, line| log.line(stream, line),
    )?;
    if status == 0 {
        return Ok(());
    }
    let message = format!("sealing failed in the guest with exit code {status}:\n{}", log.tail());
    Err(Fault::new(Cause::Guest, message).into())
}

/// Unpacks standard input into memory and runs the script as root. A login's name is letters, digits, `_` and `-`.
fn command(login: Option<&str>) -> String {
    let unpack = "dir=$(mktemp -d /run/provision-seal.XXXXXX) && tar -x -f - -C \"$dir\" --no-same-owner && \
                  exec sh \"$dir/seal.sh\" \"$dir\"";
    match login {
        Some(login) => format!("sudo -n sh -c '{unpack} {login}'"),
        None => format!("sh -c '{unpack}'"),
    }
}

fn archive(identity: &Identity, hash: Option<&Secret>) -> Result<Vec<u8>> {
    let mut files = vec![
        ("seal.sh", SCRIPT),
        ("provision-first-boot.sh", FIRST_BOOT),
        ("provision-first-boot.service", UNIT),
        ("provision-keys@.service", KEYS_UNIT),
        ("90-provision.rules", RULES),
        ("tool-key", identity.public_key()),
    ];
    files.extend(hash.map(|hash| ("password-hash", hash.expose())));
    let mut archive = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o600);
        archive.append_data(&mut header, name, content.as_bytes())?;
    }
    Ok(archive.into_inner()?)
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::process::Command;

    use super::*;

    #[test]
    fn root_needs_no_sudo() {
        assert!(command(None).starts_with("sh -c 'dir=$(mktemp"));
        let line = command(Some("jdoe"));
        assert!(line.starts_with("sudo -n sh -c '"), "{line}");
        assert!(line.ends_with("\"$dir\" jdoe'"), "{line}");
    }

    /// What the first boot does with what is in the folder `root`: `etc` lies over this host's `/etc`, `run` over `/run`.
    fn first_boot(root: &Path) -> String {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("provision/debian/first-boot/provision-first-boot.sh");
        let mut command = Command::new("unshare");
        if !rustix::process::geteuid().is_root() {
            command.args(["--user", "--map-root-user"]);
        }
        let inside = "mount --bind \"$1/etc\" /etc && mount --bind \"$1/run\" /run && exec sh \"$2\"";
        let output = command
            .args(["--mount", "sh", "-c", inside, "sh"])
            .args([root, &script])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// A guest as `seal.sh` leaves it, as far as its first boot looks.
    fn sealed() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for folder in ["etc/ssh", "etc/provision", "run/credentials/@system"] {
            std::fs::create_dir_all(root.path().join(folder)).unwrap();
        }
        std::fs::write(root.path().join("etc/provision/login"), "root\n").unwrap();
        std::fs::write(root.path().join("etc/passwd"), "root:x:0:0::/root:/bin/sh\n").unwrap();
        root
    }

    fn host_keys(root: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(root.join("etc/ssh")).unwrap().flatten();
        let names = entries.map(|entry| entry.file_name().into_string().unwrap());
        let mut keys: Vec<_> = names.filter(|name| name.ends_with("_key")).collect();
        keys.sort();
        keys
    }

    #[test]
    fn a_sealed_machine_makes_host_keys_of_its_own_once() {
        let root = sealed();
        let said = first_boot(root.path());
        assert_eq!(said, "provision: new host keys are made\n");
        let all = ["ecdsa", "ed25519", "rsa"].map(|kind| format!("ssh_host_{kind}_key"));
        assert_eq!(host_keys(root.path()), all);
        let key = || std::fs::read(root.path().join("etc/ssh/ssh_host_ed25519_key")).unwrap();
        let first = key();
        assert_eq!(first_boot(root.path()), "");
        assert_eq!(key(), first);
    }

    #[test]
    fn a_sealed_machine_that_is_given_a_host_key_has_no_other() {
        let (root, other) = (sealed(), sealed());
        first_boot(other.path());
        let given = other.path().join("etc/ssh/ssh_host_ed25519_key");
        let credential = root.path().join("run/credentials/@system/provision.host-key");
        std::fs::copy(&given, credential).unwrap();
        assert_eq!(first_boot(root.path()), "provision: the host key is the given one\n");
        assert_eq!(host_keys(root.path()), ["ssh_host_ed25519_key"]);
        let key = std::fs::read(root.path().join("etc/ssh/ssh_host_ed25519_key")).unwrap();
        assert_eq!(key, std::fs::read(given).unwrap());
    }
}
