//! The `[iso]` table of a guest definition, and which of a mirror's files it means.

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::digest::{Digest, Sum};
use crate::fault::{Cause, Fault};

/// Where a guest's ISO is published and how it is verified: the `[iso]` table of `vm/*.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// Addresses of folders, each ending in `/`, that hold the current point release; tried in order.
    pub directories: Vec<String>,
    /// The address of the folder that keeps a point release for ever, with `{version}` in it.
    pub archive: Option<String>,
    /// The ISO's file name with one `*` where the point release stands: `debian-13.*-amd64-netinst.iso`.
    pub file: String,
    /// The name of the checksum file in the same folder.
    pub sums: String,
    /// The name of its detached, armoured signature.
    pub signature: String,
    /// The file name of the armoured public key.
    pub key: String,
}

/// A file on a mirror, chosen by a [`Release`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen {
    /// Its name.
    pub name: String,
    /// Its version: the digits and dots around the `*`.
    pub version: String,
    /// What it must hash to.
    pub digest: Digest,
}

impl Release {
    /// The newest file among `sums` whose name fits.
    ///
    /// # Errors
    /// When none fits, or the pattern is not one plain file name with at most one `*`.
    pub fn choose(&self, sums: &[Sum]) -> Result<Chosen> {
        let (before, after) = self.pattern();
        if self.file.contains('/') || after.contains('*') {
            let message = format!("{:?} is no file name with one `*`", self.file);
            return Err(Fault::new(Cause::Config, message).into());
        }
        let fitting = sums.iter().filter_map(|sum| {
            let version = self.version_of(&sum.name, before, after)?;
            Some(Chosen {
                name: sum.name.clone(),
                version,
                digest: sum.digest.clone(),
            })
        });
        let newest = fitting.max_by_key(|chosen| numbers(&chosen.version));
        newest.ok_or_else(|| {
            let message = format!("{} names no file {}", self.sums, self.file);
            Fault::new(Cause::Network, message)
                .hint("is `file` of the guest definition still right? `--iso PATH` uses a file you have")
                .into()
        })
    }

    /// The version of the file `name`, if it is one of this release.
    pub fn version(&self, name: &str) -> Option<String> {
        let (before, after) = self.pattern();
        self.version_of(name, before, after)
    }

    /// What stands before and behind the `*`.
    fn pattern(&self) -> (&str, &str) {
        self.file.split_once('*').unwrap_or((&self.file, ""))
    }

    fn version_of(&self, name: &str, before: &str, after: &str) -> Option<String> {
        if !self.file.contains('*') {
            return (name == self.file).then(|| first_numbers(name));
        }
        let starred = name.strip_prefix(before)?.strip_suffix(after)?;
        if starred.is_empty() || !starred.bytes().all(is_numeric) {
            return None;
        }
        let lead = before.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
        let tail = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
        let end = before.len() + starred.len() + tail;
        Some(name.get(lead.len()..end)?.to_owned())
    }

    /// The address of the folder that keeps `version` for ever.
    pub fn archive_of(&self, version: &str) -> Option<String> {
        let archive = self.archive.as_ref()?;
        Some(archive.replace("{version}", version))
    }
}

/// The address of `name` in the folder `directory`.
pub fn address(directory: &str, name: &str) -> String {
    format!("{}/{name}", directory.trim_end_matches('/'))
}

const fn is_numeric(byte: u8) -> bool {
    byte.is_ascii_digit() || byte == b'.'
}

/// The numbers of a version, so that 13.10.0 is newer than 13.9.0.
fn numbers(version: &str) -> Vec<u64> {
    version.split('.').map(|part| part.parse().unwrap_or(0)).collect()
}

fn first_numbers(name: &str) -> String {
    let from = name.find(|c: char| c.is_ascii_digit()).unwrap_or(name.len());
    let run = name[from..].bytes().take_while(|b| is_numeric(*b)).count();
    name[from..from + run].trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::super::digest::parse_sums;
    use super::*;

    fn release(file: &str) -> Release {
        Release {
            directories: vec!["https://mirror.invalid/current/".into()],
            archive: Some("https://mirror.invalid/archive/{version}/iso-cd/".into()),
            file: file.into(),
            sums: "SHA512SUMS".into(),
            signature: "SHA512SUMS.sign".into(),
            key: "key.asc".into(),
        }
    }

    fn choose(file: &str, names: &[&str]) -> Result<Chosen> {
        let line = |name: &&str| format!("{}  {name}\n", "0".repeat(128));
        let sums: String = names.iter().map(line).collect();
        release(file).choose(&parse_sums(&sums))
    }

    #[test]
    fn the_newest_point_release_is_chosen() {
        let netinst = "debian-13.*-amd64-netinst.iso";
        let table: &[(&str, &[&str], &str, &str)] = &[
            (
                netinst,
                &["debian-13.9.0-amd64-netinst.iso", "debian-13.10.0-amd64-netinst.iso"],
                "debian-13.10.0-amd64-netinst.iso",
                "13.10.0",
            ),
            (
                netinst,
                &[
                    "debian-edu-13.2.0-amd64-netinst.iso",
                    "debian-13.2.0-amd64-netinst.iso",
                    "debian-mac-13.2.0-amd64-netinst.iso",
                    "debian-13.3-rc1-amd64-netinst.iso",
                    "debian-12.9.0-amd64-netinst.iso",
                ],
                "debian-13.2.0-amd64-netinst.iso",
                "13.2.0",
            ),
            (
                "debian-13-test.iso",
                &["x", "debian-13-test.iso"],
                "debian-13-test.iso",
                "13",
            ),
            ("a-*.iso", &["a-3.iso", "a-12.iso"], "a-12.iso", "12"),
        ];
        for (pattern, names, name, version) in table {
            let chosen = choose(pattern, names).unwrap();
            assert_eq!((chosen.name.as_str(), chosen.version.as_str()), (*name, *version));
        }
    }

    #[test]
    fn the_version_of_an_older_file_is_known() {
        let release = release("debian-13.*-amd64-netinst.iso");
        assert_eq!(
            release.version("debian-13.1.0-amd64-netinst.iso").as_deref(),
            Some("13.1.0")
        );
        assert_eq!(release.version("other.iso"), None);
    }

    #[test]
    fn nothing_that_fits_is_an_error_with_a_hint() {
        let error = choose("debian-13.*-amd64-netinst.iso", &["debian-14.0.0-amd64-netinst.iso"]);
        assert!(Fault::of(&error.unwrap_err()).unwrap().hint.is_some());
        for wrong in ["a*b*.iso", "../*.iso"] {
            let error = choose(wrong, &[]).unwrap_err();
            assert_eq!(Fault::of(&error).unwrap().cause, Cause::Config);
        }
    }

    #[test]
    fn the_archive_takes_the_version() {
        let archive = release("x").archive_of("13.2.0").unwrap();
        assert_eq!(
            address(&archive, "d.iso"),
            "https://mirror.invalid/archive/13.2.0/iso-cd/d.iso"
        );
    }

    #[test]
    fn unknown_keys_of_the_table_are_refused() {
        let text = "directories = []\nfile = 'x'\nsums = 's'\nsignature = 'g'\nkey = 'k'\n";
        assert!(toml::from_str::<Release>(text).is_ok());
        assert!(toml::from_str::<Release>(&format!("{text}colour = 'red'\n")).is_err());
    }
}
