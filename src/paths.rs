//! Where things are kept on the host.
//!
//! | folder | holds | environment variable |
//! |---|---|---|
//! | `~/.cache/provision/v1` | ISOs, checkpoints, keys that open them | `PROVISION_CACHE_DIR` |
//! | `~/.local/share/provision/machines` | one folder a machine | `PROVISION_DATA_DIR` |
//!
//! The XDG base directory variables are honoured on every system.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use etcetera::base_strategy::{BaseStrategy as _, Xdg};

/// The cache's layout; a program with another one leaves this one alone.
const LAYOUT: &str = "v1";

/// The program's folders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    /// What can be made again, at the cost of time.
    pub cache: PathBuf,
    /// The machines.
    pub machines: PathBuf,
}

impl Paths {
    /// The folders of this user, by environment.
    ///
    /// # Errors
    /// When there is no home folder.
    pub fn of_user() -> Result<Self> {
        let given = |name| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        let base = Xdg::new().context("finding the home folder")?;
        let cache = given("PROVISION_CACHE_DIR").unwrap_or_else(|| base.cache_dir().join("provision"));
        let data = given("PROVISION_DATA_DIR").unwrap_or_else(|| base.data_dir().join("provision"));
        // A guardian and QEMU run in other folders than this process.
        let cache = std::path::absolute(cache).context("finding the cache folder")?;
        let data = std::path::absolute(data).context("finding the data folder")?;
        Ok(Self {
            cache: cache.join(LAYOUT),
            machines: data.join("machines"),
        })
    }

    /// Where ISOs are kept.
    pub fn isos(&self) -> PathBuf {
        self.cache.join("iso")
    }

    /// The key pairs with which this host opens the checkpoints that know no login.
    pub fn builder(&self) -> PathBuf {
        self.cache.join("identities/_builder")
    }

    /// The key pairs and the password of `login`, shared by all machines with that login on this host, so that they
    /// share its checkpoints.
    pub fn identity(&self, login: &str) -> PathBuf {
        self.cache.join("identities").join(login)
    }
}
