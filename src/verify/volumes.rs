//! Where the project's data lies on the guest's disk.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use anyhow::Result;
use serde::Deserialize;

use super::containers::parse;
use super::{Context, Verdict};
use crate::config::Login;

/// The database and the site's files.
const AT_LEAST: usize = 2;

/// Compose labels the volumes that a compose file names.
const COMMAND: &str =
    "docker volume ls --quiet --filter label=com.docker.compose.project | xargs -r docker volume inspect";

/// A volume as `docker volume inspect` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Volume {
    name: String,
    mountpoint: String,
    #[serde(default)]
    options: Option<BTreeMap<String, String>>,
}

/// Whether the compose projects' named volumes, at least two, lie under `/home/LOGIN/data`. Further ones may lie
/// elsewhere.
///
/// # Errors
/// When the guest cannot be asked or its answer cannot be read.
pub(super) fn check(context: &mut Context<'_>) -> Result<Verdict> {
    let volumes = parse(&context.ask(COMMAND)?)?;
    Ok(judge(&volumes, context.login))
}

fn judge(volumes: &[Volume], login: &Login) -> Verdict {
    let data = PathBuf::from(format!("/home/{login}/data"));
    let (inside, outside): (Vec<&Volume>, Vec<&Volume>) =
        volumes.iter().partition(|volume| volume.place().starts_with(&data));
    let list = |volumes: &[&Volume]| {
        let shown = volumes
            .iter()
            .map(|volume| format!("{} in {}", volume.name, volume.place().display()));
        shown.collect::<Vec<_>>().join(", ")
    };
    if inside.len() >= AT_LEAST {
        return Verdict::Holds(list(&inside));
    }
    let all = [inside, outside].concat();
    Verdict::Broken(if all.is_empty() {
        "compose has made no named volume".into()
    } else {
        list(&all)
    })
}

impl Volume {
    /// The folder that holds the data: what the driver binds, if it binds something.
    fn place(&self) -> PathBuf {
        let device = self.options.as_ref().and_then(|options| options.get("device"));
        plain(Path::new(device.unwrap_or(&self.mountpoint)))
    }
}

/// The path without `.` and `..`.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => {
                plain.pop();
            }
            Component::CurDir => {}
            other => plain.push(other),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::testing::login;

    fn volume(name: &str, device: Option<&str>) -> String {
        let options = device.map_or_else(
            || "null".to_owned(),
            |device| format!(r#"{{"device": "{device}", "o": "bind", "type": "none"}}"#),
        );
        format!(
            r#"{{"CreatedAt": "2025-11-20T12:00:00Z", "Driver": "local",
                 "Labels": {{"com.docker.compose.project": "srcs", "com.docker.compose.volume": "{name}"}},
                 "Mountpoint": "/var/lib/docker/volumes/srcs_{name}/_data",
                 "Name": "srcs_{name}", "Options": {options}, "Scope": "local"}}"#
        )
    }

    fn verdict(volumes: &[String]) -> Verdict {
        judge(&parse(&format!("[{}]", volumes.join(","))).unwrap(), &login())
    }

    #[test]
    fn two_volumes_must_lie_in_the_data_folder() {
        let db = volume("db", Some("/home/alice/data/db"));
        let wp = volume("wp", Some("/home/alice/inception/../data/./wp"));
        let cache = volume("cache", None);
        let other = volume("wp", Some("/home/alice/database"));
        let both = "srcs_db in /home/alice/data/db, srcs_wp in /home/alice/data/wp";
        let table: [(&[&String], Verdict); 5] = [
            (&[&db, &wp], Verdict::Holds(both.into())),
            (&[&db, &cache, &wp], Verdict::Holds(both.into())),
            (
                &[&cache, &db],
                Verdict::Broken(
                    "srcs_db in /home/alice/data/db, srcs_cache in /var/lib/docker/volumes/srcs_cache/_data".into(),
                ),
            ),
            (
                &[&other, &db],
                Verdict::Broken("srcs_db in /home/alice/data/db, srcs_wp in /home/alice/database".into()),
            ),
            (&[], Verdict::Broken("compose has made no named volume".into())),
        ];
        for (volumes, expected) in table {
            let volumes: Vec<String> = volumes.iter().map(|&volume| volume.clone()).collect();
            assert_eq!(verdict(&volumes), expected);
        }
    }

    #[test]
    fn no_answer_is_no_volume() {
        let none = judge(&parse("").unwrap(), &login());
        assert_eq!(none, Verdict::Broken("compose has made no named volume".into()));
    }
}
