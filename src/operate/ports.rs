//! The ports of machines on 127.0.0.1.

use anyhow::Result;

use crate::config::Ports;
use crate::host;
use crate::instance::{Instance, Record};
use crate::paths::Paths;

/// Chooses the ports of a machine that does not run: those the user insists on, else those it had, else others.
/// `taken` are those of other machines, which may not run now.
///
/// # Errors
/// When a port that the user insists on is taken or may not be bound.
pub fn choose_ports(record: &mut Record, taken: &[u16]) -> Result<()> {
    let had = |port: u16| (port != 0).then_some(port);
    let (https, ssh) = (had(record.https_port), had(record.ssh_port));
    let mut last = None;
    for before in [(https, ssh), (https, None), (None, ssh), (None, None)] {
        let (https, ssh) = before;
        match host::ports::choose(record.wanted_ports.or(Ports { https, ssh }), taken) {
            Ok(ports) => {
                record.https_port = ports.https;
                record.ssh_port = ports.ssh;
                return Ok(());
            }
            Err(error) => last = Some(error),
        }
    }
    last.map_or(Ok(()), Err)
}

/// The ports that the other machines of this user have, running or not.
///
/// # Errors
/// When a folder cannot be read.
pub fn ports_of_others(paths: &Paths, but: &Instance) -> Result<Vec<u16>> {
    let others = Instance::all(paths)?.into_iter().filter(|other| other.name != but.name);
    let records = others.filter_map(|other| other.record().ok().flatten());
    Ok(records
        .flat_map(|record| [record.https_port, record.ssh_port])
        .collect())
}
