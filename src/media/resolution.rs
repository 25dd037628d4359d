//! Which ISO is the current one: the mirror's checksum file, its signature, and the cached pair of both.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::digest::parse_sums;
use super::http::{self, Http, HttpError};
use super::release::{Chosen, Release, address};
use super::{signature, store, unreachable};
use crate::event::{Events, Stage};
use crate::fault::{Cause, Fault};

/// How long a resolution is used without asking again.
const FRESH: Duration = Duration::from_secs(24 * 3600);

/// Checksum files and signatures are far smaller, in bytes.
const LIMIT: u64 = 4 << 20;

/// How an armoured signature begins (RFC 9580, 6.2.1). What has not even this is no signature that could be wrong.
const ARMOUR: &str = "-----BEGIN PGP SIGNATURE-----";

/// The current ISO of a guest definition, vouched for by a signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// Which file.
    pub chosen: Chosen,
    /// The address of the folder in which it was listed.
    pub directory: String,
    /// The fingerprint of the key that signed the list.
    pub fingerprint: String,
    /// When the list was signed.
    pub made: SystemTime,
    /// When the list was fetched, in seconds since 1970.
    pub at: u64,
}

impl Resolved {
    /// Whether the mirror need not be asked again. A time that has not come yet is no time.
    pub fn is_fresh(&self) -> bool {
        now().checked_sub(self.at).is_some_and(|age| age < FRESH.as_secs())
    }
}

/// What is kept: the signed list itself, so that it can be verified again.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Kept {
    pub(super) at: u64,
    directory: String,
    sums: String,
    signature: String,
}

impl Kept {
    fn verify(&self, release: &Release, key: &[u8]) -> Result<Resolved> {
        let signed = signature::verify(self.sums.as_bytes(), self.signature.as_bytes(), key)
            .with_context(|| format!("verifying {}", http::shown(&address(&self.directory, &release.sums))))?;
        Ok(Resolved {
            chosen: release.choose(&parse_sums(&self.sums))?,
            directory: self.directory.clone(),
            fingerprint: signed.fingerprint,
            made: signed.made,
            at: self.at,
        })
    }
}

/// The last resolution, if there is one in the folder `cache` and its signature still holds.
pub fn kept(release: &Release, key: &[u8], cache: &Path) -> Option<Resolved> {
    let kept: Kept = store::read(&file_of(release, key, cache))?;
    kept.verify(release, key).ok()
}

/// Asks the mirrors in turn and keeps the first list that verifies, unless it was signed before the one that is kept: a mirror that
/// lags, or somebody who replays an old list, brings no older ISO.
///
/// # Errors
/// [`Cause::Verification`] when a mirror answered and none of them with a good signature, [`Cause::Network`] when
/// none answered.
pub fn resolve(release: &Release, key: &[u8], cache: &Path, http: &Http, events: &Events) -> Result<Resolved> {
    let newest = kept(release, key, cache);
    let mut failure = None;
    let mut behind = false;
    for directory in &release.directories {
        let shown = http::shown(directory);
        events.step(Stage::Media, format!("resolving the current release at {shown}"));
        match ask(release, key, directory, http) {
            Ok((_, resolved)) if newest.as_ref().is_some_and(|newest| resolved.made < newest.made) => {
                events.warn(format!(
                    "{shown} has an older list of releases than the one that is known"
                ));
                behind = true;
            }
            Ok((kept, resolved)) => {
                store::write(&file_of(release, key, cache), &kept)?;
                return Ok(resolved);
            }
            Err(error) if is_final(&error) => return Err(error),
            Err(error) => {
                if Some(directory) != release.directories.last() {
                    events.warn(format!("{shown} is of no use: {error:#}"));
                }
                failure = Some(worse(failure, error));
            }
        }
    }
    // It is a mirror's fault alone: what is known was signed, too.
    if let Some(newest) = newest.filter(|_| behind) {
        return Ok(newest);
    }
    Err(failure
        .unwrap_or_else(|| Fault::new(Cause::Config, "the guest definition names no directory for its ISO").into()))
}

fn ask(release: &Release, key: &[u8], directory: &str, http: &Http) -> Result<(Kept, Resolved)> {
    let text = |name: &str| {
        let url = address(directory, name);
        http.text(&url, LIMIT).map_err(unreachable)
    };
    let kept = Kept {
        at: now(),
        directory: directory.to_owned(),
        sums: text(&release.sums)?,
        signature: text(&release.signature)?,
    };
    if !kept.signature.contains(ARMOUR) {
        let url = http::shown(&address(directory, &release.signature));
        let reason = "it is no OpenPGP signature".to_owned();
        return Err(unreachable(HttpError::Other { url, reason }.into()));
    }
    let resolved = kept.verify(release, key)?;
    Ok((kept, resolved))
}

/// Whether no other mirror can help.
fn is_final(error: &anyhow::Error) -> bool {
    let cause = Fault::of(error).map(|fault| fault.cause);
    !matches!(cause, Some(Cause::Network | Cause::Verification | Cause::Timeout))
}

/// A bad signature is what the user must hear of, whatever else went wrong.
fn worse(before: Option<anyhow::Error>, now: anyhow::Error) -> anyhow::Error {
    let is_grave = |e: &anyhow::Error| Fault::of(e).is_some_and(|f| f.cause == Cause::Verification);
    match before {
        Some(before) if is_grave(&before) || !is_grave(&now) => before,
        _ => now,
    }
}

/// One file for each definition and key, so that none speaks for another.
pub(super) fn file_of(release: &Release, key: &[u8], cache: &Path) -> PathBuf {
    let mut hash = Sha256::new();
    for text in release
        .directories
        .iter()
        .chain([&release.file, &release.sums, &release.signature])
    {
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text);
    }
    hash.update(key);
    let name = hex::encode(&hash.finalize()[..16]);
    folder(cache).join(format!("{name}.json"))
}

/// Where they lie.
pub(super) fn folder(cache: &Path) -> PathBuf {
    cache.join("resolved")
}

/// Seconds since 1970.
pub fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap_or_default().as_secs()
}
