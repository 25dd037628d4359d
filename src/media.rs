//! Installation media: a verified ISO in the cache, what can be read from it, and the seed that is added to its
//! installer.
//!
//! Trust comes from one of three places, and [`Origin`] says from which: a checksum file that a built-in key signed,
//! a checksum that the user gave, or nothing but the user's word for a local file. Whatever it is, an ISO is hashed
//! each time before it is used.

mod carry;
mod digest;
mod download;
mod foresee;
mod http;
pub mod iso;
mod local;
mod progress;
mod release;
pub mod remaster;
mod resolution;
pub mod seed;
mod signature;
mod store;
mod supply;
#[cfg(test)]
pub mod testing;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use anyhow::Result;
use serde::{Deserialize, Serialize};

pub use carry::{is_name_of_release, is_release, release_of, take_release};
pub use digest::Digest;
pub use foresee::foresee;
pub use release::Release;
pub use remaster::BootFiles;
pub use signature::fingerprints;
pub use store::{CachedIso, Rest, list, remove_rest, rests};
pub use supply::{Pinned, is_name};

use crate::cancel::Cancel;
use crate::config::{IsoChoice, Location};
use crate::event::Events;
use crate::fault::{Cause, Fault};
use http::{Http, HttpError, Patience};
use resolution::Resolved;
use store::Place;
use supply::Supply;

/// Which ISO is wanted.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The guest definition's.
    pub release: &'a Release,
    /// The armoured public key (or keys) that sign it.
    pub key: &'a [u8],
    /// The user's own choice in its place.
    pub choice: Option<&'a IsoChoice>,
    /// The one that is taken in place of a newer release: while it is in the cache, or nobody has to read it.
    pub pinned: Option<&'a Installed>,
    /// Whether the mirror is asked for the current release even if it was asked lately.
    pub refresh: bool,
    /// Whether no server is asked at all.
    pub offline: bool,
}

/// An ISO that may be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Iso {
    /// The file.
    pub path: PathBuf,
    /// Its name as its publisher gave it.
    pub name: String,
    /// What it hashes to: with the hash function by which it was checked, so the same file has another digest when
    /// it is checked another way.
    pub digest: Digest,
    /// Why it is trusted.
    pub origin: Origin,
}

/// Why an ISO is trusted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// A signed checksum file names it.
    Signed {
        /// The fingerprint of the key that signed it.
        fingerprint: String,
    },
    /// It hashes to what the user said.
    Checksum,
    /// It is a file of the user's that nobody vouches for.
    Unverified,
}

/// What is known of an ISO without a look at the network or at its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Its name.
    pub name: String,
    /// What it must hash to.
    pub digest: Digest,
    /// Why it is trusted.
    pub origin: Origin,
    /// Whether [`obtain`] would use this one without asking the mirror for a newer one.
    pub fresh: bool,
    /// Where it is, if it is on this host.
    pub path: Option<PathBuf>,
}

/// The ISO that a machine was installed from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    /// Its digest, as the stage's input has it.
    pub digest: String,
    /// What else is known of it, though it may have left this host; nothing where an older version of this program
    /// installed it.
    pub known: Option<Known>,
}

/// Gives the ISO that `request` means: from the folder `cache` if it is there and sound, else from the network.
///
/// # Errors
/// [`Cause::Verification`] when a signature or checksum is missing or wrong, [`Cause::Network`] when no server gives
/// the file, [`Cause::Space`] when it does not fit on the disk, [`Cause::Config`] when the user's own file is not
/// there, [`Cause::Interrupted`].
pub fn obtain(request: &Request, cache: &Path, events: &Events, cancel: &Cancel) -> Result<Iso> {
    obtain_with(Patience::default(), request, cache, events, cancel)
}

/// Gives the very ISO that was pinned: from the folder `cache` if it is there and sound, else from wherever `release` says
/// that ISOs are, an older point release from its archive; `offline` asks no server.
///
/// # Errors
/// Those of [`obtain`].
pub fn obtain_pinned(
    pinned: &Pinned,
    release: &Release,
    offline: bool,
    cache: &Path,
    events: &Events,
    cancel: &Cancel,
) -> Result<Iso> {
    let supply = Supply {
        patience: Patience::default(),
        cache,
        events,
        cancel,
        offline,
    };
    supply.pinned(pinned, release)
}

