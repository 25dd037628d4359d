//! What a world's folders hold: a mirror with a signed ISO, a guest definition that trusts it, a copy of a project.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

/// Lays out the mirror's folder: the ISO and its checksums.
pub fn mirror(iso_dir: &Path, into: &Path) {
    fs::create_dir_all(into).unwrap();
    let iso_dir = fs::canonicalize(iso_dir).expect("tests/support/media has made the ISO");
    for entry in fs::read_dir(iso_dir).unwrap().flatten() {
        let name = entry.file_name();
        if name.to_string_lossy().ends_with(".iso") {
            std::os::unix::fs::symlink(entry.path(), into.join(name)).unwrap();
        } else if name == "SHA512SUMS" {
            fs::copy(entry.path(), into.join(name)).unwrap();
        }
    }
}

/// Signs `sums` with the tests' key, whose public half goes to `public`. It is kept for the next run, as the checkpoints are,
/// in which the ISO's signer is written.
pub fn sign(home: &Path, sums: &Path, public: &Path) {
    static MADE: Mutex<Option<[Vec<u8>; 2]>> = Mutex::new(None);
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    let [key, signature] = made.get_or_insert_with(|| key_and_signature(home, sums));
    fs::write(public, key).unwrap();
    fs::write(sums.with_file_name("SHA512SUMS.sign"), signature).unwrap();
}

/// The key, which is made if it is not there, and its signature of `sums`.
fn key_and_signature(home: &Path, sums: &Path) -> [Vec<u8>; 2] {
    fs::create_dir_all(home).unwrap();
    fs::set_permissions(home, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let gpg = |args: &[&str]| {
        let output = Command::new("gpg")
            .args(["--batch", "--quiet", "--pinentry-mode", "loopback", "--passphrase", ""])
            .args(args)
            .env("GNUPGHOME", home)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    if gpg(&["--list-secret-keys"]).is_empty() {
        gpg(&[
            "--quick-gen-key",
            "Test images <images@example.org>",
            "ed25519",
            "sign",
            "never",
        ]);
    }
    let key = gpg(&["--armor", "--export"]);
    let signature = gpg(&["--armor", "--output", "-", "--detach-sign", sums.to_str().unwrap()]);
    let _ = Command::new("gpgconf")
        .args(["--kill", "all"])
        .env("GNUPGHOME", home)
        .status();
    [key, signature]
}

/// Debian 13's definition with the tests' mirror and key.
pub fn definition(port: u16) -> String {
    let text = include_str!("../../vm/debian-13.toml");
    let mut table: toml::Table = text.parse().unwrap();
    let iso = table["iso"].as_table_mut().unwrap();
    iso.insert("directories".into(), vec![format!("http://127.0.0.1:{port}/")].into());
    iso.insert("key".into(), "test.asc".into());
    iso.remove("archive");
    toml::to_string(&table).unwrap()
}

/// Copies a folder with its links and modes.
pub fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(status.success());
}
