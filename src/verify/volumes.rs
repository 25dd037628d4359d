//! Where the project's data lies on the guest's disk.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use anyhow::Result;

use super::docker::{self, Container, Mount, Volume};
use super::{Context, Verdict};
use crate::config::Login;

/// The database and the site's files.
const AT_LEAST: usize = 2;

/// Whether what the compose projects' containers mount lies, in at least two folders, under `/home/LOGIN/data`: as
/// named volumes, or as folders that the services bind, which older subjects allow. Further ones may lie elsewhere.
///
/// # Errors
/// When the guest cannot be asked or its answer cannot be read.
pub(super) fn check(context: &mut Context<'_>) -> Result<Verdict> {
    let containers = docker::containers(context)?;
    let volumes = docker::volumes(context)?;
    Ok(judge(&containers, &volumes, context.login))
}

fn judge(containers: &[Container], volumes: &[Volume], login: &Login) -> Verdict {
    let data = PathBuf::from(format!("/home/{login}/data"));
    let mut inside = BTreeMap::new();
    let mut outside = BTreeMap::new();
    for container in containers {
        for mount in &container.mounts {
            let Some(place) = mount.place(volumes) else { continue };
            if place.starts_with(&data) {
                inside.entry(place).or_insert_with(|| mount.shown(container));
            } else if mount.is_volume() {
                // Folders of the project that are bound from elsewhere, sockets and secrets are no data.
                outside.entry(place).or_insert_with(|| mount.shown(container));
            }
        }
    }
    if inside.len() >= AT_LEAST {
        return Verdict::Holds(list(&inside));
    }
    inside.append(&mut outside);
    Verdict::Broken(if inside.is_empty() {
        "the containers mount no volume".into()
    } else {
        list(&inside)
    })
}

fn list(mounts: &BTreeMap<PathBuf, String>) -> String {
    let shown = mounts
        .iter()
        .map(|(place, name)| format!("{name} in {}", place.display()));
    shown.collect::<Vec<_>>().join(", ")
}

impl Mount {
    fn is_volume(&self) -> bool {
        self.r#type == "volume"
    }

    /// The folder on the guest's disk that holds the data, if it is one.
    fn place(&self, volumes: &[Volume]) -> Option<PathBuf> {
        match self.r#type.as_str() {
            "volume" => {
                let volume = volumes.iter().find(|volume| volume.name == self.name);
                Some(volume.map_or_else(|| plain(Path::new(&self.source)), Volume::place))
            }
            "bind" => Some(plain(Path::new(&self.source))),
            _ => None,
        }
    }

    fn shown(&self, container: &Container) -> String {
        if self.is_volume() {
            self.name.clone()
        } else {
            format!("{} of {}", self.destination, container.labels.service)
        }
    }
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

    fn container(service: &str, mounts: &[String]) -> String {
        format!(
            r#"{{"Labels":{{"com.docker.compose.project":"srcs","com.docker.compose.service":"{service}"}},
                "State":"running","Status":"Up 2 minutes","Mounts":[{}]}}"#,
            mounts.join(",")
        )
    }

    fn volume(name: &str) -> String {
        format!(
            r#"{{"Type":"volume","Name":"srcs_{name}","Source":"/var/lib/docker/volumes/srcs_{name}/_data","Destination":"/var/lib/{name}","Driver":"local","Mode":"z","RW":true,"Propagation":""}}"#
        )
    }

    fn bind(source: &str) -> String {
        format!(
            r#"{{"Type":"bind","Source":"{source}","Destination":"/data","Mode":"rw","RW":true,"Propagation":"rprivate"}}"#
        )
    }

    const TMPFS: &str = r#"{"Type":"tmpfs","Source":"","Destination":"/run","Mode":"","RW":true,"Propagation":""}"#;

    /// What the engine says of a volume that compose made, or (without labels) of an external one.
    fn made(name: &str, device: Option<&str>) -> String {
        let options = device.map_or_else(
            || "null".to_owned(),
            |device| format!(r#"{{"device": "{device}", "o": "bind", "type": "none"}}"#),
        );
        format!(
            r#"{{"CreatedAt": "2025-11-20T12:00:00Z", "Driver": "local", "Labels": null,
                 "Mountpoint": "/var/lib/docker/volumes/srcs_{name}/_data",
                 "Name": "srcs_{name}", "Options": {options}, "Scope": "local"}}"#
        )
    }

    fn verdict(containers: &[String], volumes: &[String]) -> Verdict {
        let volumes = format!("[{}]", volumes.join(","));
        let containers = docker::services(&format!("[{}]", containers.join(","))).unwrap();
        judge(&containers, &docker::parse::<Vec<Volume>>(&volumes).unwrap(), &login())
    }

    #[test]
    fn what_containers_mount_must_lie_in_the_data_folder() {
        let db = made("db", Some("/home/alice/data/db"));
        let wp = made("wp", Some("/home/alice/inception/../data/./wp"));
        let cache = made("cache", None);
        let all = [db, wp, cache];
        let both = "srcs_db in /home/alice/data/db, srcs_wp in /home/alice/data/wp";
        let mariadb = container("mariadb", &[volume("db"), TMPFS.to_owned()]);
        let wordpress = container("wordpress", &[volume("wp"), bind("/home/alice/inception/secrets/db")]);
        let nginx = container("nginx", &[volume("wp")]);
        let redis = container("redis", &[volume("cache")]);
        let three = [mariadb.clone(), wordpress.clone(), nginx.clone(), redis.clone()];
        assert_eq!(verdict(&three, &all), Verdict::Holds(both.into()));
        // One volume in two containers is one.
        assert_eq!(
            verdict(&[wordpress, nginx], &all),
            Verdict::Broken("srcs_wp in /home/alice/data/wp".into())
        );
        assert_eq!(
            verdict(&[mariadb.clone(), redis], &all),
            Verdict::Broken(
                "srcs_db in /home/alice/data/db, srcs_cache in /var/lib/docker/volumes/srcs_cache/_data".into()
            )
        );
        // A volume that is there but not mounted keeps nothing.
        assert_eq!(
            verdict(&[mariadb], &all),
            Verdict::Broken("srcs_db in /home/alice/data/db".into())
        );
    }

    #[test]
    fn folders_that_services_bind_count_too() {
        let mariadb = container("mariadb", &[bind("/home/alice/data/db")]);
        let wordpress = container("wordpress", &[bind("/home/alice/data/wp/"), bind("/etc/hosts")]);
        assert_eq!(
            verdict(&[mariadb.clone(), wordpress], &[]),
            Verdict::Holds("/data of mariadb in /home/alice/data/db, /data of wordpress in /home/alice/data/wp".into())
        );
        let elsewhere = container("wordpress", &[bind("/home/alice/database")]);
        assert_eq!(
            verdict(&[mariadb, elsewhere], &[]),
            Verdict::Broken("/data of mariadb in /home/alice/data/db".into())
        );
    }

    #[test]
    fn no_answer_is_no_volume() {
        let none = Verdict::Broken("the containers mount no volume".into());
        assert_eq!(judge(&[], &[], &login()), none);
        assert_eq!(verdict(&[container("web", &[TMPFS.to_owned()])], &[]), none);
    }
}
