//! `provision cache prune`

use std::time::Duration;

use anyhow::{Context as _, Result};
use bytesize::ByteSize;

use super::busy;
use super::contents::{Contents, Removal};
use crate::changes::{Changes, Real};
use crate::checkpoint::Store;
use crate::checkpoint::prune::{Rules, select};
use crate::cli::App;
use crate::config::value;
use crate::kept::{self, Bound};
use crate::media;

/// The rules by which something stays though no machine uses it.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct Args {
    /// Only tell what would be deleted
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Keep the newest N of each kind, and what they lie on
    #[arg(long, value_name = "N")]
    pub keep_last: Option<usize>,
    /// Delete only what is older, such as `30d` or `12h`
    #[arg(long, value_name = "TIME", value_parser = value::age)]
    pub older_than: Option<Duration>,
    /// Delete the oldest, until the cache is not larger, such as `10GiB`
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub max_size: Option<ByteSize>,
}

fn size(text: &str) -> Result<ByteSize, String> {
    // A bare number is one of bytes.
    text.parse().or_else(|_| value::bytes(text)).map(ByteSize)
}

impl Args {
    /// Prunes the cache.
    ///
    /// # Errors
    /// When another command uses it, or something cannot be removed.
    pub fn run(self, app: &App) -> Result<()> {
        let store = Store::open(&app.paths.cache)?;
        let _alone = store.try_alone()?.context(busy())?;
        // Read with the store locked: a machine that was made just before counts.
        let contents = Contents::read(app, &store)?;
        let rules = Rules {
            keep_last: self.keep_last,
            older_than: self.older_than,
            max_size: self.max_size.map(|size| size.as_u64()),
        };
        let mut removed = Vec::new();
        for place in select(&contents.items(), rules, contents.now) {
            let thing = &contents.things[place];
            let context = || format!("removing {} {}", thing.kind, thing.name);
            if self.dry_run || remove(&store, &thing.removal).with_context(context)? {
                removed.push(place);
            }
        }
        if !self.dry_run {
            store.sweep()?;
        }
        let gone = contents.only(&removed, if self.dry_run { "to be deleted" } else { "deleted" });
        let left = contents.bytes() - gone.bytes();
        let left = left - self.prune_kept(app, left)?;
        if let Some(size) = self.max_size.filter(|size| left > size.as_u64()) {
            app.events.warn(format!(
                "{} {} left, more than {size}: machines need them, or another rule keeps them",
                ByteSize(left),
                if self.dry_run { "would be" } else { "are" }
            ));
        }
        app.reporter.output(&gone)
    }
}

impl Args {
    /// Removes of what guests fetched what the rules let go, least lately used first: without a rule, nothing. `left` is
    /// how many bytes the whole cache has now. Gives how many bytes went.
    fn prune_kept(self, app: &App, left: u64) -> Result<u64> {
        let kept = kept::Store::new(&app.paths.cache);
        let others = left.saturating_sub(kept.size()?.bytes);
        let bound = Bound {
            age: self.older_than,
            bytes: self.max_size.map(|size| size.as_u64().saturating_sub(others)),
            every: true,
        };
        let removed = if self.dry_run {
            kept.beyond(bound)?
        } else {
            kept.prune(bound).context("removing what guests fetched")?
        };
        if removed.files > 0 {
            let size = ByteSize(removed.bytes);
            let would = if self.dry_run { "would go" } else { "are gone" };
            app.events.note(format!("{size} of what guests fetched {would}"));
        }
        Ok(removed.bytes)
    }
}

/// Whether it was removed: what is being downloaded stays.
fn remove(store: &Store, removal: &Removal) -> Result<bool> {
    match removal {
        Removal::Layer(key) => store.remove(key)?,
        Removal::Rest(rest) => return media::remove_rest(rest),
        Removal::Kept => return Ok(false),
        Removal::Paths(paths) => {
            let real: &dyn Changes = &Real;
            paths.iter().try_for_each(|path| real.remove_tree(path))?;
        }
    }
    Ok(true)
}
