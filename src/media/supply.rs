//! Gets an ISO into the cache: from the cache itself if it is sound, else from the first server that gives it.

use std::path::Path;

use anyhow::Result;

use super::digest::{Digest, Hasher};
use super::progress::Progress;
use super::release::{Release, address};
use super::resolution::{self, Resolved};
use super::store::{self, Place, Record};
use super::{CachedIso, Http, HttpError, Iso, Origin, Patience, Request, download, http, unreachable};
use crate::cancel::Cancel;
use crate::event::{Events, Stage};
use crate::fault::{Cause, Fault};
use crate::lock::Lock;

/// What is needed to get an ISO.
pub struct Supply<'a> {
    /// How long servers may take.
    pub patience: Patience,
    /// The folder of ISOs.
    pub cache: &'a Path,
    /// Who hears of it.
    pub events: &'a Events,
    /// The user's wish to stop.
    pub cancel: &'a Cancel,
    /// Whether no server is asked.
    pub offline: bool,
}

/// An ISO that is wanted whatever the current release is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pinned {
    /// Its name as its publisher gave it.
    pub name: String,
    /// What it must hash to.
    pub digest: Digest,
}

/// One file that is wanted.
struct Wanted {
    name: String,
    digest: Digest,
    origin: Origin,
    /// The addresses to try in order.
    sources: Vec<String>,
}

impl Wanted {
    fn at(&self, place: &Place) -> Iso {
        Iso {
            path: place.iso(),
            name: self.name.clone(),
            digest: self.digest.clone(),
            origin: self.origin.clone(),
        }
    }
}