fn obtain_with(patience: Patience, request: &Request, cache: &Path, events: &Events, cancel: &Cancel) -> Result<Iso> {
    let supply = Supply {
        patience,
        cache,
        events,
        cancel,
        offline: request.offline,
    };
    match request.choice {
        None => match pinned(request, cache) {
            Some(kept) => supply.kept_or_released(&kept, request),
            None => supply.released(request),
        },
        Some(choice) => match (&choice.location, &choice.checksum) {
            (Location::File(path), sum) => local::obtain(path, sum.as_ref(), cache, events, cancel),
            (Location::Url(url), Some(sum)) => supply.at_address(url, &sum.try_into()?),
            (Location::Url(url), None) => Err(unvouched(url).into()),
        },
    }
}

/// Tells what [`obtain`] would give, if that is known without the network. Nothing is hashed.
///
/// # Errors
/// When the user chose an address without a checksum.
pub fn cached(request: &Request, cache: &Path) -> Result<Option<Known>> {
    let Some(choice) = request.choice else {
        if let Some(CachedIso { record, path }) = pinned(request, cache) {
            return Ok(Some(Known {
                name: record.name,
                digest: record.digest,
                origin: record.origin,
                fresh: true,
                path: Some(path),
            }));
        }
        let known = request.pinned.and_then(|pinned| pinned.known.clone());
        if let Some(known) = known.filter(|known| matches!(known.origin, Origin::Signed { .. })) {
            return Ok(Some(known));
        }
        let resolved = resolution::kept(request.release, request.key, cache);
        return Ok(resolved.map(|resolved| known_release(resolved, request.refresh, cache)));
    };
    match (&choice.location, &choice.checksum) {
        (Location::File(path), sum) => local::known(path, sum.as_ref(), cache),
        (Location::Url(url), Some(sum)) => {
            let (digest, name) = (sum.try_into()?, supply::name_in(url));
            let path = Place::new(cache, &digest, &name).iso();
            let path = path.exists().then_some(path);
            Ok(Some(Known {
                name,
                digest,
                origin: Origin::Checksum,
                fresh: true,
                path,
            }))
        }
        (Location::Url(url), None) => Err(unvouched(url).into()),
    }
}

/// The pinned ISO, if it is in the cache and was a signed release.
fn pinned(request: &Request, cache: &Path) -> Option<CachedIso> {
    let digest = &request.pinned?.digest;
    let isos = list(cache).ok()?;
    isos.into_iter()
        .find(|iso| iso.record.digest.to_string() == *digest && matches!(iso.record.origin, Origin::Signed { .. }))
}

fn known_release(resolved: Resolved, refresh: bool, cache: &Path) -> Known {
    let fresh = resolved.is_fresh() && !refresh;
    let path = Place::new(cache, &resolved.chosen.digest, &resolved.chosen.name).iso();
    Known {
        fresh,
        path: path.exists().then_some(path),
        name: resolved.chosen.name,
        digest: resolved.chosen.digest,
        origin: Origin::Signed {
            fingerprint: resolved.fingerprint,
        },
    }
}

fn unvouched(url: &str) -> Fault {
    let message = format!("{} has no checksum to verify it by", http::shown(url));
    Fault::new(Cause::Verification, message)
        .hint("add `--iso-sha512 SUM` or `--iso-sha256 SUM`; the publisher lists it beside the ISO")
}

/// An error of the network as the user sees it; any other error as it is.
fn unreachable(error: anyhow::Error) -> anyhow::Error {
    let hint = match HttpError::of(&error) {
        None => return error,
        Some(HttpError::Untrusted { .. }) => {
            "install the package ca-certificates; behind a proxy that reads HTTPS, SSL_CERT_FILE names its certificate"
        }
        Some(HttpError::Other { .. }) => {
            "a proxy or a login page answers in the mirror's place: open a page in a browser first; `--iso PATH` uses a file you already have"
        }
        Some(_) => {
            "check the connection and the proxy variables (HTTPS_PROXY, NO_PROXY); `--iso PATH` uses a file you already have"
        }
    };
    error.context(Fault::new(Cause::Network, "the download failed").hint(hint))
}
