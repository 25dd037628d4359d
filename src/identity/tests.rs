//! Tests of [`Identity`] against real folders and real programs.

use std::process::Command;

use super::make::{ALPHABET, PASSWORD_LENGTH};
use super::*;

fn made(with_password: bool) -> (tempfile::TempDir, std::path::PathBuf, Identity) {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("deep/identity");
    let identity = Identity::load_or_create(&dir, with_password).unwrap();
    (folder, dir, identity)
}

fn message(result: Result<Identity>) -> String {
    format!("{:#}", result.unwrap_err())
}

#[test]
fn an_identity_is_made_once_and_private() {
    let (_folder, dir, identity) = made(true);
    assert_eq!(Identity::load_or_create(&dir, true).unwrap(), identity);
    assert_eq!(Identity::load(&dir).unwrap(), identity);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&dir), 0o700);
    let mut names = Vec::new();
    for entry in fs::read_dir(&dir).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(mode(&entry.path()), 0o600, "{:?}", entry.path());
        names.push(entry.file_name().into_string().unwrap());
    }
    names.sort();
    let expected = [
        "id_ed25519",
        "id_ed25519.pub",
        "known_hosts",
        "password",
        "password.hash",
        "ssh_host_ed25519_key",
        "ssh_host_ed25519_key.pub",
    ];
    assert_eq!(names, expected);
    let beside: Vec<_> = fs::read_dir(dir.parent().unwrap()).unwrap().collect();
    assert_eq!(beside.len(), 1, "nothing temporary is left");
}

#[test]
fn processes_at_once_end_with_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("identity");
    let all: Vec<Identity> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| Identity::load_or_create(&dir, true).unwrap()))
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(all.iter().all(|identity| *identity == all[0]));
}

#[test]
fn openssh_reads_the_keys() {
    let (_folder, dir, identity) = made(false);
    for (private, public) in [
        (PRIVATE_KEY, identity.public_key()),
        (HOST_PRIVATE_KEY, identity.host_public_key()),
    ] {
        let run = Command::new("ssh-keygen")
            .arg("-yf")
            .arg(dir.join(private))
            .output()
            .unwrap();
        assert_eq!(String::from_utf8(run.stdout).unwrap().trim(), public);
    }
    let run = Command::new("ssh-keygen")
        .args(["-F", HOST_KEY_ALIAS, "-f"])
        .arg(dir.join(KNOWN_HOSTS))
        .output()
        .unwrap();
    assert!(run.status.success(), "known_hosts has the guest");
}

#[test]
fn the_password_has_the_hash_that_crypt_gives_it() {
    let (_folder, _, identity) = made(true);
    let password = identity.password().unwrap().expose();
    assert_eq!(password.len(), PASSWORD_LENGTH);
    assert!(password.bytes().all(|byte| ALPHABET.contains(&byte)));
    let fields: Vec<&str> = identity.password_hash().unwrap().split('$').collect();
    let ["", "6", "rounds=5000", salt, hash] = fields[..] else {
        panic!("{fields:?}");
    };
    assert_eq!(salt.len(), 16);
    let run = Command::new("openssl")
        .args(["passwd", "-6", "-salt", salt, password])
        .output()
        .unwrap();
    let theirs = String::from_utf8(run.stdout).unwrap();
    assert_eq!(theirs.trim().rsplit('$').next(), Some(hash));
}

#[test]
fn nothing_shows_the_secrets() {
    let (_folder, _, identity) = made(true);
    let shown = format!("{identity:?} {}", identity.fingerprint());
    let secret_lines = identity
        .private_key()
        .expose()
        .lines()
        .filter(|line| !line.starts_with('-'));
    for secret in secret_lines
        .chain(
            identity
                .host_private_key()
                .lines()
                .filter(|line| !line.starts_with('-')),
        )
        .chain([identity.password().unwrap().expose(), identity.password_hash().unwrap()])
    {
        assert!(!shown.contains(secret));
    }
}

#[test]
fn the_fingerprint_stands_for_every_part() {
    let (_folder, _, one) = made(true);
    let (_folder, _, other) = made(true);
    assert_eq!(one.fingerprint(), one.clone().fingerprint());
    assert_ne!(one.keyed_hash_key(), other.keyed_hash_key());
    let mixed = [
        other.clone(),
        Identity {
            user: other.user,
            ..one.clone()
        },
        Identity {
            host: other.host,
            ..one.clone()
        },
        Identity {
            password: other.password,
            ..one.clone()
        },
        Identity {
            password: None,
            ..one.clone()
        },
    ];
    assert!(mixed.iter().all(|identity| identity.fingerprint() != one.fingerprint()));
}

#[test]
fn a_copy_replaces_another_identity() {
    let (_folder, dir, identity) = made(true);
    let (_other_folder, other_dir, _) = made(false);
    identity.copy_to(&other_dir).unwrap();
    assert_eq!(Identity::load(&other_dir).unwrap(), identity);
    identity.copy_to(&dir).unwrap();
    assert_eq!(Identity::load(&dir).unwrap(), identity);
    let beside: Vec<_> = fs::read_dir(other_dir.parent().unwrap()).unwrap().collect();
    assert_eq!(beside.len(), 1, "nothing temporary is left");
}

#[test]
fn a_missing_file_is_an_error_and_never_new_keys() {
    for name in [
        PRIVATE_KEY,
        PUBLIC_KEY,
        HOST_PRIVATE_KEY,
        HOST_PUBLIC_KEY,
        PASSWORD,
        PASSWORD_HASH,
    ] {
        let (_folder, dir, _) = made(true);
        fs::remove_file(dir.join(name)).unwrap();
        let error = message(Identity::load_or_create(&dir, true));
        assert!(error.contains(&format!("{name} is missing")), "{error}");
    }
    let (_folder, dir, _) = made(false);
    assert!(message(Identity::load_or_create(&dir, true)).contains("password is missing"));
}

#[test]
fn damaged_files_are_named() {
    let damage: [(&str, &str); 4] = [
        (PRIVATE_KEY, "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n"),
        (PRIVATE_KEY, ""),
        (HOST_PUBLIC_KEY, "ssh-ed25519 nonsense"),
        (PASSWORD_HASH, "\n"),
    ];
    for (name, content) in damage {
        let (_folder, dir, _) = made(true);
        fs::write(dir.join(name), content).unwrap();
        let error = message(Identity::load(&dir));
        assert!(error.contains("damaged") && error.contains(name), "{error}");
    }
}

#[test]
fn a_key_of_another_pair_is_found() {
    let (_folder, dir, _) = made(false);
    let (_other_folder, other_dir, _) = made(false);
    fs::copy(other_dir.join(PUBLIC_KEY), dir.join(PUBLIC_KEY)).unwrap();
    assert!(message(Identity::load(&dir)).contains("does not belong to"));
}

#[test]
fn a_key_open_to_others_is_refused() {
    let (_folder, dir, _) = made(false);
    let key = dir.join(PRIVATE_KEY);
    fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let error = Identity::load(&dir).unwrap_err();
    assert!(
        Fault::of(&error)
            .unwrap()
            .hint
            .as_deref()
            .unwrap()
            .starts_with("chmod 600")
    );
}