impl Supply<'_> {
    /// The ISO `kept` if it is sound, else the current one of the release.
    pub fn kept_or_released(&self, kept: &CachedIso, request: &Request) -> Result<Iso> {
        let Record {
            name, digest, origin, ..
        } = kept.record.clone();
        let wanted = Wanted {
            name,
            digest,
            origin,
            sources: Vec::new(),
        };
        let place = self.place(&wanted);
        {
            let _lock = self.lock(&place, &wanted)?;
            if self.is_sound(&place, &wanted)? {
                return Ok(wanted.at(&place));
            }
        }
        self.released(request)
    }

    /// The ISO that is pinned, of a release.
    pub fn pinned(&self, pinned: &Pinned, release: &Release) -> Result<Iso> {
        let kept = store::list(self.cache)?;
        let kept = kept.into_iter().find(|iso| iso.record.digest == pinned.digest);
        let version = release.version(&pinned.name);
        let archive = version.and_then(|version| release.archive_of(&version));
        let folders = release.directories.iter().chain(archive.as_ref());
        self.fetch(&Wanted {
            sources: folders.map(|folder| address(folder, &pinned.name)).collect(),
            name: pinned.name.clone(),
            digest: pinned.digest.clone(),
            // Whoever pinned it stands for it, unless it was signed when it came here.
            origin: kept.map_or(Origin::Checksum, |iso| iso.record.origin),
        })
    }

    /// The current ISO of a release.
    pub fn released(&self, request: &Request) -> Result<Iso> {
        let kept = resolution::kept(request.release, request.key, self.cache);
        match kept {
            Some(kept) if self.offline => self.fetch(&wanted(request.release, &kept)),
            None if self.offline => Err(not_here("the ISO")),
            Some(kept) if kept.is_fresh() && !request.refresh => {
                match self.fetch(&wanted(request.release, &kept)) {
                    // Since it was resolved, the release has moved on.
                    Err(error) if is_gone(&error) => self.fetch(&wanted(request.release, &self.resolve(request)?)),
                    result => result,
                }
            }
            kept => match self.resolve(request) {
                Ok(resolved) => self.fetch(&wanted(request.release, &resolved)),
                Err(error) => self.without_network(request, kept, error),
            },
        }
    }

    /// The ISO at `url`, which must hash to `digest`.
    pub fn at_address(&self, url: &str, digest: &Digest) -> Result<Iso> {
        self.fetch(&Wanted {
            name: name_in(url),
            digest: digest.clone(),
            origin: Origin::Checksum,
            sources: vec![url.to_owned()],
        })
    }

    /// Which ISO is the current one of the release, whether it is on this host or not.
    pub fn current(&self, request: &Request) -> Result<Resolved> {
        match resolution::kept(request.release, request.key, self.cache) {
            Some(kept) if self.offline || (kept.is_fresh() && !request.refresh) => Ok(kept),
            None if self.offline => Err(not_here("the ISO")),
            kept => self.resolve(request).or_else(|error| {
                let offline = Fault::of(&error).is_some_and(|fault| fault.cause == Cause::Network);
                let kept = kept.filter(|_| offline).ok_or(error)?;
                let name = &kept.chosen.name;
                self.events.warn(format!(
                    "no mirror answers; {name} is taken, though there may be a newer one"
                ));
                Ok(kept)
            }),
        }
    }

    fn resolve(&self, request: &Request) -> Result<Resolved> {
        let Request { release, key, .. } = *request;
        resolution::resolve(release, key, self.cache, &self.http()?, self.events)
    }

    fn http(&self) -> Result<Http> {
        Http::new(self.patience.clone(), self.cancel)
    }

    /// Uses the ISO of an older resolution when no mirror answers.
    fn without_network(&self, request: &Request, kept: Option<Resolved>, error: anyhow::Error) -> Result<Iso> {
        let offline = Fault::of(&error).is_some_and(|fault| fault.cause == Cause::Network);
        let wanted = kept.map(|kept| wanted(request.release, &kept));
        match wanted {
            Some(wanted) if offline && self.place(&wanted).iso().exists() => {
                let name = &wanted.name;
                self.events.warn(format!(
                    "no mirror answers; {name} is used, though there may be a newer one"
                ));
                self.fetch(&wanted)
            }
            _ => Err(error),
        }
    }

    fn place(&self, wanted: &Wanted) -> Place {
        Place::new(self.cache, &wanted.digest, &wanted.name)
    }

    fn fetch(&self, wanted: &Wanted) -> Result<Iso> {
        let place = self.place(wanted);
        let _lock = self.lock(&place, wanted)?;
        if self.is_sound(&place, wanted)? {
            place.restore_record(&wanted.origin, || {
                let size = fs_err::metadata(place.iso())?.len();
                Ok(wanted.record(size, wanted.sources.first().map_or("", String::as_str)))
            })?;
        } else {
            self.download(&place, wanted)?;
        }
        Ok(wanted.at(&place))
    }

    /// Two processes may want the same; the second finds it done.
    fn lock(&self, place: &Place, wanted: &Wanted) -> Result<Lock> {
        Lock::wait(&place.lock(), self.cancel, || {
            self.events
                .note(format!("another `provision` works on {}; waiting for it", wanted.name));
        })
    }

    /// Whether the ISO is there and still what it was; if it is not, it is set aside.
    fn is_sound(&self, place: &Place, wanted: &Wanted) -> Result<bool> {
        let iso = place.iso();
        if !iso.exists() {
            return Ok(false);
        }
        self.events.step(Stage::Media, format!("checking {}", wanted.name));
        if hash(&iso, &wanted.digest, self.events, self.cancel)? == wanted.digest {
            return Ok(true);
        }
        self.events
            .warn(format!("{} is damaged; it is downloaded again", iso.display()));
        place.set_aside()?;
        Ok(false)
    }

    fn download(&self, place: &Place, wanted: &Wanted) -> Result<()> {
        if self.offline {
            return Err(not_here(&wanted.name));
        }
        let http = self.http()?;
        let mut failure: Option<anyhow::Error> = None;
        for url in &wanted.sources {
            self.events
                .step(Stage::Media, format!("downloading {}", http::shown(url)));
            match self.download_from(&http, url, place, wanted) {
                Ok(()) => return Ok(()),
                Err(error) if HttpError::of(&error).is_some() || is_mismatch(&error) => {
                    self.events.detail(format!("{error:#}"));
                    // The first server is the one that should have it, but a wrong file is worse than none.
                    let kept = failure.filter(|before| is_mismatch(before) || !is_mismatch(&error));
                    failure = Some(kept.unwrap_or(error));
                }
                Err(error) => return Err(error),
            }
        }
        let none = || anyhow::anyhow!("there is no address to download {} from", wanted.name);
        Err(unreachable(failure.unwrap_or_else(none)))
    }

    fn download_from(&self, http: &Http, url: &str, place: &Place, wanted: &Wanted) -> Result<()> {
        let part = place.part();
        let get = || download::fetch(http, url, &part, wanted.digest.algorithm(), self.events);
        let mut done = get()?;
        if done.digest != wanted.digest && done.resumed {
            self.events
                .detail("the parts do not make the file; it is downloaded in one piece");
            download::discard(&part)?;
            done = get()?;
        }
        if done.digest != wanted.digest {
            download::discard(&part)?;
            return Err(mismatch(url, &wanted.digest, &done.digest, &wanted.origin).into());
        }
        place.accept(&wanted.record(done.size, url))
    }
}

