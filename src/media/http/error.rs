//! Why a request gave nothing.

use crate::fault::{Cause, Fault};

/// Why a request gave nothing. Addresses are shown without user name and password.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// Not an http or https address.
    #[error("{0:?} is no http or https address")]
    Address(String),
    /// No answer at all.
    #[error("no answer from {url}: {reason}")]
    Unreachable {
        /// What was asked for.
        url: String,
        /// What went wrong.
        reason: String,
    },
    /// Somebody answers who cannot prove to be the server.
    #[error("{url} has a certificate that this host does not trust: {reason}")]
    Untrusted {
        /// What was asked for.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// An answer other than the file.
    #[error("{url} answered {status}")]
    Status {
        /// What was asked for.
        url: String,
        /// The status code.
        status: u16,
    },
    /// The answer broke off.
    #[error("{url} broke off: {reason}")]
    Broken {
        /// What was asked for.
        url: String,
        /// What went wrong.
        reason: String,
    },
    /// An answer that is something else than the file, as login pages and some proxies give.
    #[error("{url} is not what it should be: {reason}")]
    Other {
        /// What was asked for.
        url: String,
        /// What it is instead.
        reason: String,
    },
    /// The answer is larger than what was asked for can be.
    #[error("{url} is larger than {limit} bytes")]
    TooLarge {
        /// What was asked for.
        url: String,
        /// What was allowed.
        limit: u64,
    },
}

impl HttpError {
    /// Whether `error` is one of these.
    pub fn of(error: &anyhow::Error) -> Option<&Self> {
        error.downcast_ref()
    }

    /// Whether the same request may succeed a little later.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Broken { .. } => true,
            // Request Timeout, Too Early, Too Many Requests, and the server's own troubles.
            Self::Status { status, .. } => matches!(status, 408 | 425 | 429 | 500..=599),
            Self::Address(_) | Self::Untrusted { .. } | Self::Other { .. } | Self::TooLarge { .. } => false,
        }
    }

    /// Whether the server says that the file is not there (any more).
    pub const fn is_gone(&self) -> bool {
        matches!(self, Self::Status { status: 404 | 410, .. })
    }
}

pub(super) fn no_client(error: reqwest::Error) -> anyhow::Error {
    let reason = chain(&error);
    let fault = Fault::new(Cause::Network, format!("HTTPS cannot be set up: {reason}"));
    let hint = "install the package ca-certificates, or name a file of trusted certificates in SSL_CERT_FILE";
    anyhow::Error::new(error).context(fault.hint(hint))
}

pub(super) fn unreachable(url: String, error: reqwest::Error) -> HttpError {
    let error = error.without_url();
    if let Some(certificate) = certificate_error(&error) {
        let reason = certificate.to_string();
        return HttpError::Untrusted { url, reason };
    }
    let reason = chain(&error);
    HttpError::Unreachable { url, reason }
}

fn certificate_error<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a rustls::CertificateError> {
    let mut next = Some(error);
    while let Some(error) = next {
        // An I/O error does not count what it wraps among its sources.
        let wrapped = error.downcast_ref::<std::io::Error>().and_then(|io| io.get_ref());
        let tls = wrapped
            .and_then(|inner| inner.downcast_ref())
            .or_else(|| error.downcast_ref());
        if let Some(rustls::Error::InvalidCertificate(certificate)) = tls {
            return Some(certificate);
        }
        next = wrapped.map(|inner| inner as _).or_else(|| error.source());
    }
    None
}

pub(super) fn broken(url: String, reason: &str) -> HttpError {
    let reason = reason.to_owned();
    HttpError::Broken { url, reason }
}

/// An error with what lies beneath it, each part once.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}
