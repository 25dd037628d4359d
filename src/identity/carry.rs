//! An identity on its way to another host.

use std::path::Path;

use anyhow::{Context as _, Result};
use fs_err as fs;

use super::make::write_private;
use super::{
    HOST_PRIVATE_KEY, HOST_PUBLIC_KEY, Identity, KNOWN_HOSTS, KeyPair, PASSWORD, PASSWORD_HASH, PRIVATE_KEY,
    PUBLIC_KEY, Secret,
};

impl Identity {
    /// The names of the files that an identity may consist of.
    pub const FILES: [&str; 7] = [
        PRIVATE_KEY,
        PUBLIC_KEY,
        HOST_PRIVATE_KEY,
        HOST_PUBLIC_KEY,
        KNOWN_HOSTS,
        PASSWORD,
        PASSWORD_HASH,
    ];

    /// One that opens nothing. In keys that do not depend on the host it stands for whichever identity a host has.
    pub fn nobody() -> Self {
        let none = || KeyPair {
            private: Secret::new(String::new()),
            public: String::new(),
        };
        Self {
            user: none(),
            host: none(),
            password: None,
        }
    }

    /// Its files, by name.
    pub fn to_files(&self) -> Vec<(&'static str, Secret)> {
        let files = self.files().into_iter();
        files.map(|(name, content)| (name, Secret::new(content))).collect()
    }

    /// The identity that `files` are; a folder beside `dir`, where it shall lie, is used for a moment.
    ///
    /// # Errors
    /// When they are damaged or incomplete.
    pub fn from_files<'a>(files: impl IntoIterator<Item = (&'a str, &'a [u8])>, dir: &Path) -> Result<Self> {
        let parent = dir.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(parent)?;
        // The prefix by which it is known as half an identity, should it be left.
        let folder = tempfile::Builder::new()
            .prefix(".identity-")
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700))
            .tempdir_in(parent)
            .with_context(|| format!("writing in {}", parent.display()))?;
        for (name, content) in files {
            write_private(&folder.path().join(name), content)?;
        }
        Self::load(folder.path())
    }

    /// Makes it the identity in the folder `dir`. One that is there is replaced only if `replace` says so.
    ///
    /// # Errors
    /// When it cannot be written, or another one is there.
    pub fn settle_in(&self, dir: &Path, replace: bool) -> Result<()> {
        self.publish(dir, replace)?;
        fs::File::open(dir.parent().unwrap_or(dir))?.sync_all()?;
        anyhow::ensure!(
            Self::load(dir)? == *self,
            "another command has made other keys in {}",
            dir.display()
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_carried_is_the_same_and_whole() {
        let folder = tempfile::tempdir().unwrap();
        let [from, to] = ["from", "to/identities/_builder"].map(|name| folder.path().join(name));
        let made = Identity::load_or_create(&from, true).unwrap();
        let files = made.to_files();
        let as_bytes = || files.iter().map(|(name, content)| (*name, content.expose().as_bytes()));
        let carried = Identity::from_files(as_bytes(), &to).unwrap();
        assert_eq!(carried, made);
        carried.settle_in(&to, false).unwrap();
        assert_eq!(Identity::load(&to).unwrap(), made);
        assert_eq!(std::fs::read_dir(to.parent().unwrap()).unwrap().count(), 1);
        assert!(files.iter().all(|(name, _)| Identity::FILES.contains(name)));

        for missing in [PRIVATE_KEY, HOST_PUBLIC_KEY, PASSWORD_HASH] {
            let rest = as_bytes().filter(|(name, _)| *name != missing);
            Identity::from_files(rest, &to).unwrap_err();
        }
        let other = Identity::load_or_create(&folder.path().join("other"), false).unwrap();
        assert!(other.settle_in(&to, false).is_err(), "one that is there stays");
        assert_eq!(Identity::load(&to).unwrap(), made);
        other.settle_in(&to, true).unwrap();
        assert_eq!(Identity::load(&to).unwrap(), other);
    }

    #[test]
    fn nobody_is_always_the_same() {
        assert_eq!(Identity::nobody().fingerprint(), Identity::nobody().fingerprint());
        assert_eq!(Identity::nobody().keyed_hash_key(), Identity::nobody().keyed_hash_key());
    }
}
