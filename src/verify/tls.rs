//! Which versions of TLS the site takes.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result};
use openssl::error::ErrorStack;
use openssl::ssl::{HandshakeError, Ssl, SslContext, SslMethod, SslVerifyMode, SslVersion};

use super::Verdict;
use crate::config::Login;
use crate::ssh::HOST;

/// How long the server may be silent in a handshake.
const SILENCE: Duration = Duration::from_secs(60);

/// Every cipher, also such as OpenSSL no longer offers by itself: a refusal must be the server's, not ours.
const CIPHERS: &str = "ALL:@SECLEVEL=0";

/// `SSL_R_TLSV1_ALERT_PROTOCOL_VERSION` and `SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE` of OpenSSL's sslerr.h (1000 plus the
/// number of the server's alert: RFC 8446, section 6), and `SSL_R_UNSUPPORTED_PROTOCOL`: the server answers with a
/// version that was not offered.
const REFUSALS: [i32; 3] = [1070, 1040, 258];

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    Tls11,
    Tls12,
    Tls13,
}

impl Version {
    const fn openssl(self) -> SslVersion {
        match self {
            Self::Tls11 => SslVersion::TLS1_1,
            Self::Tls12 => SslVersion::TLS1_2,
            Self::Tls13 => SslVersion::TLS1_3,
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tls11 => "TLS 1.1",
            Self::Tls12 => "TLS 1.2",
            Self::Tls13 => "TLS 1.3",
        })
    }
}

/// What a server did when it was offered a single version.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Answer {
    /// It agreed, on this cipher.
    Agreed(String),
    /// It refused by TLS's own means.
    Refused(String),
    /// It ended the connection without a word.
    Closed,
    /// It could not be asked, or answers something else than TLS.
    None(String),
}

/// Whether the server takes `version`.
///
/// # Errors
/// When OpenSSL cannot be set up.
pub(super) fn accepted(login: &Login, port: u16, version: Version) -> Result<Verdict> {
    Ok(match ask(login, port, version)? {
        Answer::Agreed(cipher) => Verdict::Holds(format!("it agreed on {cipher}")),
        Answer::Refused(alert) => Verdict::Broken(format!("it refuses {version} ({alert})")),
        Answer::Closed => Verdict::Broken("it closes the connection".into()),
        Answer::None(seen) => Verdict::Broken(seen),
    })
}

/// Whether the server refuses `version`. One that speaks no TLS at all does not.
///
/// # Errors
/// When OpenSSL cannot be set up.
pub(super) fn refused(login: &Login, port: u16, version: Version) -> Result<Verdict> {
    Ok(match ask(login, port, version)? {
        Answer::Agreed(cipher) => Verdict::Broken(format!("it agreed on {cipher}")),
        Answer::Refused(alert) => Verdict::Holds(format!("it says “{alert}”")),
        Answer::Closed if speaks_newer(login, port)? => Verdict::Holds("it closes the connection".into()),
        Answer::Closed => Verdict::Broken("it closes every connection".into()),
        Answer::None(seen) => Verdict::Broken(seen),
    })
}

