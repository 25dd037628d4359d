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
use crate::media;

/// The rules by which something stays though no machine uses it.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct Args {
    /// Keep the newest N of each kind, and what they lie on
    #[arg(long, value_name = "N")]
    pub keep_last: Option<usize>,
    /// Delete only what is older, such as `30d` or `12h`
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub older_than: Option<Duration>,
    /// Delete the oldest, until the cache is not larger, such as `10GiB`
    #[arg(long, value_name = "SIZE")]
    pub max_size: Option<ByteSize>,
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
            if remove(&store, &thing.removal).with_context(context)? {
                removed.push(place);
            }
        }
        store.sweep()?;
        let gone = contents.of(&removed);
        let left = contents.bytes() - gone.bytes();
        if let Some(size) = self.max_size.filter(|size| left > size.as_u64()) {
            app.events.warn(format!(
                "{} are left, more than {size}: machines need them, or another rule keeps them",
                ByteSize(left)
            ));
        }
        app.reporter.output(&gone)
    }
}

/// Whether it was removed: what is being downloaded stays.
fn remove(store: &Store, removal: &Removal) -> Result<bool> {
    match removal {
        Removal::Layer(key) => store.remove(key)?,
        Removal::Rest(rest) => return media::remove_rest(rest),
        Removal::Paths(paths) => {
            let real: &dyn Changes = &Real;
            paths.iter().try_for_each(|path| real.remove_tree(path))?;
        }
    }
    Ok(true)
}
