//! What `VirtualBox` does with machines and disks, whoever made them: a disk is a folder with a registered machine in
//! it, see [`disks`].

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::{Context as _, Result, bail};
use fs_err as fs;

use super::vboxmanage::VBoxManage;
use super::{disks, examine, known, lost, moments, moving};
use crate::cancel::Cancel;
use crate::changes::Changes;
use crate::fault::{Cause, Fault};
use crate::host;
use crate::machine::driver::{self, Features, Home, Moment};
use crate::machine::qemu::convert::{self, Conversion, ImageFormat};

/// The name of a machine's folder.
const FOLDER: &str = "virtualbox";

/// `VirtualBox`'s part.
#[derive(Debug)]
pub struct Driver;

/// `VirtualBox` on this host. It is looked for once: a question after its version takes a tenth of a second.
fn vbox() -> Result<VBoxManage> {
    static FOUND: OnceLock<VBoxManage> = OnceLock::new();
    if let Some(found) = FOUND.get() {
        return Ok(found.clone());
    }
    let found = VBoxManage::find(&Cancel::default())?;
    Ok(FOUND.get_or_init(|| found).clone())
}

/// The same for work that the user may stop.
fn of_user() -> Result<VBoxManage> {
    vbox().map(|vbox| vbox.stopped_by(&Cancel::of_user()))
}

impl driver::Driver for Driver {
    fn features(&self) -> Features {
        Features {
            boots_kernel: false,
            hardware: Some("virtualbox"),
            tells_late: true,
            hibernates: false,
        }
    }

    fn disk_in(&self, folder: &Path) -> PathBuf {
        folder.join(FOLDER)
    }

    fn create(&self, disk: &Path, name: &str, gib: u64) -> Result<()> {
        disks::create(&vbox()?, disk, name, gib)
    }

    fn image_format(&self) -> ImageFormat {
        ImageFormat::Vdi
    }

    fn adopt(&self, image: &Path, disk: &Path, name: &str) -> Result<()> {
        disks::adopt(&of_user()?, image, disk, name)
    }

    fn make_known(&self, disk: &Path, below: &[PathBuf]) -> Result<()> {
        let chain: Vec<&Path> = std::iter::once(disk)
            .chain(below.iter().map(PathBuf::as_path))
            .collect();
        known::know(&of_user()?, &chain)
    }

    fn create_overlay(&self, disk: &Path, name: &str, chain: &[PathBuf]) -> Result<()> {
        let chain: Vec<&Path> = chain.iter().map(PathBuf::as_path).collect();
        disks::create_overlay(&vbox()?, disk, name, &chain)
    }

    fn lay_on(&self, disk: &Path, _: &Path, _: &Cancel) -> Result<()> {
        bail!("VirtualBox cannot lay {} on another disk", disk.display())
    }

    fn replace(&self, from: &Path, to: &Path, name: &str) -> Result<()> {
        moments::replace(&of_user()?, from, to, name)
    }

    fn keep(&self, _: &dyn Changes, from: &Path, to: &Path, name: &str, _: Option<&Path>) -> Result<()> {
        moving::keep(&of_user()?, from, to, name)
    }

    fn remove(&self, _: &dyn Changes, disk: &Path) -> Result<()> {
        if !disk.exists() {
            return Ok(());
        }
        disks::remove(&vbox()?, disk)
    }

    fn check(&self, disk: &Path, below: &[PathBuf], cancel: &Cancel) -> Result<Vec<String>> {
        let below: Vec<&Path> = below.iter().map(PathBuf::as_path).collect();
        examine::machine(&vbox()?, disk, &below, cancel)
    }

    fn forget(&self, disk: &Path) -> Result<()> {
        disks::forget(&vbox()?, disk)
    }

    fn lost_in(&self, root: &Path) -> Result<Vec<String>> {
        if !VBoxManage::is_installed() {
            return Ok(Vec::new());
        }
        lost::machines_in(&vbox()?, root)
    }

    fn forget_lost(&self, lost: &str) -> Result<()> {
        lost::forget(&vbox()?, Path::new(lost))
    }

    fn memory_in(&self, _: &Path) -> Vec<PathBuf> {
        Vec::new()
    }

    fn check_memory(&self, _: &Path) -> Result<Option<String>> {
        Ok(None)
    }

    fn size(&self, disk: &Path) -> u64 {
        disks::size(disk)
    }

    /// Its checkpoints are machines in the lists of this host's program, linked clones of one another by identifiers.
    fn portable(&self) -> Option<&'static [&'static str]> {
        None
    }

    fn vet(&self, disk: &Path, _: Option<&Path>) -> Result<()> {
        let message = format!("{} is no disk that can be carried here", disk.display());
        Err(Fault::new(Cause::Verification, message).into())
    }

    fn as_qcow2(&self, disk: &Path, scratch: &Path) -> Result<PathBuf> {
        let (whole, qcow2) = (scratch.join("whole.vdi"), scratch.join("disk.qcow2"));
        let vbox = of_user()?;
        disks::clone_whole(&vbox, disk, &whole)?;
        host::disk::require(scratch, fs::metadata(&whole)?.len())?;
        let conversion = Conversion {
            from: &whole,
            driver: "vdi",
            to: &qcow2,
            format: ImageFormat::Working,
        };
        convert::convert(&conversion, vbox.cancel(), |_| ())
            .with_context(|| format!("converting the disk in {}", disk.display()))?;
        fs::remove_file(whole)?;
        Ok(qcow2)
    }

    fn runs(&self, home: &Home) -> bool {
        vbox().is_ok_and(|vbox| super::runs(&vbox, &home.disk()))
    }

    fn look(&self, home: &Home) -> Result<()> {
        super::look(&vbox()?, &home.disk())
    }

    fn resume(&self, home: &Home) -> Result<()> {
        super::resume(&vbox()?, &home.disk())
    }

    fn screenshot(&self, home: &Home, file: &Path) -> Result<()> {
        super::screenshot(&vbox()?, &home.disk(), file)
    }

    fn end(&self, home: &Home) -> Result<()> {
        super::end_leftover(&vbox()?, &home.disk(), &home.run_dir)
    }

    fn keep_moment(&self, home: &Home, moment: &Moment, memory: bool) -> Result<bool> {
        moments::keep(&vbox()?, &home.disk(), &moment.id, memory)
    }

    fn require_moment(&self, home: &Home, moment: &Moment) -> Result<()> {
        moments::require(&vbox()?, &home.disk(), &moment.id)
    }

    fn go_back(&self, home: &Home, moment: &Moment, memory: bool) -> Result<()> {
        moments::go_back(&vbox()?, &home.disk(), &moment.id, memory)
    }

    fn sweep_moments(&self, home: &Home, kept: &[Moment]) -> Result<()> {
        let disk = home.disk();
        if !disk.exists() {
            return Ok(());
        }
        let kept: Vec<_> = kept.iter().map(|moment| moment.id.as_str()).collect();
        moments::sweep(&vbox()?, &disk, &kept)
    }
}
