//! Gets the ISO, verified.

use std::path::Path;

use anyhow::Result;

use crate::cancel::Cancel;
use crate::event::Events;
use crate::media::{self, Iso, Pinned, Request};

/// The ISO that `request` asks for, from the folder `cache` or the network. Of a release only the `pinned` one is taken.
///
/// # Errors
/// When it cannot be had, or is not what it should be.
pub fn run(
    request: &Request<'_>,
    pinned: Option<&Pinned>,
    cache: &Path,
    events: &Events,
    cancel: &Cancel,
) -> Result<Iso> {
    match pinned.filter(|_| request.choice.is_none()) {
        Some(pinned) => media::obtain_pinned(pinned, request.release, request.offline, cache, events, cancel),
        None => media::obtain(request, cache, events, cancel),
    }
}