impl Wanted {
    /// What is written beside it.
    fn record(&self, size: u64, url: &str) -> Record {
        Record {
            name: self.name.clone(),
            digest: self.digest.clone(),
            size,
            origin: self.origin.clone(),
            url: http::shown(url),
            fetched_at: resolution::now(),
        }
    }
}

/// The fault of a file that is not on this host, where no server may be asked.
fn not_here(name: &str) -> anyhow::Error {
    let fault = Fault::new(
        Cause::Network,
        format!("{name} is not on this host, and no server may be asked"),
    );
    fault
        .hint("`provision fetch`, or `provision create` without `--offline`, gets it")
        .into()
}

/// Where the resolved ISO may be: in the folder that listed it, on the other mirrors, in the archive.
fn wanted(release: &Release, resolved: &Resolved) -> Wanted {
    let chosen = &resolved.chosen;
    let others = release.directories.iter().filter(|d| **d != resolved.directory);
    let archive = release.archive_of(&chosen.version);
    let folders = std::iter::once(&resolved.directory)
        .chain(others)
        .chain(archive.as_ref());
    Wanted {
        sources: folders.map(|folder| address(folder, &chosen.name)).collect(),
        name: chosen.name.clone(),
        digest: chosen.digest.clone(),
        origin: Origin::Signed {
            fingerprint: resolved.fingerprint.clone(),
        },
    }
}

/// What `file` hashes to with the function of `like`.
pub fn hash(file: &Path, like: &Digest, events: &Events, cancel: &Cancel) -> Result<Digest> {
    let size = fs_err::metadata(file)?.len();
    let mut hasher = Hasher::new(like.algorithm());
    hasher.update_from(file, &mut Progress::new(events, Some(size)), cancel)?;
    Ok(hasher.finish())
}

/// A plain file name for what is at `url`.
pub fn name_in(url: &str) -> String {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    let last = path.rsplit('/').next().unwrap_or_default();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '+' | '-');
    let name: String = last.chars().map(|c| if is_plain(c) { c } else { '_' }).collect();
    let name = name.trim_start_matches('.');
    let stem = name.strip_suffix(".iso").unwrap_or(name);
    format!("{}.iso", if stem.is_empty() { "image" } else { stem })
}

/// Whether `name` is a plain file name for an ISO: it becomes a part of paths, and may come from a file of somebody else's.
pub fn is_name(name: &str) -> bool {
    name_in(name) == name
}

fn is_gone(error: &anyhow::Error) -> bool {
    HttpError::of(error).is_some_and(HttpError::is_gone)
}

fn is_mismatch(error: &anyhow::Error) -> bool {
    Fault::of(error).is_some_and(|fault| fault.cause == Cause::Verification)
}

fn mismatch(url: &str, wanted: &Digest, found: &Digest, origin: &Origin) -> Fault {
    let message = format!(
        "{} is not the file it should be: {found} instead of {wanted}",
        http::shown(url)
    );
    let hint = if *origin == Origin::Checksum {
        "is the checksum of this very file? it may have been replaced by a newer one"
    } else {
        "the mirror or a proxy gives a damaged file; try again later, or use `--iso PATH` with a file you already have"
    };
    Fault::new(Cause::Verification, message).hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_addresses_are_plain() {
        let table = [
            ("https://a.invalid/b/debian-13.iso?x=/y", "debian-13.iso"),
            ("https://a.invalid/", "image.iso"),
            ("https://a.invalid/..", "image.iso"),
            ("https://a.invalid/lock", "lock.iso"),
            ("https://a.invalid/a%20b.iso#top", "a_20b.iso"),
        ];
        for (url, name) in table {
            assert_eq!(name_in(url), name);
        }
    }
}