fn speaks_newer(login: &Login, port: u16) -> Result<bool> {
    for version in [Version::Tls13, Version::Tls12] {
        if matches!(ask(login, port, version)?, Answer::Agreed(_)) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn ask(login: &Login, port: u16, version: Version) -> Result<Answer> {
    let ssl = client(login, version).with_context(|| format!("setting up {version}"))?;
    let stream = match connect(port) {
        Ok(stream) => stream,
        Err(error) => return Ok(Answer::None(format!("it does not answer: {error}"))),
    };
    Ok(match ssl.connect(stream) {
        Ok(stream) => {
            let cipher = stream
                .ssl()
                .current_cipher()
                .map_or("no cipher", |cipher| cipher.name());
            Answer::Agreed(format!("{} with {cipher}", stream.ssl().version_str()))
        }
        Err(HandshakeError::SetupFailure(error)) => return Err(error).context("setting up TLS"),
        Err(HandshakeError::Failure(stream) | HandshakeError::WouldBlock(stream)) => {
            let error = stream.error();
            match (error.ssl_error(), error.io_error()) {
                (Some(stack), _) => by_stack(stack),
                (None, Some(io)) if is_silence(io) => Answer::None("it is silent".into()),
                (None, _) => Answer::Closed,
            }
        }
    })
}

fn client(login: &Login, version: Version) -> Result<Ssl, ErrorStack> {
    let mut context = SslContext::builder(SslMethod::tls_client())?;
    context.set_min_proto_version(Some(version.openssl()))?;
    context.set_max_proto_version(Some(version.openssl()))?;
    context.set_cipher_list(CIPHERS)?;
    // The certificate is the site's own.
    context.set_verify(SslVerifyMode::NONE);
    let mut ssl = Ssl::new(&context.build())?;
    ssl.set_hostname(&login.domain())?;
    Ok(ssl)
}

fn connect(port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&SocketAddr::from((HOST, port)), SILENCE)?;
    stream.set_read_timeout(Some(SILENCE))?;
    stream.set_write_timeout(Some(SILENCE))?;
    Ok(stream)
}

fn by_stack(stack: &ErrorStack) -> Answer {
    let Some(error) = stack.errors().first() else {
        return Answer::Closed;
    };
    let reason = error.reason().unwrap_or("unknown error").to_owned();
    if REFUSALS.contains(&error.reason_code()) {
        Answer::Refused(reason)
    } else if reason.contains("unexpected eof") {
        Answer::Closed
    } else {
        Answer::None(format!("it does not speak TLS properly: {reason}"))
    }
}

fn is_silence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::testing::{Server, login};

    fn holds(verdict: &Verdict) -> bool {
        matches!(verdict, Verdict::Holds(_))
    }

    /// For each version whether the rule that it is accepted holds, and the rule that it is refused.
    fn verdicts(port: u16) -> [(bool, bool); 3] {
        [Version::Tls11, Version::Tls12, Version::Tls13].map(|version| {
            let accepted = accepted(&login(), port, version).unwrap();
            let refused = refused(&login(), port, version).unwrap();
            (holds(&accepted), holds(&refused))
        })
    }

    const YES: (bool, bool) = (true, false);
    const NO: (bool, bool) = (false, true);
    const NEITHER: (bool, bool) = (false, false);

    #[test]
    fn each_version_is_told_apart() {
        let table = [
            (SslVersion::TLS1_2, SslVersion::TLS1_3, [NO, YES, YES]),
            (SslVersion::TLS1_3, SslVersion::TLS1_3, [NO, NO, YES]),
            (SslVersion::TLS1_1, SslVersion::TLS1_2, [YES, YES, NO]),
            (SslVersion::TLS1, SslVersion::TLS1_1, [YES, NO, NO]),
        ];
        for (oldest, newest, expected) in table {
            let server = Server::start_with(oldest, newest, |_| String::new());
            assert_eq!(verdicts(server.port), expected, "{oldest:?} to {newest:?}");
        }
    }

    #[test]
    fn a_port_without_tls_neither_accepts_nor_refuses() {
        assert_eq!(verdicts(crate::process::testing::free_port()), [NEITHER; 3]);
        let closing = std::net::TcpListener::bind((HOST, 0)).unwrap();
        let port = closing.local_addr().unwrap().port();
        std::thread::spawn(move || closing.incoming().for_each(drop));
        assert_eq!(verdicts(port), [NEITHER; 3]);
        let plain = std::net::TcpListener::bind((HOST, 0)).unwrap();
        let port = plain.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for stream in plain.incoming() {
                let _ = io::Write::write_all(&mut stream.unwrap(), b"HTTP/1.1 400 Bad Request\r\n\r\n");
            }
        });
        assert_eq!(verdicts(port), [NEITHER; 3]);
    }
}
