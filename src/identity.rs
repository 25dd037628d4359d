//! Who may log in to a guest, and how the guest is known: key pairs and a password, all made on the host.
//!
//! ```text
//! id_ed25519, id_ed25519.pub                          the user's key pair
//! ssh_host_ed25519_key, ssh_host_ed25519_key.pub      the guest's own, put into it before it is first reached
//! known_hosts                                         the latter for OpenSSH's client
//! password, password.hash                             where the user has a password: itself and its crypt(5) hash
//! ```
//!
//! The folder is 0700 and everything in it 0600.

mod carry;
mod make;
mod secret;

use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use fs_err as fs;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};
use ssh_key::{PrivateKey, PublicKey};

pub use secret::Secret;

use crate::fault::{Cause, Fault};

/// The file of the user's private key.
pub const PRIVATE_KEY: &str = "id_ed25519";

/// The file that pins the host key for OpenSSH's client.
pub const KNOWN_HOSTS: &str = "known_hosts";

/// The name under which `known_hosts` has the guest, whatever its port.
pub const HOST_KEY_ALIAS: &str = "provision-guest";

/// The file of the user's public key.
pub const PUBLIC_KEY: &str = "id_ed25519.pub";
/// The file of the guest's private host key.
pub const HOST_PRIVATE_KEY: &str = "ssh_host_ed25519_key";
const HOST_PUBLIC_KEY: &str = "ssh_host_ed25519_key.pub";
const PASSWORD: &str = "password";
/// The file of the hash of the user's password.
pub const PASSWORD_HASH: &str = "password.hash";

/// Key pairs of a user and of a guest, and perhaps the user's password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    user: KeyPair,
    host: KeyPair,
    password: Option<Password>,
}

/// A key pair in OpenSSH's formats.
#[derive(Debug, Clone, PartialEq, Eq)]
struct KeyPair {
    private: Secret,
    public: String,
}

/// A password and its hash in the format of crypt(5).
#[derive(Debug, Clone, PartialEq, Eq)]
struct Password {
    clear: Secret,
    hash: Secret,
}

impl Identity {
    /// The identity in the folder `dir`; a new one is made if there is no such folder. When two processes do so at
    /// once, both get the same one.
    ///
    /// # Errors
    /// When what is there is damaged or incomplete (it is never replaced), or cannot be read or written.
    pub fn load_or_create(dir: &Path, with_password: bool) -> Result<Self> {
        if !dir.exists() {
            Self::make(with_password)?.publish(dir, false)?;
        }
        let identity = Self::load(dir)?;
        if with_password && identity.password.is_none() {
            return Err(damaged(dir, &format!("{PASSWORD} is missing")));
        }
        Ok(identity)
    }

    /// The identity in the folder `dir`; where there is none, one as it might be made, which is written nowhere.
    ///
    /// # Errors
    /// When what is there is damaged or incomplete, or cannot be read.
    pub fn load_or_imagine(dir: &Path, with_password: bool) -> Result<Self> {
        if dir.exists() {
            Self::load_or_create(dir, with_password)
        } else {
            Self::make(with_password)
        }
    }

    /// The identity in the folder `dir`.
    ///
    /// # Errors
    /// When it is not there, damaged, incomplete, or open to other users.
    pub fn load(dir: &Path) -> Result<Self> {
        let user = KeyPair::load(dir, PRIVATE_KEY, PUBLIC_KEY)?;
        let host = KeyPair::load(dir, HOST_PRIVATE_KEY, HOST_PUBLIC_KEY)?;
        let clear = read_secret(dir, PASSWORD)?;
        let hash = read_secret(dir, PASSWORD_HASH)?;
        let password = match (clear, hash) {
            (Some(clear), Some(hash)) => Some(Password { clear, hash }),
            (None, None) => None,
            (Some(_), None) => return Err(missing(dir, PASSWORD_HASH)),
            (None, Some(_)) => return Err(missing(dir, PASSWORD)),
        };
        Ok(Self { user, host, password })
    }

    /// The identity in the folder `dir` that the user named.
    ///
    /// # Errors
    /// A [`Cause::Usage`] fault when there is no such folder, or no keys in it that can be used.
    pub fn load_given(dir: &Path) -> Result<Self> {
        let (there, shown) = (dir.is_dir(), dir.display());
        if !there || !dir.join(PRIVATE_KEY).exists() {
            let message = if there {
                format!("{shown} holds no keys")
            } else {
                format!("there is no folder {shown}")
            };
            return Err(Fault::new(Cause::Usage, message)
                .hint("give the folder `identity` of the machine that was exported: `provision status` tells where it lies")
                .into());
        }
        Self::load(dir).with_context(|| {
            Fault::new(Cause::Usage, format!("the keys in {shown} cannot be used")).hint(format!(
                "copy them whole (`cp -a`); nobody else may read them (`chmod -R go= {shown}`)"
            ))
        })
    }

