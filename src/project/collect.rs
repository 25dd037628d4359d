//! Finding what belongs to the project.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc;

use anyhow::{Context as _, Result, bail};
use fs_err as fs;
use ignore::WalkBuilder;
use ignore::gitignore::GitignoreBuilder;

use super::{Entry, Kind, Stamp, Tree, own, unreadable};
use crate::config::{FILE_NAME, MAKEFILES, Project};
use crate::export;
use crate::fault::{Cause, Fault};
use crate::{pins, text};

/// Lists what is not sent, in any folder of the project.
const IGNORE_FILE: &str = ".provisionignore";

/// Where the file of variables comes in the guest.
const ENV: &str = "srcs/.env";

/// Where the folder of secrets comes in the guest.
const SECRETS: &str = "secrets";

/// Permissions, with the set-ID and sticky bits.
const MODE: u32 = 0o7777;

impl Tree {
    /// The tree of a project: its folder, with `env` and `secrets` in the place of what it may hold there.
    ///
    /// # Errors
    /// When something cannot be read, is neither file nor folder nor link, or the project is not whole.
    pub fn collect(project: &Project) -> Result<Self> {
        let mut entries = walk_project(&project.dir)?;
        check_whole(&project.dir, &entries)?;
        if let Some(env) = &project.env {
            remove(&mut entries, Path::new(ENV));
            entries.insert(
                ENV.into(),
                Entry {
                    mode: 0o600,
                    ..entry(env, true)?
                },
            );
        }
        if let Some(secrets) = &project.secrets {
            remove(&mut entries, Path::new(SECRETS));
            entries.extend(walk_secrets(secrets)?);
        }
        Ok(Self { entries })
    }
}

/// What lies elsewhere than in the project's folder and goes into the guest with it, by `env`, `secrets` or a link in the latter: a
/// configuration that somebody else wrote may name files of this host's user.
pub fn from_elsewhere(project: &Project) -> Vec<PathBuf> {
    let Ok(dir) = fs::canonicalize(&project.dir) else {
        return Vec::new();
    };
    let secrets = project.secrets.iter().flat_map(|secrets| {
        let found = WalkBuilder::new(secrets)
            .standard_filters(false)
            .follow_links(true)
            .build();
        found.filter_map(|found| Some(found.ok()?.into_path()))
    });
    let files = project.env.iter().cloned().chain(secrets).filter(|path| path.is_file());
    let real = files.filter_map(|path| fs::canonicalize(path).ok());
    real.filter(|path| !path.starts_with(&dir)).collect()
}

/// Whether the file or folder `path` is a part of the project in `dir`.
pub fn sends(dir: &Path, path: &Path) -> bool {
    let real = |path: &Path| fs::canonicalize(path).ok();
    let (Some(dir), Some(path)) = (real(dir), real(path)) else {
        return false;
    };
    let path = below(&dir, &path);
    path.is_some_and(|path| walk_project(&dir).is_ok_and(|entries| entries.contains_key(path)))
}

fn walk_project(dir: &Path) -> Result<BTreeMap<PathBuf, Entry>> {
    let mut entries = BTreeMap::new();
    require_sound_list(dir)?;
    // Whoever walks reads a folder's list before it tells of the folder.
    let (tell, wrong) = mpsc::channel();
    let own = own::Own::of_process();
    let own_files = [FILE_NAME, pins::FILE_NAME, IGNORE_FILE].map(|name| dir.join(name));
    let walk = WalkBuilder::new(dir)
        .standard_filters(false)
        .add_custom_ignore_filename(IGNORE_FILE)
        .filter_entry(move |found| {
            // Not in submodules either, where it may be a file.
            let is_own = own_files.iter().any(|own| own == found.path())
                || export::is_partial(found.path())
                || own.has(found.path());
            let is_file = found.file_type().is_some_and(|kind| kind.is_file());
            let goes = found.file_name() != OsStr::new(".git") && !is_own && !(is_file && own::is_record(found.path()));
            let is_folder = found.file_type().is_some_and(|kind| kind.is_dir());
            if goes
                && is_folder
                && let Err(error) = require_sound_list(found.path())
            {
                let _ = tell.send(error);
                return false;
            }
            goes
        })
        .build();
    for found in walk {
        let found = found.with_context(unreadable)?;
        if let Some(error) = found.error() {
            bail!(Fault::new(Cause::Config, format!("{IGNORE_FILE} is wrong: {error}")));
        }
        if let Some(path) = below(dir, found.path()) {
            entries.insert(path.to_owned(), entry(found.path(), false)?);
        }
    }
    wrong.try_recv().map_or(Ok(entries), Err)
}

