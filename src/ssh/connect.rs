//! One attempt to log in, made in small steps, so that whoever waits can look at other things in between.

use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use ssh_key::{HashAlg, PublicKey};
use ssh2::{BlockDirections, ErrorCode, MethodType};

use super::{HOST, Session, Target};
use crate::fault::{Cause, Fault};

/// The host key algorithms that are asked for. The pinned key is the first; a server that has it not may still show
/// another one, and is told apart from a broken connection by that.
const HOST_KEYS: &str = "ssh-ed25519,ecdsa-sha2-nistp256,rsa-sha2-512,rsa-sha2-256";

/// `LIBSSH2_ERROR_EAGAIN` of libssh2.h.
const EAGAIN: ErrorCode = ErrorCode::Session(-37);

/// How long calls that cannot be made in steps may block (closing a session whose server is gone), in milliseconds.
const BLOCKED: u32 = 2000;

/// Why a guest could not be logged in to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// Nothing that speaks SSH is there. QEMU's forwarded ports accept before the guest's server listens, so this
    /// may show as a refusal, a reset or as silence.
    #[error("the guest does not answer on SSH (127.0.0.1:{port}): {reason}")]
    NotYet {
        /// The port on 127.0.0.1.
        port: u16,
        /// What happened instead.
        reason: String,
    },
    /// The server showed another host key than the pinned one.
    #[error("127.0.0.1:{port} shows the host key {shown}, but the guest's is {pinned}")]
    HostKey {
        /// The port on 127.0.0.1.
        port: u16,
        /// The fingerprint of the key shown.
        shown: String,
        /// The fingerprint of the key expected.
        pinned: String,
    },
    /// The user's key was not accepted. While a guest boots, it lets nobody but root in (`pam_nologin(8)`).
    #[error("the guest does not let {user} in: {reason}")]
    Refused {
        /// The user.
        user: String,
        /// The server's or the library's reason.
        reason: String,
    },
    /// The pinned host key itself cannot be read.
    #[error("the pinned host key is damaged: {0}")]
    Pin(String),
}

impl ConnectError {
    /// What this means to the user.
    pub fn fault(&self) -> Fault {
        let message = self.to_string();
        match self {
            Self::NotYet { .. } => Fault::new(Cause::Guest, message).hint("`provision logs` shows the guest's console"),
            Self::HostKey { .. } => Fault::new(Cause::Verification, message)
                .hint("another program listens on this port, or the guest was replaced"),
            Self::Refused { .. } => Fault::new(Cause::Guest, message)
                .hint("`provision create` makes the machine anew when its keys were changed"),
            Self::Pin(_) => Fault::new(Cause::Verification, message),
        }
    }
}

/// How far an attempt is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Handshake,
    Authentication,
}

/// A login under way.
pub(super) struct Attempt<'a> {
    target: &'a Target,
    ssh: ssh2::Session,
    socket: Arc<TcpStream>,
    phase: Phase,
    begun: Instant,
    deadline: Instant,
}

impl<'a> Attempt<'a> {
    /// Connects; the server must let the user in within `limit`.
    pub(super) fn begin(target: &'a Target, limit: Duration) -> Result<Self, ConnectError> {
        let not_yet = |reason: String| ConnectError::NotYet {
            port: target.port,
            reason,
        };
        let begun = Instant::now();
        let address = SocketAddr::from((HOST, target.port));
        let socket = TcpStream::connect_timeout(&address, limit).map_err(|error| not_yet(error.to_string()))?;
        let socket = Arc::new(socket);
        let mut ssh = ssh2::Session::new().map_err(|error| not_yet(error.to_string()))?;
        ssh.method_pref(MethodType::HostKey, HOST_KEYS)
            .map_err(|error| not_yet(error.to_string()))?;
        ssh.set_tcp_stream(Arc::clone(&socket));
        ssh.set_timeout(BLOCKED);
        ssh.set_blocking(false);
        Ok(Self {
            target,
            ssh,
            socket,
            phase: Phase::Handshake,
            begun,
            deadline: begun + limit,
        })
    }

