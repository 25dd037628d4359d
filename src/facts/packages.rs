//! Which packages a guest has and where each came from, as dpkg and apt tell it.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::event::Stage;
use crate::ssh::{self, Exec, Session};

/// What dpkg is asked: `${Package}` is without an architecture, as apt's preferences want it.
const INSTALLED: &str =
    "dpkg-query --show --showformat='${db:Status-Abbrev}\\t${Package}\\t${Architecture}\\t${Version}\\n'";

/// apt is asked with the settings of the stage that installed, where it had some of its own.
const POLICY: &str =
    "if [ -e /run/provision-apt.conf ]; then export APT_CONFIG=/run/provision-apt.conf; fi; apt-cache policy ";

/// A package in the guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Package {
    /// Its name; behind a colon the architecture, if that is not the guest's own.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The stage that installed this version.
    pub stage: Stage,
    /// Where it came from.
    pub source: Source,
}

/// Where a package came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The ISO.
    Iso,
    /// A repository that apt read, and whose signature it checked.
    Archive {
        /// Its address, without a user's name and password.
        address: String,
        /// Suite and component: `trixie/main`.
        suite: String,
    },
    /// No repository that apt knows has this version.
    Unknown,
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Iso => f.pad("the ISO"),
            Self::Archive { address, suite } => write!(f, "{address} {suite}"),
            Self::Unknown => f.pad("unknown"),
        }
    }
}

/// Versions by name.
pub type Versions = BTreeMap<String, String>;

/// The packages that are installed now. `exec` makes a command with the caller's limits.
///
/// # Errors
/// When the guest cannot be asked or its answer cannot be read.
pub fn installed<'a>(session: &mut Session, exec: impl Fn(String) -> Exec<'a>) -> Result<Versions> {
    let said = session.read(&exec(INSTALLED.to_owned()))?;
    parse_installed(&said).context("reading what dpkg has installed")
}

/// The packages that are installed now, of which `before` came from the ISO.
///
/// # Errors
/// When the guest cannot be asked or its answer cannot be read.
pub fn ask<'a>(session: &mut Session, before: &Versions, exec: impl Fn(String) -> Exec<'a>) -> Result<Vec<Package>> {
    let now = installed(session, &exec)?;
    let new: Vec<&str> = now
        .iter()
        .filter(|(name, version)| before.get(*name) != Some(version))
        .map(|(name, _)| name.as_str())
        .collect();
    let policy = if new.is_empty() {
        String::new()
    } else {
        session.read(&exec(format!("{POLICY}{}", ssh::quote(&new)?)))?
    };
    Ok(joined(before, now, &parse_policy(&policy)))
}

/// What was `before` came from the ISO, the rest from where apt says.
fn joined(before: &Versions, now: Versions, sources: &BTreeMap<String, Source>) -> Vec<Package> {
    let package = |(name, version): (String, String)| {
        let is_old = before.get(&name) == Some(&version);
        let (stage, source) = if is_old {
            (Stage::Install, Source::Iso)
        } else {
            let source = sources.get(&name).cloned();
            (Stage::Docker, source.unwrap_or(Source::Unknown))
        };
        Package {
            name,
            version,
            stage,
            source,
        }
    };
    now.into_iter().map(package).collect()
}

/// dpkg's answer to [`INSTALLED`].
fn parse_installed(said: &str) -> Result<Versions> {
    let mut found = Vec::new();
    for line in said.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        let [status, name, arch, version] = fields[..] else {
            anyhow::bail!("dpkg-query printed {line:?}");
        };
        // Wanted or held, installed, without an error: dpkg-query(1).
        if matches!(status.as_bytes(), [b'i' | b'h', b'i', b' ']) {
            found.push((name, arch, version));
        }
    }
    let own = found
        .iter()
        .find(|(name, ..)| *name == "dpkg")
        .map(|(_, arch, _)| *arch);
    let named = |(name, arch, version): (&str, &str, &str)| {
        let is_own = arch == "all" || own.is_none_or(|own| own == arch);
        let name = if is_own {
            name.to_owned()
        } else {
            format!("{name}:{arch}")
        };
        (name, version.to_owned())
    };
    Ok(found.into_iter().map(named).collect())
}

/// The answer of `apt-cache policy`: for each package the first repository that has the installed version, which is marked
/// by three stars.
fn parse_policy(said: &str) -> BTreeMap<String, Source> {
    let mut sources = BTreeMap::new();
    let (mut package, mut is_installed) = ("", false);
    for line in said.lines() {
        if !line.starts_with(' ') {
            package = line.trim_end().trim_end_matches(':');
            is_installed = false;
        } else if !line.starts_with("        ") {
            is_installed = line.trim_start().starts_with("*** ");
        } else if is_installed && !sources.contains_key(package) {
            // "500 http://deb.example.org/debian trixie/main amd64 Packages"
            let words: Vec<&str> = line.split_whitespace().collect();
            if let [_, address, suite, _, "Packages"] = words[..] {
                let source = Source::Archive {
                    address: bare(address),
                    suite: suite.to_owned(),
                };
                sources.insert(package.to_owned(), source);
            }
        }
    }
    sources
}

