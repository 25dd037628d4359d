//! Installs Docker's engine and compose into the installed guest, over SSH as root.

use anyhow::{Context as _, Result};
use hmac::Mac as _;

use super::booted::{self, Script};
use super::{Host, Work, led};
use crate::config::{Docker, DockerSource, Network, Proxy};
use crate::event::Stage;
use crate::facts::{Facts, packages};
use crate::fault::{Cause, Fault};
use crate::guest::Definition;
use crate::identity::keyed_hash;
use crate::key::{Inputs, digest};
use crate::machine::Forward;
use crate::pins::Packages;
use crate::ssh::{Exec, Target};

const SCRIPT: &str = include_str!("../../provision/debian/docker.sh");

/// What is installed and how it reaches the network.
#[derive(Debug, Clone)]
pub struct Input {
    args: Vec<String>,
    proxy: Option<Proxy>,
    /// The packages of which alone it may consist.
    packages: Option<Packages>,
}

impl Input {
    /// The arguments that follow from the configuration.
    ///
    /// # Errors
    /// A [`Cause::Config`] fault when the guest does not work with the source of packages, or has no repository of
    /// Docker's own.
    pub fn new(docker: &Docker, network: &Network, guest: &Definition) -> Result<Self> {
        let mut args = Vec::new();
        let mut option = |name: &str, value: &str| args.extend([name.to_owned(), value.to_owned()]);
        match guest.docker_source(docker)? {
            DockerSource::Debian => option("--source", "debian"),
            DockerSource::DockerCe => {
                let repository = guest.docker_ce.as_ref().with_context(|| {
                    Fault::new(Cause::Config, "this guest definition names no Docker repository")
                        .hint("leave `source` at \"debian\", or add a [docker_ce] table to the definition")
                })?;
                option("--source", "docker-ce");
                option("--repository", &repository.url);
                option("--key-url", &repository.key_url);
                option("--key-fingerprint", &repository.key_fingerprint);
            }
        }
        if let Some(mirror) = &docker.registry_mirror {
            option("--registry-mirror", mirror);
        }
        if network.http_proxy.is_some() {
            option("--http-proxy", "-");
        }
        for server in &network.dns {
            option("--dns", &server.to_string());
        }
        let proxy = network.http_proxy.clone();
        Ok(Self {
            args,
            proxy,
            packages: None,
        })
    }

    /// The same, of nothing but these packages.
    #[must_use]
    pub fn locked(mut self, packages: Packages) -> Self {
        self.packages = Some(packages);
        self
    }

    /// The packages that are pinned.
    pub const fn pins(&self) -> Option<&Packages> {
        self.packages.as_ref()
    }

    /// What the stage reads, for its key. The proxy's address may hold a password: a hash keyed by `secret` stands for
    /// it.
    pub fn inputs(&self, secret: &[u8; 32]) -> Inputs {
        let mut inputs = Inputs::from([
            ("docker.sh".to_owned(), digest(SCRIPT.as_bytes())),
            ("docker settings".to_owned(), self.args.join(" ")),
        ]);
        if let Some(proxy) = &self.proxy {
            let mut hash = keyed_hash(secret);
            hash.update(proxy.expose().as_bytes());
            inputs.insert("http proxy".to_owned(), hex::encode(hash.finalize().into_bytes()));
        }
        inputs
    }

    /// What tells which packages are fetched: less than all that is in the key.
    pub fn packages(&self) -> String {
        let options = self.args.chunks_exact(2);
        let wanted = options.filter(|option| matches!(option[0].as_str(), "--source" | "--repository" | "--key-url"));
        let pins = self.packages.iter().flat_map(Packages::args);
        wanted
            .flatten()
            .cloned()
            .chain(pins)
            .fold(digest(SCRIPT.as_bytes()), |text, word| format!("{text} {word}"))
    }

    /// What the script reads from its standard input.
    fn stdin(&self) -> Vec<u8> {
        let proxy = self.proxy.as_ref().map(|proxy| format!("{}\n", proxy.expose()));
        proxy.unwrap_or_default().into_bytes()
    }
}

/// How long, on a real machine, dpkg and apt may take to tell what they know.
const ASK: u64 = 60;

/// Runs the stage on the disk of `work`, and tells which packages the guest has then.
///
/// # Errors
/// When the guest does not come up, the script fails, or the packages are not those that are pinned.
pub fn run(host: &Host, work: &Work, forwards: &[Forward], root: &Target, input: &Input) -> Result<Facts> {
    let ask = |command: String| Exec::new(command).limit(host.patience(ASK)).cancel(&host.cancel);
    let pins = input.packages.as_ref();
    let args: Vec<String> = input
        .args
        .iter()
        .cloned()
        .chain(pins.into_iter().flat_map(Packages::args))
        .collect();
    booted::with_guest(
        host,
        work,
        Stage::Docker,
        forwards,
        root,
        |_| false,
        |session| {
            let medium = packages::installed(session, ask)?;
            host.events.step(Stage::Docker, "installing Docker");
            let script = Script {
                name: "docker.sh",
                text: SCRIPT,
                args: &args,
                input: &input.stdin(),
            };
            led::around(host, Stage::Docker, session, led::Engine::None, |session| {
                booted::run_script(host, work, Stage::Docker, session, &script)
            })?;
            host.events.step(Stage::Docker, "noting down the packages");
            let packages = packages::ask(session, &medium, ask)?;
            pins.map_or(Ok(()), |pins| pins.require(&packages))?;
            Ok(Facts {
                packages,
                ..Facts::default()
            })
        },
    )
}

