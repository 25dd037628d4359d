//! Makes the user LOGIN, the machine's name and the site's name, gives the guest the login's own host key and closes
//! root's SSH.

use anyhow::{Context as _, Result};

use super::booted::{self, Script};
use super::{Host, Work};
use crate::config::Login;
use crate::event::Stage;
use crate::identity::Identity;
use crate::key::{Inputs, digest};
use crate::machine::Forward;
use crate::ssh::Target;

const SCRIPT: &str = include_str!("../../provision/debian/account.sh");

/// What the stage reads, for its key.
pub fn inputs(login: &Login, identity: &Identity) -> Inputs {
    Inputs::from([
        ("account.sh".to_owned(), digest(SCRIPT.as_bytes())),
        ("login".to_owned(), login.to_string()),
        ("identity".to_owned(), identity.fingerprint()),
    ])
}

/// Runs the stage on the disk of `work`. After it only `login` can log in.
///
/// # Errors
/// When the guest does not come up or the script fails.
pub fn run(
    host: &Host,
    work: &Work,
    forwards: &[Forward],
    root: &Target,
    login: &Login,
    identity: &Identity,
) -> Result<()> {
    let secrets = secrets(identity).context("packing the account's keys")?;
    booted::with_guest(
        host,
        work,
        Stage::Account,
        forwards,
        root,
        |_| false,
        |session| {
            host.events.step(Stage::Account, format!("making the user {login}"));
            let script = Script {
                name: "account.sh",
                text: SCRIPT,
                args: &[
                    "--login".into(),
                    login.to_string(),
                    "--hostname".into(),
                    login.to_string(),
                ],
                input: &secrets,
            };
            booted::run_script(host, work, Stage::Account, session, &script)
        },
    )
}

/// What the script reads from its standard input: a tar archive with one file each.
fn secrets(identity: &Identity) -> Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    let files = [
        ("password-hash", identity.password_hash().unwrap_or_default()),
        ("authorized_keys", identity.public_key()),
        ("ssh_host_ed25519_key", identity.host_private_key()),
    ];
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o600);
        header.set_cksum();
        archive.append_data(&mut header, name, content.as_bytes())?;
    }
    Ok(archive.into_inner()?)
}
