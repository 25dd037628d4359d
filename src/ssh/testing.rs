//! A real SSH server for tests, on a port of its own.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::{HOST, Session, Target};
use crate::identity::Identity;
use crate::process::testing::free_port;
use crate::wait::Wait;

/// Where OpenSSH's server is on the systems that the tests run on.
const PROGRAM: &str = "/usr/sbin/sshd";

/// How long the server may take to answer on a busy machine.
const START: Duration = Duration::from_secs(60);

/// OpenSSH's server with its own configuration and keys; ends when it is dropped.
pub(crate) struct Sshd {
    child: Child,
    port: u16,
    folder: tempfile::TempDir,
    identity: Identity,
}

impl Sshd {
    /// Starts a server whose user is the one that runs the test.
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("identity");
        let identity = Identity::load_or_create(&dir, false).unwrap();
        std::fs::write(folder.path().join("authorized_keys"), identity.public_key()).unwrap();
        let port = free_port();
        let config = folder.path().join("sshd_config");
        let text = [
            format!("ListenAddress {HOST}:{port}"),
            format!("HostKey {}", dir.join("ssh_host_ed25519_key").display()),
            format!("AuthorizedKeysFile {}", folder.path().join("authorized_keys").display()),
            format!("PidFile {}", folder.path().join("pid").display()),
            "PermitRootLogin yes".into(),
            "StrictModes no".into(),
            "UsePAM no".into(),
            "MaxStartups 100".into(),
        ];
        std::fs::write(&config, text.join("\n") + "\n").unwrap();
        // Debian's server insists on this folder, which its service makes at boot.
        let _ = std::fs::create_dir("/run/sshd");
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let child = Command::new(PROGRAM)
            .args(["-D", "-e", "-f"])
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        Self {
            child,
            port,
            folder,
            identity,
        }
    }

    /// How its user logs in.
    pub(crate) fn target(&self) -> Target {
        let id = Command::new("id").arg("-un").output().unwrap();
        let user = String::from_utf8(id.stdout).unwrap();
        Target::new(self.port, user.trim(), &self.identity)
    }

    /// A session of its user.
    pub(crate) fn session(&self) -> Session {
        let wait = Wait::new("the test's SSH server", START);
        Session::wait_for(&self.target(), wait, || Ok(())).unwrap_or_else(|error| panic!("{error:#}\n{}", self.log()))
    }

    /// The folder with its identity.
    pub(crate) fn identity_dir(&self) -> std::path::PathBuf {
        self.folder.path().join("identity")
    }

    /// What it said.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
