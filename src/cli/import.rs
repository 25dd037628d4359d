//! `provision import`

use std::path::PathBuf;

use anyhow::{Result, bail};
use serde::Serialize;

use super::App;
use crate::config::{self, Login, MachineChoice, MachineName, Ports, value};
use crate::fault::{Cause, Fault};
use crate::host;
use crate::import::{self, Import};
use crate::report::{Output, Paint};

/// The arguments of `import`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The image: an .ova (checked by its manifest), .qcow2 or .vdi
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// What the machine is to be called
    #[arg(long, value_name = "NAME", value_parser = |text: &str| MachineName::try_from(text.to_owned()))]
    pub name: MachineName,
    /// The guest's user [default: as an exported OVA says, else your user name]
    #[arg(long, value_name = "LOGIN", value_parser = |text: &str| Login::try_from(text.to_owned()))]
    pub login: Option<Login>,
    /// The folder `identity` of the machine that was exported, for an image that is not sealed and comes from another host
    #[arg(long, value_name = "FOLDER")]
    pub identity: Option<PathBuf>,
    /// What is to run it [default: auto, as for `create`]
    #[arg(
        long,
        value_name = "auto|qemu|virtualbox",
        env = "PROVISION_MACHINE",
        hide_env_values = true,
        hide_possible_values = true
    )]
    pub machine: Option<MachineChoice>,
    /// Virtual CPUs [default: as the OVA says, else 2]
    #[arg(long, value_name = "N", value_parser = value::cpus)]
    pub cpus: Option<u32>,
    /// Memory [default: as the OVA says, else 4G]
    #[arg(long, value_name = "SIZE", value_parser = value::memory)]
    pub memory: Option<u64>,
    /// The port on 127.0.0.1 that leads to the site [default: 443 if you may bind it, else 8443, else a free one]
    #[arg(long, value_name = "PORT", value_parser = value::port)]
    pub https_port: Option<u16>,
    /// The port on 127.0.0.1 that leads to SSH [default: a free one]
    #[arg(long, value_name = "PORT", value_parser = value::port)]
    pub ssh_port: Option<u16>,
    /// Replace a stopped machine of that name, with all data in it
    #[arg(short, long)]
    pub force: bool,
}

/// The machine that was made.
#[derive(Serialize)]
struct Shown {
    name: String,
    login: String,
    cpus: u32,
    memory_mib: u64,
    https_port: u16,
    ssh_port: u16,
    folder: PathBuf,
}

impl Output for Shown {
    fn text(&self, paint: Paint) -> String {
        format!(
            "machine  {}\nlogin    {}\nstart    provision start --name {}",
            paint.bold(&self.name),
            self.login,
            self.name
        )
    }
}

impl Args {
    /// Makes the machine.
    ///
    /// # Errors
    /// When there is one of that name, the image is damaged or names other files, or space is short.
    pub fn run(&self, app: &App) -> Result<()> {
        let ports = Ports {
            https: self.https_port,
            ssh: self.ssh_port,
        };
        if let (Some(https), Some(ssh)) = (ports.https, ports.ssh)
            && https == ssh
        {
            let message = format!("--ssh-port: {ssh} is the port for https already");
            bail!(Fault::new(Cause::Usage, message).hint("give each a port of its own, or leave one out"));
        }
        host::require(&app.cancel)?;
        let (instance, record) = import::import(&Import {
            file: &app.cwd.join(&self.file),
            name: &self.name,
            force: self.force,
            login: self.login.as_ref(),
            default_login: config::host_user().and_then(|user| Login::try_from(user).ok()),
            identity: self.identity.as_deref(),
            program: self.machine.unwrap_or_default(),
            cpus: self.cpus,
            memory_mib: self.memory,
            ports,
            paths: &app.paths,
            events: &app.events,
            cancel: &app.cancel,
        })?;
        app.reporter.output(&Shown {
            name: instance.name.to_string(),
            login: record.login.to_string(),
            cpus: record.cpus,
            memory_mib: record.memory_mib,
            https_port: record.https_port,
            ssh_port: record.ssh_port,
            folder: instance.dir().to_owned(),
        })
    }
}
