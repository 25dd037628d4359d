//! What is remembered of a machine.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use fs_err as fs;
use serde::{Deserialize, Serialize};

use super::{Instance, RECORD};
use crate::checkpoint::Base;
use crate::config::{AcceleratorChoice, Login, Ports};
use crate::event::Stage;
use crate::fault::{Cause, Fault};
use crate::machine::accelerator::Accelerator;
use crate::machine::driver::Hypervisor;

/// How the last `create` went. Whether there is a machine to start is another question: see [`Record::layer`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "phase", content = "stage")]
pub enum Phase {
    /// It works on this stage, failed there or was interrupted; the machine is still as the one before left it.
    Building(Stage),
    /// This stage failed and its machine was kept as it was.
    Failed(Stage),
    /// It made the machine whole.
    Made,
}

/// What is remembered of a machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The guest's user.
    pub login: Login,
    /// The guest definition.
    pub guest: String,
    /// When `create` was first run for it.
    pub made: jiff::Timestamp,
    /// How far it is.
    #[serde(flatten)]
    pub phase: Phase,
    /// The checkpoint under its disk; `None` while it was never made whole.
    pub layer: Option<Base>,
    /// The checkpoint on which the stage of `phase` works or was kept.
    #[serde(default)]
    pub work_layer: Option<Base>,
    /// What tells its disk from every other that it has had: random, as two may lie on the same checkpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_id: Option<String>,
    /// Whether nobody but the run that made its disk has worked in it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub untouched: bool,
    /// Whether its disk came from an image: it lies on no checkpoint, and its guest is handed this host's keys.
    #[serde(default)]
    pub imported: bool,
    /// The port on 127.0.0.1 that leads to the guest's 443.
    pub https_port: u16,
    /// The port on 127.0.0.1 that leads to the guest's 22.
    pub ssh_port: u16,
    /// The ports that the user insists on.
    #[serde(default)]
    pub wanted_ports: Ports,
    /// Virtual CPUs.
    pub cpus: u32,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Which program runs it.
    #[serde(default)]
    pub machine: Hypervisor,
    /// What of QEMU ran it last.
    pub accelerator: Option<Accelerator>,
    /// What the user wants to run it.
    #[serde(default)]
    pub wish: AcceleratorChoice,
    /// The project folder on the host.
    pub project: PathBuf,
    /// The kept moment, by its folder's name, whose disk the machine is about to get.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restoring: Option<String>,
}

impl Record {
    /// Another guest is wanted. While there is a disk the machine is of the guest of which that was made: it tells whether the ISO
    /// of then is still meant.
    pub fn follow_guest(&mut self, wanted: &str) {
        if self.layer.is_none() {
            wanted.clone_into(&mut self.guest);
        }
    }

    /// The site's address as this host's browsers need it, without a path: with the forwarded port, unless that is HTTPS's own.
    pub fn site(&self) -> String {
        let domain = self.login.domain();
        match self.https_port {
            443 => format!("https://{domain}"),
            port => format!("https://{domain}:{port}"),
        }
    }

    /// What runs it, for a person.
    pub fn runs_on(&self) -> String {
        let accelerator = self.accelerator.map(|accelerator| format!(", {}", accelerator.title()));
        format!("{}{}", self.machine.title(), accelerator.unwrap_or_default())
    }
}

impl Instance {
    /// What is remembered of it; `None` if it was never made.
    ///
    /// # Errors
    /// When the record cannot be read.
    pub fn record(&self) -> Result<Option<Record>> {
        let file = self.dir.join(RECORD);
        let bytes = match fs::read(&file) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        let record = serde_json::from_slice(&bytes);
        record.with_context(|| {
            let message = format!("the machine {} is damaged: reading {}", self.name, file.display());
            Fault::new(Cause::Other, message).hint(format!(
                "`provision destroy --name {}` removes it with all data in it",
                self.name
            ))
        })
    }

    /// The record of a machine that must be there.
    ///
    /// # Errors
    /// A [`Cause::Usage`] fault when it is not.
    pub fn require(&self) -> Result<Record> {
        self.record()?.with_context(|| self.none())
    }

    /// That it is not there.
    pub fn none(&self) -> Fault {
        Fault::new(Cause::Usage, format!("there is no machine {}", self.name))
            .hint("`provision list` names the machines of this host; `provision create` makes one")
    }

    /// Remembers `record`.
    ///
    /// # Errors
    /// When it cannot be written; the former one stays then.
    pub fn remember(&self, record: &Record) -> Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(&self.dir).context("writing the machine's record")?;
        serde_json::to_writer_pretty(&mut file, record)?;
        file.as_file().sync_all()?;
        file.persist(self.dir.join(RECORD))
            .context("writing the machine's record")?;
        Ok(())
    }
}