    /// Whether a server has said who it is.
    pub(super) fn has_heard(&self) -> bool {
        self.ssh.banner_bytes().is_some()
    }

    /// From its beginning on it may take `limit` in all.
    pub(super) fn may_take(&mut self, limit: Duration) {
        self.deadline = self.begun + limit;
    }

    /// Goes on for at most about `slice`; a session once the user is in.
    pub(super) fn advance(&mut self, slice: Duration) -> Result<Option<Session>, ConnectError> {
        let end = Instant::now() + slice;
        loop {
            let done = match self.phase {
                Phase::Handshake => self.handshake()?,
                Phase::Authentication => self.authenticate()?,
            };
            match (done, self.phase) {
                (true, Phase::Handshake) => {
                    self.check_host_key()?;
                    self.phase = Phase::Authentication;
                }
                (true, Phase::Authentication) => {
                    let (ssh, socket) = (self.ssh.clone(), Arc::clone(&self.socket));
                    return Ok(Some(Session::new(ssh, socket, self.target)));
                }
                (false, _) => ready(&self.ssh, &self.socket, Duration::from_millis(50)),
            }
            let now = Instant::now();
            if now >= self.deadline {
                return Err(self.not_yet("it accepts connections, but does not go on from there"));
            }
            if now >= end {
                return Ok(None);
            }
        }
    }

    fn handshake(&mut self) -> Result<bool, ConnectError> {
        match self.ssh.handshake() {
            Ok(()) => Ok(true),
            Err(error) if would_block(&error) => Ok(false),
            Err(error) => Err(self.not_yet(error.message())),
        }
    }

    fn check_host_key(&self) -> Result<(), ConnectError> {
        let pin = |error: ssh_key::Error| ConnectError::Pin(error.to_string());
        let pinned = PublicKey::from_openssh(&self.target.host_key).map_err(pin)?;
        let shown = self.ssh.host_key().map_or_else(Vec::new, |(key, _)| key.to_vec());
        if shown == pinned.to_bytes().map_err(pin)? {
            return Ok(());
        }
        let fingerprint = |key: &PublicKey| key.fingerprint(HashAlg::Sha256).to_string();
        Err(ConnectError::HostKey {
            port: self.target.port,
            shown: PublicKey::from_bytes(&shown).map_or_else(|_| "of an unknown kind".into(), |key| fingerprint(&key)),
            pinned: fingerprint(&pinned),
        })
    }

    fn authenticate(&self) -> Result<bool, ConnectError> {
        let Target { user, private_key, .. } = self.target;
        match self.ssh.userauth_pubkey_memory(user, None, private_key.expose(), None) {
            Ok(()) => Ok(true),
            Err(error) if would_block(&error) => Ok(false),
            // A server also closes the connection on a user who may not log in yet.
            Err(error) => Err(ConnectError::Refused {
                user: user.clone(),
                reason: error.message().to_owned(),
            }),
        }
    }

    fn not_yet(&self, reason: &str) -> ConnectError {
        ConnectError::NotYet {
            port: self.target.port,
            reason: reason.to_owned(),
        }
    }
}

/// Whether libssh2 only says that the call must be made again.
pub(super) fn would_block(error: &ssh2::Error) -> bool {
    error.code() == EAGAIN
}

/// Waits until the socket is ready for what libssh2 was held up by, at most `limit`. It may come back early.
pub(super) fn ready(ssh: &ssh2::Session, socket: &TcpStream, limit: Duration) {
    let flags = match ssh.block_directions() {
        BlockDirections::Outbound | BlockDirections::Both => PollFlags::IN | PollFlags::OUT,
        BlockDirections::Inbound | BlockDirections::None => PollFlags::IN,
    };
    let mut fds = [PollFd::from_borrowed_fd(socket.as_fd(), flags)];
    let limit = Timespec {
        tv_sec: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: limit.subsec_nanos().into(),
    };
    // An interrupted wait is one that came back early.
    let _ = rustix::event::poll(&mut fds, Some(&limit));
}
