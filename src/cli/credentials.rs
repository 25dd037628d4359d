//! `provision credentials`

use anyhow::{Context as _, Result, bail};
use serde::Serialize;

use super::{App, Machine};
use crate::fault::{Cause, Fault};
use crate::identity::Identity;
use crate::report::{Output, Paint};

/// The arguments of `credentials`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Which machine.
    #[command(flatten)]
    pub machine: Machine,
}

/// What opens the account.
#[derive(Serialize)]
struct Shown {
    login: String,
    password: String,
    private_key: std::path::PathBuf,
}

impl Output for Shown {
    fn text(&self, _: Paint) -> String {
        let Self {
            login,
            password,
            private_key,
        } = self;
        format!(
            "login     {login}\npassword  {password}\nSSH key   {}",
            private_key.display()
        )
    }
}

impl Args {
    /// Shows the password.
    ///
    /// # Errors
    /// When there is no such machine or its keys cannot be read.
    pub fn run(&self, app: &App) -> Result<()> {
        let instance = app.instance(&self.machine)?;
        let record = instance.require()?;
        if !instance.identity().exists() {
            let message = format!("the machine {} has no user yet", instance.name);
            bail!(Fault::new(Cause::Usage, message).hint(instance.to_be_made()));
        }
        let identity = Identity::load(&instance.identity())?;
        let password = identity.password().context("the machine has no password")?;
        app.reporter.output(&Shown {
            login: record.login.to_string(),
            password: password.expose().to_owned(),
            private_key: instance.identity().join(crate::identity::PRIVATE_KEY),
        })
    }
}
