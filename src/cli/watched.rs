//! How a command's run is watched over, whatever the command does: its time, its signs of life, what it leaves.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail};

use super::{Command, Limit};
use crate::fault::{Cause, Fault};
use crate::report::Records;

/// Refuses one file for two records, of which the later would replace the earlier.
pub fn require_two_files(cwd: &Path, junit: Option<&Path>, trace: Option<&Path>) -> Result<()> {
    // What is not there yet has no other name than that of its folder.
    let real = |path: &Path| {
        let path = cwd.join(path);
        let folder = path.parent().and_then(|folder| folder.canonicalize().ok());
        folder.map_or_else(
            || path.clone(),
            |folder| folder.join(path.file_name().unwrap_or_default()),
        )
    };
    if let (Some(junit), Some(trace)) = (junit, trace)
        && real(junit) == real(trace)
    {
        let message = format!("`--junit` and `--trace` both name {}", trace.display());
        bail!(Fault::new(Cause::Usage, message).hint("give each a file of its own"));
    }
    Ok(())
}

impl Command {
    /// The time that it may take: `limit`, unless another program takes this one's place.
    pub fn limit(&self, limit: Option<Limit>) -> Option<Duration> {
        let is_replaced = matches!(self, Self::Ssh(_) | Self::Guard { .. });
        limit.filter(|_| !is_replaced).and_then(|Limit(time)| time)
    }

    /// What is left of it beside what it prints.
    pub fn records(&self) -> Records {
        let (command, junit) = match self {
            Self::Create(args) => ("create", args.junit.clone()),
            Self::Rebuild(args) => ("rebuild", args.junit.clone()),
            Self::Fetch(_) => ("fetch", None),
            Self::Export(_) => ("export", None),
            Self::Import(_) => ("import", None),
            _ => ("", None),
        };
        // Those show what another program says, as it is.
        let relays = matches!(self, Self::Ssh(_) | Self::Exec(_) | Self::Logs(_) | Self::Guard { .. });
        Records {
            command,
            beats: !relays,
            summary: !command.is_empty(),
            junit,
        }
    }
}
