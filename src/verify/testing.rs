//! A real HTTPS server for tests, on a port of its own.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use openssl::asn1::Asn1Time;
use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::rsa::Rsa;
use openssl::ssl::{SslAcceptor, SslMethod, SslVersion};
use openssl::x509::{X509, X509NameBuilder};

use crate::config::Login;
use crate::ssh::HOST;

/// The user of the tests.
pub(super) fn login() -> Login {
    Login::try_from("alice".to_owned()).unwrap()
}

/// A server that answers each request with what a function makes of its head; ends when it is dropped.
pub(super) struct Server {
    pub(super) port: u16,
    stop: Arc<AtomicBool>,
}

impl Server {
    /// A server with TLS 1.2 and 1.3.
    pub(super) fn start(answer: impl Fn(&str) -> String + Send + Sync + 'static) -> Self {
        Self::start_with(SslVersion::TLS1_2, SslVersion::TLS1_3, answer)
    }

    /// A server with these versions of TLS.
    pub(super) fn start_with(
        oldest: SslVersion,
        newest: SslVersion,
        answer: impl Fn(&str) -> String + Send + Sync + 'static,
    ) -> Self {
        let acceptor = acceptor(oldest, newest);
        let listener = TcpListener::bind((HOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                serve(&acceptor, stream.unwrap(), &answer);
            }
        });
        Self { port, stop }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(SocketAddr::from((HOST, self.port)));
    }
}

fn serve(acceptor: &SslAcceptor, stream: TcpStream, answer: &impl Fn(&str) -> String) {
    // A client that offers another version, or goes away, is none of the server's errors.
    let Ok(mut stream) = acceptor.accept(stream) else {
        return;
    };
    let mut head = String::new();
    let mut reader = BufReader::new(&mut stream);
    while !head.ends_with("\r\n\r\n") {
        if !matches!(reader.read_line(&mut head), Ok(1..)) {
            return;
        }
    }
    let _ = stream.write_all(answer(&head).as_bytes());
    let _ = stream.shutdown();
}

fn acceptor(oldest: SslVersion, newest: SslVersion) -> SslAcceptor {
    let key = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
    let mut name = X509NameBuilder::new().unwrap();
    name.append_entry_by_text("CN", &login().domain()).unwrap();
    let name = name.build();
    let mut certificate = X509::builder().unwrap();
    certificate.set_version(2).unwrap();
    certificate.set_subject_name(&name).unwrap();
    certificate.set_issuer_name(&name).unwrap();
    certificate.set_pubkey(&key).unwrap();
    certificate
        .set_not_before(&Asn1Time::days_from_now(0).unwrap())
        .unwrap();
    certificate.set_not_after(&Asn1Time::days_from_now(1).unwrap()).unwrap();
    certificate.sign(&key, MessageDigest::sha256()).unwrap();
    let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server()).unwrap();
    acceptor.set_private_key(&key).unwrap();
    acceptor.set_certificate(&certificate.build()).unwrap();
    acceptor.set_cipher_list("ALL:@SECLEVEL=0").unwrap();
    acceptor.clear_options(openssl::ssl::SslOptions::NO_TLSV1 | openssl::ssl::SslOptions::NO_TLSV1_1);
    acceptor.set_min_proto_version(Some(oldest)).unwrap();
    acceptor.set_max_proto_version(Some(newest)).unwrap();
    acceptor.build()
}
