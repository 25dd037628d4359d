//! The flags of every command that is about a machine that exists.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::config::{self, MachineName};

/// Which machine.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Machine {
    /// The machine [default: that of provision.toml, else the only one, else the one named after you]
    #[arg(long, env = "PROVISION_NAME", hide_env_values = true)]
    pub name: Option<MachineName>,
    /// The configuration file [default: ./provision.toml, if there is one]
    #[arg(long, env = "PROVISION_CONFIG", hide_env_values = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

impl Machine {
    /// The machine that is meant, of those that exist.
    ///
    /// # Errors
    /// When it cannot be told which; see [`config::machine_name`].
    pub fn choose(&self, cwd: &Path, existing: &[MachineName]) -> Result<MachineName> {
        config::machine_name(self.name.as_ref(), self.config.as_deref(), cwd, existing)
    }
}
