//! Debian's backports suite among apt's sources.

/// A file of apt's sources that adds a suite.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Its one line (sources.list(5)).
    pub line: String,
}

impl Source {
    /// Where the file goes.
    pub const PATH: &str = "/etc/apt/sources.list.d/provision-backports.list";
}

/// The suite's name.
pub fn suite(codename: &str) -> String {
    format!("{codename}-backports")
}

/// The file that is missing for `codename`'s backports, from what `apt-get indextargets` prints (apt-get(8)): one
/// stanza for each index file. `None` when the suite is there already, or when no mirror of the release can be told.
///
/// The mirror is that of the release itself, so that a host that reaches only a mirror of its own stays with it.
pub fn missing_source(targets: &str, codename: &str) -> Option<Source> {
    let stanzas: Vec<&str> = targets.split("\n\n").collect();
    let of = |stanza: &str, release: &str| field(stanza, "Release") == Some(release);
    let suite = suite(codename);
    if stanzas.iter().any(|stanza| of(stanza, &suite)) {
        return None;
    }
    let mirror = stanzas
        .iter()
        .filter(|stanza| of(stanza, codename))
        .find_map(|stanza| {
            let packages =
                field(stanza, "Created-By") == Some("Packages") && field(stanza, "Component") == Some("main");
            let address = field(stanza, "Repo-URI").filter(|uri| uri.contains("://"))?;
            packages.then_some(address)
        })?;
    // The keyring belongs to debian-archive-keyring, on which Debian's apt depends.
    let keyring = "/usr/share/keyrings/debian-archive-keyring.gpg";
    let line = format!("deb [signed-by={keyring}] {mirror} {suite} main");
    Some(Source { line })
}

fn field<'a>(stanza: &'a str, name: &str) -> Option<&'a str> {
    stanza
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECURITY: &str = "\
Created-By: Packages
Component: main
Release: bookworm-security
Repo-URI: http://mirror.test/debian-security/
";

    const RELEASE: &str = "\
MetaKey: main/i18n/Translation-en
Created-By: Translations
Component: main
Release: bookworm
Repo-URI: http://other.test/debian/

MetaKey: main/binary-amd64/Packages
Created-By: Packages
Component: main
Release: bookworm
Repo-URI: http://mirror.test/debian/
";

    #[test]
    fn the_suite_is_added_from_the_releases_own_mirror() {
        let source = missing_source(&format!("{SECURITY}\n{RELEASE}"), "bookworm").unwrap();
        assert_eq!(
            source.line,
            "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://mirror.test/debian/ \
             bookworm-backports main"
        );
    }

    #[test]
    fn a_suite_that_is_there_is_not_added() {
        let there = RELEASE.replace("Release: bookworm", "Release: bookworm-backports");
        assert_eq!(missing_source(&format!("{RELEASE}\n{there}"), "bookworm"), None);
        assert_eq!(missing_source("", "bookworm"), None);
        assert_eq!(missing_source(SECURITY, "bookworm"), None);
    }
}
