//! Making an identity and writing it down.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use fs_err as fs;
use fs_err::os::unix::fs::OpenOptionsExt as _;
use rand::TryRng as _;
use rand::rngs::SysRng;
use sha_crypt::{PasswordHasher as _, ShaCrypt};
use ssh_key::rand_core::OsRng;
use ssh_key::{Algorithm, LineEnding, PrivateKey};

use super::{
    HOST_KEY_ALIAS, HOST_PRIVATE_KEY, HOST_PUBLIC_KEY, Identity, KNOWN_HOSTS, KeyPair, PASSWORD, PASSWORD_HASH,
    PRIVATE_KEY, PUBLIC_KEY, Password, Secret,
};

/// Letters and digits that are not taken for one another; 32 of them, so that a random byte chooses evenly.
pub(super) const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";

/// The password's length: 20 times 5 bits.
pub(super) const PASSWORD_LENGTH: usize = 20;

/// The salt's length in bytes: 16 characters, the most that crypt(5) takes for SHA-512.
const SALT_LENGTH: usize = 12;

impl Identity {
    /// A new identity, from the kernel's random numbers.
    pub(super) fn make(with_password: bool) -> Result<Self> {
        Ok(Self {
            user: KeyPair::make("provision").context("making a key pair")?,
            host: KeyPair::make(HOST_KEY_ALIAS).context("making a host key pair")?,
            password: with_password.then(Password::make).transpose()?,
        })
    }

    /// A new password that belongs to no identity, and its hash in the format of crypt(5).
    ///
    /// # Errors
    /// When the system gives no random numbers.
    pub fn password_of_its_own() -> Result<(Secret, Secret)> {
        let Password { clear, hash } = Password::make()?;
        Ok((clear, hash))
    }

    /// Writes the folder `dir` such that it is there whole or not at all. One that is there stays, unless it is to be
    /// replaced.
    pub(super) fn publish(&self, dir: &Path, replace: bool) -> Result<()> {
        let context = || format!("writing the keys in {}", dir.display());
        let parent = dir.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(parent)?;
        // tempfile makes its folders for their owner only.
        let work = tempfile::Builder::new()
            .prefix(".identity-")
            .permissions(std::fs::Permissions::from_mode(0o700))
            .tempdir_in(parent)
            .with_context(context)?;
        let new = work.path().join("new");
        fs::create_dir(&new)?;
        fs::set_permissions(&new, std::fs::Permissions::from_mode(0o700))?;
        self.write(&new)?;
        if replace && dir.exists() {
            fs::rename(dir, work.path().join("old"))?;
        }
        match fs::rename(&new, dir) {
            // Another process was first, and rename(2) replaces no folder that holds something.
            Err(_) if !replace && dir.exists() => Ok(()),
            renamed => renamed.with_context(context),
        }
    }

    fn write(&self, dir: &Path) -> Result<()> {
        for (name, content) in self.files() {
            write_private(&dir.join(name), content.as_bytes())?;
        }
        Ok(())
    }

    /// The files that it is in a folder, by name.
    pub(super) fn files(&self) -> Vec<(&'static str, String)> {
        let known_hosts = format!("{HOST_KEY_ALIAS} {}\n", self.host.public);
        let mut files = vec![
            (PRIVATE_KEY, self.user.private.expose().to_owned()),
            (PUBLIC_KEY, format!("{}\n", self.user.public)),
            (HOST_PRIVATE_KEY, self.host.private.expose().to_owned()),
            (HOST_PUBLIC_KEY, format!("{}\n", self.host.public)),
            (KNOWN_HOSTS, known_hosts),
        ];
        if let Some(Password { clear, hash }) = &self.password {
            files.push((PASSWORD, format!("{}\n", clear.expose())));
            files.push((PASSWORD_HASH, format!("{}\n", hash.expose())));
        }
        files
    }
}

pub(super) fn write_private(path: &Path, content: &[u8]) -> Result<()> {
    use std::io::Write as _;
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(content)?;
    file.sync_all()?;
    Ok(())
}

impl KeyPair {
    fn make(comment: &str) -> Result<Self> {
        let mut private = PrivateKey::random(&mut OsRng, Algorithm::Ed25519)?;
        private.set_comment(comment);
        Ok(Self {
            private: Secret::new(private.to_openssh(LineEnding::LF)?.to_string()),
            public: private.public_key().to_openssh()?,
        })
    }
}

impl Password {
    fn make() -> Result<Self> {
        let letter = |byte: u8| char::from(ALPHABET[usize::from(byte) % ALPHABET.len()]);
        let clear: String = random::<PASSWORD_LENGTH>()?.into_iter().map(letter).collect();
        let hash = ShaCrypt::SHA512
            .hash_password_with_salt(clear.as_bytes(), &random::<SALT_LENGTH>()?)
            .context("hashing the password")?;
        Ok(Self {
            hash: Secret::new(hash.as_str().to_owned()),
            clear: Secret::new(clear),
        })
    }
}

fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    SysRng
        .try_fill_bytes(&mut bytes)
        .context("asking the system for random numbers")?;
    Ok(bytes)
}
