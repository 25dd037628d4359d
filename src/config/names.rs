//! Names that become a user, a folder or a part of an address: what they may look like.

use super::types::{Login, MachineName};

/// The longest login: Linux's limit for user names (useradd(8)), well below DNS's 63 for a label.
const LOGIN_MAX: usize = 32;

/// The longest machine name: it is part of the path of Unix sockets, and `sun_path` holds about 100 bytes (unix(7)).
const MACHINE_MAX: usize = 32;

/// Users and groups that Debian creates by itself or with the packages the guest gets: base-passwd's
/// `passwd.master` and `group.master`, systemd, openssh-server, dbus, sudo and docker.io. A new user needs a group of its own name,
/// so the groups count too. `mysql`, `redis`, `ftp` and `postgres` belong to what projects install.
const TAKEN: &[&str] = &[
    "adm",
    "audio",
    "avahi",
    "backup",
    "bin",
    "cdrom",
    "crontab",
    "daemon",
    "dialout",
    "dip",
    "disk",
    "docker",
    "fax",
    "floppy",
    "ftp",
    "games",
    "gnats",
    "input",
    "irc",
    "kmem",
    "kvm",
    "list",
    "lp",
    "mail",
    "man",
    "messagebus",
    "mysql",
    "netdev",
    "news",
    "nobody",
    "nogroup",
    "operator",
    "plugdev",
    "polkitd",
    "postgres",
    "proxy",
    "redis",
    "render",
    "root",
    "sasl",
    "sgx",
    "shadow",
    "src",
    "sshd",
    "staff",
    "sudo",
    "sync",
    "sys",
    "systemd-journal",
    "systemd-network",
    "systemd-resolve",
    "systemd-timesync",
    "tape",
    "tty",
    "users",
    "utmp",
    "uucp",
    "video",
    "voice",
    "www-data",
];

impl TryFrom<String> for Login {
    type Error = String;

    /// Accepts what is both a Debian user name and a DNS label (RFC 1123, section 2.1), and not a user or group of
    /// the guest's system.
    fn try_from(name: String) -> Result<Self, String> {
        let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let reason = if name.is_empty() {
            "it is empty"
        } else if name.len() > LOGIN_MAX {
            "it is longer than 32 characters"
        } else if !name.starts_with(|c: char| c.is_ascii_lowercase()) {
            "it must begin with a lower-case letter"
        } else if !name.chars().all(inner) {
            "only lower-case letters, digits and `-` are allowed"
        } else if name.ends_with('-') {
            "it must not end with `-`"
        } else if TAKEN.contains(&name.as_str()) {
            "the guest's system has a user or group of that name"
        } else {
            return Ok(Self(name));
        };
        Err(format!("`{name}` cannot be a login: {reason}"))
    }
}

impl TryFrom<String> for MachineName {
    type Error = String;

    /// Accepts what is one path component on every file system, needs no quoting in a shell and cannot be taken
    /// for a flag.
    fn try_from(name: String) -> Result<Self, String> {
        let first = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        let reason = if name.is_empty() {
            "it is empty"
        } else if name.len() > MACHINE_MAX {
            "it is longer than 32 characters"
        } else if !name.starts_with(first) {
            "it must begin with a lower-case letter or a digit"
        } else if !name.chars().all(|c| first(c) || c == '-' || c == '_') {
            "only lower-case letters, digits, `-` and `_` are allowed"
        } else {
            return Ok(Self(name));
        };
        Err(format!("`{name}` cannot be a machine's name: {reason}"))
    }
}

/// Every login is a machine name.
impl From<&Login> for MachineName {
    fn from(login: &Login) -> Self {
        Self(login.0.clone())
    }
}

impl std::str::FromStr for MachineName {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::try_from(name.to_owned())
    }
}

/// The word among `known` that `word` was probably meant to be.
pub fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    let scored = known.map(|name| (distance(&word, name), name));
    let (distance, name) = scored.min()?;
    (distance * 3 <= word.chars().count().max(3)).then_some(name)
}

/// How many characters must be inserted, deleted, replaced or swapped with their neighbour to turn `a` into `b`
/// (the restricted Damerau–Levenshtein distance).
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![(0..=b.len()).collect::<Vec<usize>>()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = replaced.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn logins() {
        for good in ["jdoe", "a", "jdoe42", "j-doe", "x1", &"a".repeat(32)] {
            assert!(Login::try_from(good.to_owned()).is_ok(), "{good}");
        }
        let bad = [
            ("", "empty"),
            ("Jdoe", "begin with a lower-case"),
            ("1doe", "begin with a lower-case"),
            ("-a", "begin with a lower-case"),
            ("a-", "end with"),
            ("a b", "only lower-case"),
            ("a_b", "only lower-case"),
            ("jé", "only lower-case"),
            ("a.b", "only lower-case"),
            ("a/../b", "only lower-case"),
            ("root", "user or group"),
            ("docker", "user or group"),
            ("www-data", "user or group"),
            (&"a".repeat(33), "longer"),
        ];
        for (name, reason) in bad {
            let error = Login::try_from(name.to_owned()).unwrap_err();
            assert!(error.contains(reason), "{name}: {error}");
        }
    }

    #[test]
    fn machine_names() {
        for good in ["jdoe", "1", "a_b-c", "eval-2"] {
            assert!(good.parse::<MachineName>().is_ok(), "{good}");
        }
        for bad in [
            "",
            ".",
            "..",
            "a/b",
            "-x",
            "_x",
            "A",
            "a b",
            "a\0",
            "a.lock",
            &"a".repeat(33),
        ] {
            assert!(bad.parse::<MachineName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_nearest_word_is_found_if_it_is_near() {
        let known = || ["cpus", "memory", "disk", "accelerator"].into_iter();
        for (word, expected) in [
            ("cpu", Some("cpus")),
            ("memroy", Some("memory")),
            ("Disk", Some("disk")),
            ("acelerator", Some("accelerator")),
            ("banana", None),
            ("x", None),
        ] {
            assert_eq!(nearest(word, known()), expected, "{word}");
        }
    }

    proptest! {
        #[test]
        fn every_login_is_a_machine_name_and_one_path_component(name in "\\PC{0,40}") {
            if let Ok(login) = Login::try_from(name.clone()) {
                prop_assert!(name.parse::<MachineName>().is_ok());
                let path = std::path::PathBuf::from(login.as_str());
                prop_assert_eq!(path.components().count(), 1);
                prop_assert_eq!(path.file_name().and_then(|n| n.to_str()), Some(name.as_str()));
            }
        }
    }
}