/// An address without what may be a password.
fn bare(address: &str) -> String {
    let Some((scheme, rest)) = address.split_once("://") else {
        return address.to_owned();
    };
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let host = host.rsplit('@').next().unwrap_or_default();
    format!("{scheme}://{host}/{path}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// dpkg 1.22 of Debian 13, shortened.
    const DPKG: &str = "ii \tadduser\tall\t3.152\n\
        ii \tbase-files\tamd64\t13.8+deb13u1\n\
        rc \tlinux-image-6.12.41+deb13-amd64\tamd64\t6.12.41-1\n\
        ii \tdpkg\tamd64\t1.22.21\n\
        hi \tdocker.io\tamd64\t26.1.5+dfsg1-9+b7\n\
        iU \thalf\tamd64\t1\n\
        ii \tlibc6\tamd64\t2.41-12\n\
        ii \tlibc6\ti386\t2.41-12\n\
        ii \tlibstdc++6\tamd64\t14.2.0-19\n";

    /// apt 3.0 of Debian 13, with another mirror.
    const POLICY: &str = "docker.io:\n  Installed: 26.1.5+dfsg1-9+b7\n  Candidate: 26.1.5+dfsg1-9+b7\n  Version table:\n \
        *** 26.1.5+dfsg1-9+b7 500\n        500 http://u:p@ss@deb.example.org/debian trixie/main amd64 Packages\n        \
        100 /var/lib/dpkg/status\nlibc6:\n  Installed: 2.41-12\n  Candidate: 2.41-12+deb13u1\n  Version table:\n     \
        2.41-12+deb13u1 500\n        500 http://deb.example.org/debian trixie/main amd64 Packages\n \
        *** 2.41-12 500\n        500 http://deb.example.org/debian-security trixie-security/main amd64 Packages\n        \
        500 http://deb.example.org/debian trixie/main amd64 Packages\n        \
        100 /var/lib/dpkg/status\nown:\n  Installed: 1\n  Candidate: 1\n  Version table:\n *** 1 100\n        \
        100 /var/lib/dpkg/status\n";

    #[test]
    fn only_what_is_wholly_installed_counts() {
        let versions = parse_installed(DPKG).unwrap();
        let names: Vec<&str> = versions.keys().map(String::as_str).collect();
        let wanted = [
            "adduser",
            "base-files",
            "docker.io",
            "dpkg",
            "libc6",
            "libc6:i386",
            "libstdc++6",
        ];
        assert_eq!(names, wanted);
        assert_eq!(versions["docker.io"], "26.1.5+dfsg1-9+b7");
        assert!(parse_installed("dpkg-query: error\n").is_err());
    }

    #[test]
    fn the_repository_of_the_installed_version_is_the_source() {
        let sources = parse_policy(POLICY);
        let archive = |address: &str, suite: &str| Source::Archive {
            address: address.to_owned(),
            suite: suite.to_owned(),
        };
        assert_eq!(
            sources,
            BTreeMap::from([
                (
                    "docker.io".to_owned(),
                    archive("http://deb.example.org/debian", "trixie/main")
                ),
                (
                    "libc6".to_owned(),
                    archive("http://deb.example.org/debian-security", "trixie-security/main")
                ),
            ])
        );
    }

    #[test]
    fn what_was_there_before_came_from_the_iso() {
        let versions = |pairs: &[(&str, &str)]| -> Versions {
            pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect()
        };
        let before = versions(&[("adduser", "3.152"), ("libc6", "2.40")]);
        let now = versions(&[
            ("adduser", "3.152"),
            ("libc6", "2.41-12"),
            ("docker.io", "26.1.5+dfsg1-9+b7"),
            ("own", "1"),
        ]);
        let packages = joined(&before, now, &parse_policy(POLICY));
        let shown: Vec<String> = packages
            .iter()
            .map(|p| format!("{} {} {}: {}", p.name, p.version, p.stage, p.source))
            .collect();
        assert_eq!(
            shown,
            [
                "adduser 3.152 install: the ISO",
                "docker.io 26.1.5+dfsg1-9+b7 docker: http://deb.example.org/debian trixie/main",
                "libc6 2.41-12 docker: http://deb.example.org/debian-security trixie-security/main",
                "own 1 docker: unknown",
            ]
        );
    }
}
