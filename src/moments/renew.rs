//! What a guest that goes on from a kept memory does not know: that time has passed, and that it is a copy.

use std::io::Read;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;

use crate::ssh::{Exec, Session};
use crate::stage::Host;

/// Sets the clock to the first line of standard input and stirs the rest into the kernel's entropy. Its generator was
/// seeded anew by the machine's `vmgenid` before this (kernel, drivers/virt/vmgenid.c).
const SCRIPT: &str = "read -r now && date --utc --set=\"@$now\" > /dev/null && cat > /dev/urandom";

/// How long, in seconds on a real machine, that may take.
const LIMIT: u64 = 20;

/// Random bytes: twice what the kernel's generator holds.
const ENTROPY: usize = 64;

/// Sets the guest's clock and renews its entropy. A guest whose user may not is warned of.
///
/// # Errors
/// When the connection breaks, or the user interrupts.
pub fn renew(host: &Host, session: &mut Session) -> Result<()> {
    // root has no need of sudo, which may not be there for it.
    let command = format!("if [ \"$(id -u)\" = 0 ]; then sh -c '{SCRIPT}'; else sudo -n sh -c '{SCRIPT}'; fi");
    let job = Exec::new(command).limit(host.patience(LIMIT)).cancel(&host.cancel);
    let mut said = String::new();
    let status = session.exec(&job, Some(&mut Fresh::default()), &mut |_, line| said.push_str(line))?;
    if status != 0 {
        host.events.warn(format!(
            "the guest's clock could not be set: it is as late as its memory is old ({})",
            said.trim()
        ));
    }
    Ok(())
}

/// The time at which it is first read, and random bytes.
#[derive(Default)]
struct Fresh(Option<std::io::Cursor<Vec<u8>>>);

impl Read for Fresh {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        self.0.get_or_insert_with(|| std::io::Cursor::new(content())).read(into)
    }
}

fn content() -> Vec<u8> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut content = format!("{}.{:09}\n", now.as_secs(), now.subsec_nanos()).into_bytes();
    content.extend(rand::random::<[u8; ENTROPY]>());
    content
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_is_told_when_it_is_read() {
        let mut fresh = Fresh::default();
        let before = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let mut content = Vec::new();
        fresh.read_to_end(&mut content).unwrap();
        let line = content.split(|byte| *byte == b'\n').next().unwrap();
        let told: f64 = std::str::from_utf8(line).unwrap().parse().unwrap();
        #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 fit")]
        let before = before as f64;
        assert!(told >= before && told < before + 60.0, "{told}");
        assert_eq!(content.len() - line.len() - 1, ENTROPY);
    }
}