#[cfg(test)]
mod pinned;

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::Path;
    use std::process::{Command, Output, Stdio};

    use super::*;

    fn guest() -> Definition {
        Definition::find("debian-13", None).unwrap()
    }

    #[test]
    fn settings_become_arguments() {
        let network = Network {
            http_proxy: Some(Proxy::new("http://user:hidden@10.0.2.2:3128".into())),
            dns: vec!["9.9.9.9".parse().unwrap(), "1.1.1.1".parse().unwrap()],
            ..Network::default()
        };
        let docker = Docker {
            source: None,
            registry_mirror: Some("http://10.0.2.2:5000".into()),
        };
        let input = Input::new(&docker, &network, &guest()).unwrap();
        assert_eq!(
            input.args.join(" "),
            "--source debian --registry-mirror http://10.0.2.2:5000 \
             --http-proxy - --dns 9.9.9.9 --dns 1.1.1.1"
        );
        assert_eq!(input.stdin(), b"http://user:hidden@10.0.2.2:3128\n");
        let inputs = input.inputs(&[1; 32]);
        assert!(!format!("{input:?} {inputs:?}").contains("hidden"));
        assert_ne!(inputs, input.inputs(&[2; 32]), "the hash is keyed");
        let other = Network {
            http_proxy: Some(Proxy::new("http://user:other@10.0.2.2:3128".into())),
            ..network
        };
        let other = Input::new(&docker, &other, &guest()).unwrap();
        assert_ne!(inputs, other.inputs(&[1; 32]), "another password is another proxy");
    }

    #[test]
    fn pinned_packages_are_others_than_those_of_today() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("provision.lock");
        let network = Network {
            snapshot_mirror: Some("http://snapshot.test/archive".into()),
            ..Network::default()
        };
        let input = Input::new(&Docker::default(), &network, &guest()).unwrap();
        let mut seen = std::collections::BTreeSet::from([input.packages()]);
        for (time, version) in [
            ("20260801T093000Z", "1"),
            ("20260802T093000Z", "1"),
            ("20260801T093000Z", "2"),
        ] {
            let text = format!(
                "version = 1\nsnapshot = \"{time}\"\n[iso]\nname = \"a.iso\"\ndigest = \"sha512:{}\"\n\
                 [packages.install]\n[packages.docker]\n\"docker.io\" = \"{version}\"\n[images]\n",
                "0".repeat(128)
            );
            std::fs::write(&file, text).unwrap();
            let lock = crate::pins::Lock::read(&file).unwrap();
            let pins = lock.packages(&network, &guest()).unwrap();
            seen.insert(input.clone().locked(pins).packages());
        }
        assert_eq!(seen.len(), 4, "{seen:?}");
    }

    /// Runs a function of the script, below `root` instead of `/`.
    fn run_function(root: &Path, function: &str, args: &str, stdin: &str) -> Output {
        let (functions, _) = SCRIPT.split_once("\nconfigure_resolver\nconfigure_proxy\n").unwrap();
        let below = |folder| format!("{}{folder}", root.display());
        let script = functions
            .replace("/etc/", &below("/etc/"))
            .replace("/root ", &below("/root "));
        let mut child = Command::new("sh")
            .args(["-c", &format!("{script}\n{function}\n"), "docker.sh"])
            .args(args.split(' '))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // One that refuses its arguments reads nothing.
        let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
        child.wait_with_output().unwrap()
    }

    #[test]
    fn the_guest_takes_a_proxy_with_any_password_and_shows_none() {
        let root = tempfile::tempdir().unwrap();
        for folder in ["etc/apt/apt.conf.d", "root"] {
            std::fs::create_dir_all(root.path().join(folder)).unwrap();
        }
        let proxy = "http://user:p!w&h%40;*~(x)@10.0.2.2:3128";
        let output = run_function(root.path(), "configure_proxy", "--http-proxy -", &format!("{proxy}\n"));
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(
            output.status.success() && said == "docker: proxy: 10.0.2.2:3128\n",
            "{said}"
        );
        let read = |path: &str| std::fs::read_to_string(root.path().join(path)).unwrap();
        assert!(read("etc/apt/apt.conf.d/90proxy").contains(&format!("Acquire::https::Proxy \"{proxy}\";")));
        assert!(read("etc/docker/proxy").contains(&format!("\nHTTPS_PROXY={proxy}\n")));
        let unit = read("etc/systemd/system/docker.service.d/proxy.conf");
        assert!(unit.contains("EnvironmentFile=") && !unit.contains("user"), "{unit}");
        let config: serde_json::Value = serde_json::from_str(&read("root/.docker/config.json")).unwrap();
        assert_eq!(config["proxies"]["default"]["httpProxy"], proxy);
        for file in [
            "etc/apt/apt.conf.d/90proxy",
            "etc/docker/proxy",
            "root/.docker/config.json",
        ] {
            let mode = std::fs::metadata(root.path().join(file)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{file}");
        }
        for (args, wrong) in [
            ("--http-proxy -", "http://user:hid\"den@proxy\n"),
            ("--http-proxy -", "http://user:hid den@proxy\n"),
            ("--http-proxy -", "http://user:hid\\den@proxy\n"),
            ("--http-proxy -", "http://user:hid$den@proxy\n"),
            ("--http-proxy -", ""),
            ("--http-proxy http://proxy", ""),
        ] {
            let output = run_function(root.path(), "true", args, wrong);
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(!output.status.success() && said.contains("--http-proxy"), "{said}");
            assert!(!said.contains("hid"), "{said}");
        }
    }

    #[test]
    fn docker_ce_needs_a_repository() {
        let docker = Docker {
            source: Some(DockerSource::DockerCe),
            registry_mirror: None,
        };
        let mut guest = guest();
        guest.docker_ce = None;
        let error = Input::new(&docker, &Network::default(), &guest).unwrap_err();
        assert_eq!(Fault::of(&error).unwrap().cause, Cause::Config);
    }
}
