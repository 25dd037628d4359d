//! What QEMU does with machines and disks, whoever made them: a disk is a qcow2 file.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use fs_err as fs;

use super::convert::ImageFormat;
use super::{disks, examine, image, memory, moments, vet};
use crate::cancel::Cancel;
use crate::changes::Changes;
use crate::machine::driver::{self, Features, Home, Moment};

/// The name of a checkpoint's disk in its folder.
const DISK: &str = disks::FIRST;

/// QEMU's part.
#[derive(Debug)]
pub struct Driver;

impl driver::Driver for Driver {
    fn features(&self) -> Features {
        Features {
            boots_kernel: true,
            hardware: None,
            tells_late: false,
            hibernates: true,
        }
    }

    fn disk_in(&self, folder: &Path) -> PathBuf {
        disks::active(folder)
    }

    fn create(&self, disk: &Path, _: &str, gib: u64) -> Result<()> {
        image::create(disk, gib)
    }

    fn image_format(&self) -> ImageFormat {
        ImageFormat::Working
    }

    fn adopt(&self, image: &Path, disk: &Path, _: &str) -> Result<()> {
        Ok(fs::rename(image, disk)?)
    }

    /// QEMU finds what a disk lies on by the path in it.
    fn make_known(&self, _: &Path, _: &[PathBuf]) -> Result<()> {
        Ok(())
    }

    fn create_overlay(&self, disk: &Path, _: &str, chain: &[PathBuf]) -> Result<()> {
        let backing = chain.first().context("an overlay needs a checkpoint")?;
        image::create_overlay(disk, backing)
    }

    fn lay_on(&self, disk: &Path, below: &Path, cancel: &Cancel) -> Result<()> {
        image::rebase(disk, below, cancel)
    }

    fn replace(&self, from: &Path, to: &Path, _: &str) -> Result<()> {
        moments::replace(from, to)
    }

    fn keep(&self, changes: &dyn Changes, from: &Path, to: &Path, _: &str, parent: Option<&Path>) -> Result<()> {
        changes.move_file(from, to)?;
        if let Some(parent) = parent {
            changes.relink(to, &parent.join(DISK))?;
        }
        changes.protect(to)?;
        Ok(changes.sync(to)?)
    }

    fn remove(&self, changes: &dyn Changes, disk: &Path) -> Result<()> {
        disks::remove_all(changes, disk.parent().context("a disk lies in a folder")?)
    }

    fn check(&self, disk: &Path, below: &[PathBuf], cancel: &Cancel) -> Result<Vec<String>> {
        let folder = below.first().and_then(|parent| parent.parent()?.file_name());
        let parent = folder.map(|folder| Path::new("..").join(folder).join(DISK));
        examine::disk(disk, parent.as_deref(), cancel)
    }

    fn forget(&self, _: &Path) -> Result<()> {
        Ok(())
    }

    fn lost_in(&self, _: &Path) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    fn forget_lost(&self, _: &str) -> Result<()> {
        Ok(())
    }

    fn memory_in(&self, folder: &Path) -> Vec<PathBuf> {
        memory::files(folder)
    }

    fn check_memory(&self, folder: &Path) -> Result<Option<String>> {
        memory::check(folder)
    }

    fn size(&self, disk: &Path) -> u64 {
        use std::os::unix::fs::MetadataExt as _;
        // st_blocks counts units of 512 bytes whatever the file system (stat(3type)).
        fs::metadata(disk).map_or(0, |data| data.blocks() * 512)
    }

    fn portable(&self) -> Option<&'static [&'static str]> {
        Some(&[DISK, driver::MEMORY, memory::MANIFEST])
    }

    fn vet(&self, disk: &Path, parent: Option<&Path>) -> Result<()> {
        vet::disk(disk, parent.map(|parent| parent.join(DISK)).as_deref())
    }

    fn as_qcow2(&self, disk: &Path, _: &Path) -> Result<PathBuf> {
        Ok(disk.to_owned())
    }

    fn runs(&self, home: &Home) -> bool {
        super::runs(&home.run_dir)
    }

    fn look(&self, home: &Home) -> Result<()> {
        super::look(&home.run_dir)
    }

    fn resume(&self, home: &Home) -> Result<()> {
        super::resume(&home.run_dir)
    }

    fn screenshot(&self, home: &Home, file: &Path) -> Result<()> {
        super::screenshot(&home.run_dir, file)
    }

    fn end(&self, home: &Home) -> Result<()> {
        super::end_leftover(&home.run_dir)
    }

    fn keep_moment(&self, home: &Home, moment: &Moment, memory: bool) -> Result<bool> {
        moments::keep(home, moment, memory)
    }

    fn require_moment(&self, home: &Home, moment: &Moment) -> Result<()> {
        moments::require(home, moment)
    }

    fn go_back(&self, home: &Home, moment: &Moment, _: bool) -> Result<()> {
        moments::go_back(home, moment)
    }

    fn sweep_moments(&self, home: &Home, kept: &[Moment]) -> Result<()> {
        moments::sweep(home, kept)
    }
}
