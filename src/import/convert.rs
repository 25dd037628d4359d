//! The disk of an image, written anew.

use std::path::Path;

use anyhow::{Result, bail};

use super::Import;
use super::header::{self, Kind};
use crate::event::{Event, Stage, Unit};
use crate::fault::{Cause, Fault};
use crate::host;
use crate::machine::qemu::convert::{self, Conversion, ImageFormat};

/// What of an image is neither data nor holes, generously.
const TABLES: u64 = 16 << 20;

/// The error of an image that could not be read. Whoever asks to stop says nothing of the image.
pub(super) fn unreadable(error: anyhow::Error, damaged: Fault) -> anyhow::Error {
    if Fault::is_stop(&error) {
        error
    } else {
        error.context(damaged)
    }
}

/// Makes `made` of the image's disk.
///
/// # Errors
/// When it names other files, is damaged, space is short, or the user interrupts.
pub(super) fn convert(wanted: &Import<'_>, disk: &Path, kind: Kind, made: &Path, format: ImageFormat) -> Result<()> {
    header::require_alone(disk, kind)?;
    let damaged = || Fault::new(Cause::Verification, format!("{} is damaged", wanted.file.display()));
    if !convert::is_sound(disk, kind.driver(), wanted.cancel)? {
        bail!(damaged());
    }
    let parts = convert::map(disk, kind.driver(), wanted.cancel).map_err(|error| unreadable(error, damaged()))?;
    let folder = made.parent().unwrap_or(made);
    host::disk::require(folder, convert::in_blocks(&parts, format.unit()) + TABLES)?;
    let total = convert::data(&parts);
    wanted.events.step(Stage::Import, "converting");
    let conversion = Conversion {
        from: disk,
        driver: kind.driver(),
        to: made,
        format,
    };
    convert::convert(&conversion, wanted.cancel, |hundredths| {
        wanted.events.emit(Event::Progress {
            stage: Stage::Import,
            done: convert::part_of(total, hundredths),
            total: Some(total),
            unit: Unit::Bytes,
        });
    })
}
