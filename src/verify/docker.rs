//! What Docker says of the guest's containers and volumes. It is asked over its socket: each start of its client takes
//! half a second in an emulated guest, and a question many of them.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::Context;

/// Asks the engine's API (docs.docker.com, "Docker Engine API"); the path follows.
const ASK: &str = "curl --silent --show-error --fail --unix-socket /run/docker.sock http://docker";

/// All containers that compose made: `filters={"label":["com.docker.compose.project"]}`.
const CONTAINERS: &str = "/containers/json?all=1&filters=%7B%22label%22%3A%5B%22com.docker.compose.project%22%5D%7D";

/// Volumes of any origin: those that a compose file calls `external` have none of its labels.
const VOLUMES: &str = "/volumes";

/// A container that compose made.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Container {
    pub(super) labels: Labels,
    /// `created`, `running`, `paused`, `restarting`, `removing`, `exited` or `dead`.
    pub(super) state: String,
    /// For a person: `Up 2 minutes (unhealthy)`, `Exited (137) 3 hours ago`.
    #[serde(default)]
    pub(super) status: String,
    #[serde(default)]
    pub(super) mounts: Vec<Mount>,
}

/// What compose noted on a container.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Labels {
    #[serde(rename = "com.docker.compose.project")]
    pub(super) project: String,
    #[serde(rename = "com.docker.compose.service")]
    pub(super) service: String,
    /// The compose files, separated by commas.
    #[serde(default, rename = "com.docker.compose.project.config_files")]
    pub(super) config_files: String,
    /// `True` for a container of `docker compose run`, which is no service.
    #[serde(default, rename = "com.docker.compose.oneoff")]
    pub(super) oneoff: String,
}

/// A mount.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Mount {
    /// `volume`, `bind`, `tmpfs` and others.
    pub(super) r#type: String,
    /// A volume's.
    #[serde(default)]
    pub(super) name: String,
    #[serde(default)]
    pub(super) source: String,
    pub(super) destination: String,
}

/// A volume.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Volume {
    pub(super) name: String,
    pub(super) mountpoint: String,
    #[serde(default)]
    pub(super) options: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Volumes {
    volumes: Option<Vec<Volume>>,
}

/// The containers of compose's services.
///
/// # Errors
/// When the guest cannot be asked or its answer cannot be read.
pub(super) fn containers(context: &mut Context<'_>) -> Result<Vec<Container>> {
    services(&context.ask(&format!("{ASK}'{CONTAINERS}'"))?)
}

/// All volumes.
///
/// # Errors
/// When the guest cannot be asked or its answer cannot be read.
pub(super) fn volumes(context: &mut Context<'_>) -> Result<Vec<Volume>> {
    let answer: Volumes = parse(&context.ask(&format!("{ASK}{VOLUMES}"))?)?;
    Ok(answer.volumes.unwrap_or_default())
}

/// The containers in an answer that are services.
pub(super) fn services(answer: &str) -> Result<Vec<Container>> {
    let mut containers: Vec<Container> = parse(answer)?;
    containers.retain(|container| container.labels.oneoff != "True");
    Ok(containers)
}

/// An answer's JSON.
pub(super) fn parse<T: DeserializeOwned>(answer: &str) -> Result<T> {
    serde_json::from_str(answer).with_context(|| {
        let shown: String = answer.chars().take(200).collect();
        format!("reading what Docker answered: {shown}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Docker 28's answer, less what is of no use here.
    const ANSWER: &str = r#"[{"Id":"d2763e024a10","Names":["/nginx"],"Image":"nginx:inception","Command":"nginx",
        "Created":1763641313,"Ports":[{"IP":"0.0.0.0","PrivatePort":443,"PublicPort":443,"Type":"tcp"}],
        "Labels":{"com.docker.compose.config-hash":"7d","com.docker.compose.oneoff":"False",
        "com.docker.compose.project":"inception","com.docker.compose.service":"nginx",
        "com.docker.compose.project.config_files":"/home/alice/inception/srcs/docker-compose.yml"},
        "State":"running","Status":"Up 2 minutes (healthy)","HostConfig":{"NetworkMode":"inception_inception"},
        "Mounts":[{"Type":"volume","Name":"inception_wordpress","Source":"","Destination":"/var/www/html",
        "Driver":"local","Mode":"z","RW":false,"Propagation":""}]},
        {"Id":"e1","Names":["/inception-wordpress-run-1"],"State":"exited","Status":"Exited (0) 1 minute ago",
        "Labels":{"com.docker.compose.oneoff":"True","com.docker.compose.project":"inception",
        "com.docker.compose.service":"wordpress"},"Mounts":[]}]"#;

    #[test]
    fn containers_of_services_are_read() {
        let containers = services(ANSWER).unwrap();
        let [nginx] = containers.as_slice() else {
            panic!("{containers:?}")
        };
        assert_eq!(
            (nginx.labels.service.as_str(), nginx.state.as_str()),
            ("nginx", "running")
        );
        assert_eq!(nginx.mounts[0].name, "inception_wordpress");
    }

    #[test]
    fn a_guest_without_volumes_has_none() {
        let none: Volumes = parse(r#"{"Volumes":null,"Warnings":null}"#).unwrap();
        assert!(none.volumes.is_none());
    }

    #[test]
    fn another_answer_is_quoted() {
        let error = services("permission denied").unwrap_err();
        assert!(format!("{error:#}").contains("permission denied"));
    }
}
