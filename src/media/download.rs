//! One file from one address, hashed while it streams, and resumed where an earlier attempt (of this process or
//! another) broke off.
//!
//! Beside the partial file `NAME.part` stands `NAME.part.json`: where it came from and by which `ETag` or
//! `Last-Modified` the server knows it again. What the file must hash to decides in the end, so the rest may come
//! from another server too.

use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use bytesize::ByteSize;
use fs_err as fs;
use reqwest::header::HeaderMap;
use serde::{Deserialize, Serialize};

use super::digest::{Algorithm, Digest, Hasher};
use super::http::{self, Answer, Http, HttpError};
use super::progress::Progress;
use super::store;
use crate::event::Events;
use crate::fault::{Cause, Fault};

/// What is left free on the disk, in bytes: a full disk hurts more than a missing ISO.
const MARGIN: u64 = 64 << 20;

/// A file that was downloaded in full, under its temporary name.
#[derive(Debug)]
pub struct Downloaded {
    /// What it hashes to.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// Whether it was put together from several answers.
    pub resumed: bool,
}

/// Where a partial file came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Beginning {
    url: String,
    validator: Option<String>,
    total: Option<u64>,
}

/// A partial file and the hash of what it holds.
struct Partial<'a> {
    path: &'a Path,
    algorithm: Algorithm,
    file: fs::File,
    hasher: Hasher,
    have: u64,
    beginning: Option<Beginning>,
    resumed: bool,
}

/// Downloads `url` to `part`, going on with what is there already.
///
/// # Errors
/// [`HttpError`] when the server does not give the file, [`Cause::Space`] when it does not fit on the disk,
/// [`Cause::Interrupted`]. What has arrived stays for the next attempt.
pub fn fetch(http: &Http, url: &str, part: &Path, algorithm: Algorithm, events: &Events) -> Result<Downloaded> {
    let mut partial = Partial::open(http, part, algorithm, events)?;
    let mut furthest = partial.have;
    loop {
        match http.retry(|| partial.attempt(http, url, events)) {
            Ok(()) => return partial.finish(),
            // A line that breaks again and again is no reason to give up as long as every try brings some more.
            Err(error) if may_pass(&error) && partial.have > furthest => furthest = partial.have,
            Err(error) => return Err(error),
        }
    }
}

/// Removes the partial file `part` and what is noted about it.
///
/// # Errors
/// When it cannot be removed.
pub fn discard(part: &Path) -> Result<()> {
    store::remove(&note_of(part))?;
    store::remove(part)
}

fn may_pass(error: &anyhow::Error) -> bool {
    HttpError::of(error).is_some_and(HttpError::may_pass)
}

fn note_of(part: &Path) -> PathBuf {
    let mut name = part.as_os_str().to_owned();
    name.push(".json");
    name.into()
}

