//! `provision ssh-config`

use std::path::PathBuf;

use anyhow::{Result, bail};
use serde::Serialize;

use super::{App, Machine};
use crate::fault::{Cause, Fault};
use crate::report::{Output, Paint};
use crate::{identity, ssh};

/// The arguments of `ssh-config`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Which machine.
    #[command(flatten)]
    pub machine: Machine,
}

/// How OpenSSH reaches the machine.
#[derive(Serialize)]
struct Shown {
    host: String,
    hostname: String,
    port: u16,
    user: String,
    identity_file: PathBuf,
    known_hosts: PathBuf,
    config: String,
}

impl Output for Shown {
    fn text(&self, _: Paint) -> String {
        self.config.clone()
    }
}

impl Args {
    /// Prints the block. Of a machine that does not run too: editors read it long before.
    ///
    /// # Errors
    /// When there is no such machine, or it is not made yet.
    pub fn run(&self, app: &App) -> Result<()> {
        let instance = app.instance(&self.machine)?;
        let record = instance.require()?;
        let (name, folder) = (&instance.name, instance.identity());
        if record.ssh_port == 0 || !folder.join(identity::PRIVATE_KEY).exists() {
            let message = format!("the machine {name} has no user yet");
            bail!(Fault::new(Cause::Usage, message).hint(instance.to_be_made()));
        }
        if !instance.runs(&record) {
            app.events.note(format!(
                "{name} does not run; a start chooses another port than {} if that is taken then",
                record.ssh_port
            ));
        }
        app.reporter.output(&Shown {
            host: name.to_string(),
            hostname: ssh::HOST.to_string(),
            port: record.ssh_port,
            user: record.login.to_string(),
            identity_file: folder.join(identity::PRIVATE_KEY),
            known_hosts: folder.join(identity::KNOWN_HOSTS),
            config: ssh::config::block(name.as_str(), record.ssh_port, record.login.as_str(), &folder),
        })
    }
}
