//! Installs Docker's engine and compose into the installed guest, over SSH as root.

use anyhow::{Context as _, Result};

use super::booted::{self, Script};
use super::{Host, Work};
use crate::config::{Docker, DockerSource, Network};
use crate::event::Stage;
use crate::fault::{Cause, Fault};
use crate::guest::Definition;
use crate::key::{Inputs, digest};
use crate::machine::Forward;
use crate::ssh::Target;

const SCRIPT: &str = include_str!("../../provision/debian/docker.sh");

/// What is installed and how it reaches the network.
#[derive(Debug, Clone)]
pub struct Input {
    args: Vec<String>,
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
        if let Some(proxy) = &network.http_proxy {
            option("--http-proxy", proxy);
        }
        for server in &network.dns {
            option("--dns", &server.to_string());
        }
        Ok(Self { args })
    }

    /// What the stage reads, for its key.
    pub fn inputs(&self) -> Inputs {
        Inputs::from([
            ("docker.sh".to_owned(), digest(SCRIPT.as_bytes())),
            ("docker settings".to_owned(), self.args.join(" ")),
        ])
    }
}

/// Runs the stage on the disk of `work`.
///
/// # Errors
/// When the guest does not come up or the script fails.
pub fn run(host: &Host, work: &Work, forwards: &[Forward], root: &Target, input: &Input) -> Result<()> {
    booted::with_guest(
        host,
        work,
        Stage::Docker,
        forwards,
        root,
        |_| false,
        |session| {
            host.events.step(Stage::Docker, "installing Docker");
            let script = Script {
                name: "docker.sh",
                text: SCRIPT,
                args: &input.args,
                input: &[],
            };
            booted::run_script(host, work, Stage::Docker, session, &script)
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guest() -> Definition {
        Definition::find("debian-13", None).unwrap()
    }

    #[test]
    fn settings_become_arguments() {
        let network = Network {
            http_proxy: Some("http://10.0.2.2:3128".into()),
            dns: vec!["9.9.9.9".parse().unwrap(), "1.1.1.1".parse().unwrap()],
            debian_mirror: None,
        };
        let docker = Docker {
            source: None,
            registry_mirror: Some("http://10.0.2.2:5000".into()),
        };
        let input = Input::new(&docker, &network, &guest()).unwrap();
        assert_eq!(
            input.args.join(" "),
            "--source debian --registry-mirror http://10.0.2.2:5000 \
             --http-proxy http://10.0.2.2:3128 --dns 9.9.9.9 --dns 1.1.1.1"
        );
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