impl<'a> Partial<'a> {
    /// What an earlier process left, or a new file.
    fn open(http: &Http, path: &'a Path, algorithm: Algorithm, events: &Events) -> Result<Self> {
        let beginning: Option<Beginning> = store::read(&note_of(path));
        let mut hasher = Hasher::new(algorithm);
        let mut have = 0;
        if beginning.is_some() && path.exists() {
            let total = fs::metadata(path)?.len();
            let mut progress = Progress::new(events, Some(total));
            have = hasher.update_from(path, &mut progress, http.cancel())?;
        }
        let mut file = fs::OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)?;
        file.set_len(have)?;
        file.seek(SeekFrom::Start(have))?;
        Ok(Self {
            path,
            algorithm,
            file,
            hasher,
            have,
            beginning,
            resumed: have > 0,
        })
    }

    /// One request and as much of its answer as comes.
    fn attempt(&mut self, http: &Http, url: &str, events: &Events) -> Result<()> {
        if self.is_complete() {
            return Ok(());
        }
        let answer = http.get(url, self.request(url)?)?;
        let total = self.prepare(url, &answer)?;
        if let Some(total) = total {
            ensure_room(self.path, total.saturating_sub(self.have))?;
        }
        self.take(answer, http, Progress::new(events, total))?;
        match total {
            Some(total) if self.have < total => {
                let reason = format!("it ended after {} of {total} bytes", self.have);
                let url = http::shown(url);
                Err(HttpError::Broken { url, reason }.into())
            }
            _ => Ok(()),
        }
    }

    fn is_complete(&self) -> bool {
        self.beginning.as_ref().is_some_and(|b| b.total == Some(self.have))
    }

    /// What to ask for. Another server's tags mean nothing here, so there only the size can tell another file.
    fn request(&self, url: &str) -> Result<HeaderMap> {
        match &self.beginning {
            Some(Beginning {
                validator: Some(tag),
                url: from,
                ..
            }) if self.have > 0 && from == url => http::rest_from(self.have, Some(tag)),
            Some(Beginning {
                total: Some(_),
                url: from,
                ..
            }) if self.have > 0 && from != url => http::rest_from(self.have, None),
            _ => Ok(HeaderMap::new()),
        }
    }

    /// Makes the partial file fit the answer and returns the size of the whole, where that is known.
    fn prepare(&mut self, url: &str, answer: &Answer) -> Result<Option<u64>> {
        let total = match answer.status {
            206 => {
                let known = self.beginning.as_ref().and_then(|b| b.total);
                let fits = answer
                    .part
                    .filter(|part| part.from == self.have && part.total.is_some());
                match fits {
                    Some(part) if known.is_none() || known == part.total => part.total,
                    _ => return self.anew(url, "the rest that it offers is of another file"),
                }
            }
            416 => return self.anew(url, "it holds less than has arrived already"),
            _ => {
                self.restart()?;
                answer.length
            }
        };
        self.resumed |= answer.status == 206;
        let beginning = Beginning {
            url: url.to_owned(),
            validator: answer.validator.clone(),
            total,
        };
        if self.beginning.as_ref() != Some(&beginning) {
            store::write(&note_of(self.path), &beginning)?;
            self.beginning = Some(beginning);
        }
        Ok(total)
    }

    /// Throws away what is there; the error lets the whole file be asked for next.
    fn anew<T>(&mut self, url: &str, reason: &str) -> Result<T> {
        self.restart()?;
        store::remove(&note_of(self.path))?;
        self.beginning = None;
        let url = http::shown(url);
        Err(HttpError::Broken {
            url,
            reason: reason.to_owned(),
        }
        .into())
    }

    fn restart(&mut self) -> Result<()> {
        self.file.set_len(0)?;
        self.file.rewind()?;
        self.hasher = Hasher::new(self.algorithm);
        self.have = 0;
        self.resumed = false;
        Ok(())
    }

    fn take(&mut self, mut answer: Answer, http: &Http, mut progress: Progress) -> Result<()> {
        progress.at(self.have);
        while let Some(block) = answer.body.next()? {
            http.cancel().check()?;
            self.file.write_all(&block).map_err(|error| no_room(self.path, error))?;
            self.hasher.update(&block);
            self.have += block.len() as u64;
            progress.at(self.have);
        }
        Ok(())
    }

    fn finish(self) -> Result<Downloaded> {
        self.file.sync_all().map_err(|error| no_room(self.path, error))?;
        Ok(Downloaded {
            digest: self.hasher.finish(),
            size: self.have,
            resumed: self.resumed,
        })
    }
}

/// Makes sure that `needed` bytes fit where `file` is.
///
/// # Errors
/// [`Cause::Space`] with both figures.
fn ensure_room(file: &Path, needed: u64) -> Result<()> {
    let folder = file.parent().unwrap_or(file);
    let disk = rustix::fs::statvfs(folder).with_context(|| format!("looking at the disk of {}", folder.display()))?;
    // Blocks that an ordinary user may use, in units of the fragment size: statvfs(3).
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    if needed.saturating_add(MARGIN) <= free {
        return Ok(());
    }
    let message = format!(
        "the download needs {} on the disk of {}, where {} is free",
        ByteSize(needed),
        folder.display(),
        ByteSize(free)
    );
    Err(full(message).into())
}

pub fn no_room(file: &Path, error: std::io::Error) -> anyhow::Error {
    use std::io::ErrorKind::{QuotaExceeded, StorageFull};
    if matches!(error.kind(), StorageFull | QuotaExceeded) {
        let message = format!("the disk is full: writing {}", file.display());
        return anyhow::Error::new(error).context(full(message));
    }
    anyhow::Error::new(error).context(format!("writing {}", file.display()))
}

fn full(message: String) -> Fault {
    Fault::new(Cause::Space, message)
        .hint("`provision cache prune` frees space; PROVISION_CACHE_DIR moves the cache to another disk")
}
