//! How OpenSSH's client reaches a machine: as options of one call, or as a block of its configuration.

use std::path::Path;

use super::HOST;
use crate::identity;

/// The options of every connection, by their names in `ssh_config(5)`: with the keys in the folder `identity` and the
/// pinned host key alone.
pub fn options(identity: &Path) -> [(&'static str, String); 9] {
    let file = |name: &str| quoted(&identity.join(name));
    [
        ("IdentityFile", file(identity::PRIVATE_KEY)),
        ("IdentitiesOnly", "yes".into()),
        ("IdentityAgent", "none".into()),
        ("UserKnownHostsFile", file(identity::KNOWN_HOSTS)),
        ("GlobalKnownHostsFile", "none".into()),
        ("HostKeyAlias", identity::HOST_KEY_ALIAS.into()),
        ("StrictHostKeyChecking", "yes".into()),
        ("UpdateHostKeys", "no".into()),
        ("LogLevel", "ERROR".into()),
    ]
}

/// The block of a configuration by which `ssh name` reaches `user` of the machine behind `port`.
///
/// A jump that the user's own configuration sets for all hosts leads astray: 127.0.0.1 is this host's.
pub fn block(name: &str, port: u16, user: &str, identity: &Path) -> String {
    let place = [
        ("HostName", HOST.to_string()),
        ("Port", port.to_string()),
        ("User", user.to_owned()),
        ("ProxyJump", "none".to_owned()),
    ];
    let lines = place.into_iter().chain(options(identity));
    let lines = lines.map(|(key, value)| format!("    {key} {value}\n"));
    format!("Host {name}\n{}", lines.collect::<String>())
}

/// A path as the values of these options have it: they are split at blanks, with quotation marks and backslashes as in a
/// shell's double quotes, and percent signs are expanded.
fn quoted(path: &Path) -> String {
    let mut text = String::from("\"");
    for letter in path.to_string_lossy().chars() {
        match letter {
            '%' => text.push('%'),
            '"' | '\\' => text.push('\\'),
            _ => (),
        }
        text.push(letter);
    }
    text + "\""
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_names_the_machine_its_keys_and_nobody_elses() {
        insta::assert_snapshot!(block("eval", 2222, "jdoe", Path::new("/m y/100%")), @r#"
        Host eval
            HostName 127.0.0.1
            Port 2222
            User jdoe
            ProxyJump none
            IdentityFile "/m y/100%%/id_ed25519"
            IdentitiesOnly yes
            IdentityAgent none
            UserKnownHostsFile "/m y/100%%/known_hosts"
            GlobalKnownHostsFile none
            HostKeyAlias provision-guest
            StrictHostKeyChecking yes
            UpdateHostKeys no
            LogLevel ERROR
        "#);
    }

    #[test]
    fn paths_are_quoted() {
        for (path, expected) in [
            ("/a/b", r#""/a/b""#),
            ("/a b/#c", r#""/a b/#c""#),
            ("/100%/d", r#""/100%%/d""#),
            (r#"/a "b"\c"#, r#""/a \"b\"\\c""#),
        ] {
            assert_eq!(quoted(Path::new(path)), expected);
        }
    }
}