/// Refuses a folder whose list of what is not sent cannot be read or understood: whoever walks through it would pass over the
/// list in silence and send all.
fn require_sound_list(folder: &Path) -> Result<()> {
    let file = folder.join(IGNORE_FILE);
    let wrong = |why: String| {
        Fault::new(Cause::Config, format!("{} cannot be understood: {why}", file.display()))
            .hint("it lists what is not sent, in the syntax of gitignore(5)")
    };
    fs::read_dir(folder).with_context(unreadable)?;
    let text = match text::read(&file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            return Err(error).with_context(unreadable);
        }
        text => text.map_err(|error| wrong(error.to_string()))?,
    };
    let mut builder = GitignoreBuilder::new(folder);
    for (line, number) in text.lines().zip(1_u32..) {
        builder
            .add_line(None, line)
            .map_err(|error| wrong(format!("line {number}: {error}")))?;
    }
    Ok(())
}

/// Links are followed here, unlike in the project: a password store is often a folder of links.
fn walk_secrets(dir: &Path) -> Result<BTreeMap<PathBuf, Entry>> {
    let mut entries = BTreeMap::new();
    for found in WalkBuilder::new(dir).standard_filters(false).follow_links(true).build() {
        let found = found.with_context(unreadable)?;
        let path = below(dir, found.path()).map_or_else(|| SECRETS.into(), |inner| Path::new(SECRETS).join(inner));
        let entry = entry(found.path(), true)?;
        // Nobody but the user gets into the folder. The files in it stay readable, since compose mounts them one by
        // one into containers whose services run as users of their own.
        let mode = if matches!(entry.kind, Kind::Folder) {
            0o700
        } else {
            0o644
        };
        entries.insert(path, Entry { mode, ..entry });
    }
    Ok(entries)
}

/// The path below `dir`; none for `dir` itself.
fn below<'a>(dir: &Path, path: &'a Path) -> Option<&'a Path> {
    let path = path.strip_prefix(dir).ok()?;
    (!path.as_os_str().is_empty()).then_some(path)
}

fn entry(path: &Path, follow: bool) -> Result<Entry> {
    let data = if follow {
        fs::metadata(path)
    } else {
        fs::symlink_metadata(path)
    };
    let data = data.with_context(unreadable)?;
    let kind = if data.is_dir() {
        Kind::Folder
    } else if data.is_file() {
        let (source, stamp) = (path.to_owned(), Stamp::of(&data));
        Kind::File { source, stamp }
    } else if data.is_symlink() {
        let target = fs::read_link(path)?.into_os_string();
        Kind::Link { target }
    } else {
        let kind = special(data.file_type());
        bail!(
            Fault::new(
                Cause::Config,
                format!("{} is a {kind}: it cannot be sent", path.display())
            )
            .hint(format!("list it in {IGNORE_FILE}"))
        );
    };
    let link = matches!(kind, Kind::Link { .. });
    Ok(Entry {
        kind,
        // A link has no permissions of its own; systems differ in what they show.
        mode: if link { 0o777 } else { data.mode() & MODE },
        modified: data.mtime(),
    })
}

fn special(kind: std::fs::FileType) -> &'static str {
    if kind.is_socket() {
        "socket"
    } else if kind.is_fifo() {
        "named pipe"
    } else {
        "device"
    }
}

/// Removes `path` and, if it is a folder, what it holds.
fn remove(entries: &mut BTreeMap<PathBuf, Entry>, path: &Path) {
    entries.retain(|known, _| !known.starts_with(path));
}

/// The configuration saw a makefile and `srcs/`; they must also arrive.
fn check_whole(dir: &Path, entries: &BTreeMap<PathBuf, Entry>) -> Result<()> {
    let kind = |name: &str| entries.get(Path::new(name)).map(|entry| &entry.kind);
    let makefile = MAKEFILES.iter().find_map(|name| kind(name).map(|kind| (*name, kind)));
    for (what, found) in [
        ("a Makefile", makefile),
        ("srcs/", kind("srcs").map(|kind| ("srcs", kind))),
    ] {
        let Some((name, kind)) = found else {
            bail!(
                Fault::new(
                    Cause::Config,
                    format!("what would be sent of {} lacks {what}", dir.display())
                )
                .hint(format!("see {IGNORE_FILE}; `--project DIR` names another folder"))
            );
        };
        if matches!(kind, Kind::Link { .. }) && leads_out(dir, name) {
            bail!(
                Fault::new(
                    Cause::Config,
                    format!("{} is a link that leads out of the project", dir.join(name).display())
                )
                .hint("`--project DIR` names the folder that really holds it")
            );
        }
    }
    Ok(())
}

fn leads_out(dir: &Path, name: &str) -> bool {
    let real = |path: &Path| fs::canonicalize(path).ok();
    let (Some(dir), Some(target)) = (real(dir), real(&dir.join(name))) else {
        return true;
    };
    !target.starts_with(dir)
}
