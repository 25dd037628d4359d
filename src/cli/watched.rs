//! How a command's run is watched over, whatever the command does: its time, its signs of life, what it leaves.

use std::time::Duration;

use super::{Command, Limit};
use crate::report::Records;

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