    /// Puts a copy into the folder `dir`, in place of another identity that may be there.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn copy_to(&self, dir: &Path) -> Result<()> {
        if dir.exists() && Self::load(dir).is_ok_and(|there| there == *self) {
            return Ok(());
        }
        self.publish(dir, true)
    }

    /// The user's private key.
    pub fn private_key(&self) -> &Secret {
        &self.user.private
    }

    /// The user's public key: a line of `authorized_keys`.
    pub fn public_key(&self) -> &str {
        &self.user.public
    }

    /// The guest's private host key, which is put into the guest.
    pub fn host_private_key(&self) -> &str {
        self.host.private.expose()
    }

    /// The guest's public host key, which it must show: `ssh-ed25519 AAAA…`.
    pub fn host_public_key(&self) -> &str {
        &self.host.public
    }

    /// The user's password.
    pub fn password(&self) -> Option<&Secret> {
        self.password.as_ref().map(|password| &password.clear)
    }

    /// The password's hash in the format of crypt(5), which is put into the guest.
    pub fn password_hash(&self) -> Option<&str> {
        self.password.as_ref().map(|password| password.hash.expose())
    }

    /// What stands for this identity in the keys of stages: changes with every part of it and shows nothing of its
    /// secrets.
    pub fn fingerprint(&self) -> String {
        let mut hash = Sha256::new();
        for part in [self.public_key(), self.host_public_key()] {
            hash.update(part);
            hash.update([0]);
        }
        hash.update(self.keyed(self.password_hash().unwrap_or_default().as_bytes()));
        hex::encode(hash.finalize())
    }

    /// A key for hashes that stand for secrets: nobody without this identity can try out what they were made from.
    pub fn keyed_hash_key(&self) -> [u8; 32] {
        self.keyed(b"hashes that stand for secrets")
    }

    fn keyed(&self, message: &[u8]) -> [u8; 32] {
        let key = Sha256::digest(self.user.private.expose());
        let mut hash = keyed_hash(&key.into());
        hash.update(message);
        hash.finalize().into_bytes().into()
    }
}

/// The beginning of a hash that can only be made with `key` (HMAC, RFC 2104).
pub fn keyed_hash(key: &[u8; 32]) -> Hmac<Sha256> {
    // A key shorter than SHA-256's block is filled up with zeros.
    let mut block = [0; 64];
    block[..key.len()].copy_from_slice(key);
    Hmac::new(&block.into())
}

impl KeyPair {
    fn load(dir: &Path, private_name: &str, public_name: &str) -> Result<Self> {
        let private = read_secret(dir, private_name)?.ok_or_else(|| missing(dir, private_name))?;
        let public = read_secret(dir, public_name)?.ok_or_else(|| missing(dir, public_name))?;
        let public = public.expose().trim().to_owned();
        let of_private = PrivateKey::from_openssh(private.expose())
            .map_err(|error| damaged(dir, &format!("{private_name}: {error}")))?;
        let of_public =
            PublicKey::from_openssh(&public).map_err(|error| damaged(dir, &format!("{public_name}: {error}")))?;
        if of_private.public_key().key_data() != of_public.key_data() {
            let what = format!("{public_name} does not belong to {private_name}");
            return Err(damaged(dir, &what));
        }
        Ok(Self { private, public })
    }
}

/// The content of a private file; `None` if it is not there.
fn read_secret(dir: &Path, name: &str) -> Result<Option<Secret>> {
    let path = dir.join(name);
    let text = match fs::read_to_string(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        text => text.context("reading an identity")?,
    };
    if fs::metadata(&path)?.permissions().mode() & 0o077 != 0 {
        let shown = path.display();
        return Err(Fault::new(Cause::Other, format!("other users may read {shown}"))
            .hint(format!("chmod 600 {shown}"))
            .into());
    }
    if text.trim().is_empty() {
        return Err(damaged(dir, &format!("{name} is empty")));
    }
    let one_line = [PASSWORD, PASSWORD_HASH].contains(&name);
    Ok(Some(Secret::new(if one_line { text.trim().to_owned() } else { text })))
}

fn missing(dir: &Path, name: &str) -> anyhow::Error {
    damaged(dir, &format!("{name} is missing"))
}

fn damaged(dir: &Path, what: &str) -> anyhow::Error {
    let dir = dir.display();
    Fault::new(Cause::Other, format!("the keys in {dir} are damaged: {what}"))
        .hint(format!(
            "put them back, or remove {dir}: new ones are made then, and what was built with the old ones is built anew"
        ))
        .into()
}

#[cfg(test)]
mod tests;
