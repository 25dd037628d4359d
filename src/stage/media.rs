//! Gets the ISO, verified.

use std::path::Path;

use anyhow::Result;

use crate::cancel::Cancel;
use crate::event::Events;
use crate::media::{self, Iso, Request};

/// The ISO that `request` asks for, from the folder `cache` or the network.
///
/// # Errors
/// When it cannot be had, or is not what it should be.
pub fn run(request: &Request<'_>, cache: &Path, events: &Events, cancel: &Cancel) -> Result<Iso> {
    media::obtain(request, cache, events, cancel)
}
