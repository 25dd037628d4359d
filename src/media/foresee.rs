//! Which ISO would be used, without getting it.

use std::path::Path;

use anyhow::{Context as _, Result};

use super::http::Patience;
use super::store::Place;
use super::supply::Supply;
use super::{Known, Origin, Pinned, Request, cached, known_release, local};
use crate::cancel::Cancel;
use crate::config::Location;
use crate::event::Events;

/// Tells which ISO [`super::obtain`] would give, or [`super::obtain_pinned`] if one is `pinned`. A mirror is asked for the
/// current release where that is not known or may be outdated, and a file of the user's hashed; no ISO is downloaded.
///
/// # Errors
/// Those of [`super::obtain`].
pub fn foresee(
    request: &Request,
    pinned: Option<&Pinned>,
    cache: &Path,
    events: &Events,
    cancel: &Cancel,
) -> Result<Known> {
    foresee_with(Patience::default(), request, pinned, cache, events, cancel)
}

pub(super) fn foresee_with(
    patience: Patience,
    request: &Request,
    pinned: Option<&Pinned>,
    cache: &Path,
    events: &Events,
    cancel: &Cancel,
) -> Result<Known> {
    if let Some(pinned) = pinned.filter(|_| request.choice.is_none()) {
        let path = Place::new(cache, &pinned.digest, &pinned.name).iso();
        return Ok(Known {
            name: pinned.name.clone(),
            digest: pinned.digest.clone(),
            origin: Origin::Checksum,
            fresh: true,
            path: path.exists().then_some(path),
        });
    }
    if let Some(known) = cached(request, cache)?.filter(|known| known.fresh) {
        return Ok(known);
    }
    let Some(choice) = request.choice else {
        let supply = Supply {
            patience,
            cache,
            events,
            cancel,
            offline: request.offline,
        };
        return Ok(known_release(supply.current(request)?, false, cache));
    };
    let Location::File(path) = &choice.location else {
        return cached(request, cache)?.context("an ISO at an address has a checksum");
    };
    let iso = local::obtain(path, choice.checksum.as_ref(), cache, events, cancel)?;
    Ok(Known {
        name: iso.name,
        digest: iso.digest,
        origin: iso.origin,
        fresh: true,
        path: Some(iso.path),
    })
}
