//! What `VirtualBox` does with machines and disks, whoever made them: a disk is a folder with a registered machine in
//! it, see [`disks`].

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::vboxmanage::VBoxManage;
use super::{disks, examine, lost};
use crate::cancel::Cancel;
use crate::changes::Changes;
use crate::fault::{Cause, Fault};
use crate::machine::driver::{self, Features, Home, Moment};
use crate::process::{self, CommandLine};

/// The name of a machine's folder.
const FOLDER: &str = "virtualbox";

/// Some GiB on a slow disk.
const COPY_LIMIT: Duration = Duration::from_secs(1800);

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

impl driver::Driver for Driver {
    fn features(&self) -> Features {
        Features {
            boots_kernel: false,
            hardware: Some("virtualbox"),
            hibernates: false,
        }
    }

    fn disk_in(&self, folder: &Path) -> PathBuf {
        folder.join(FOLDER)
    }

    fn create(&self, disk: &Path, name: &str, gib: u64) -> Result<()> {
        disks::create(&vbox()?, disk, name, gib)
    }

    fn create_overlay(&self, disk: &Path, name: &str, chain: &[PathBuf]) -> Result<()> {
        let chain: Vec<&Path> = chain.iter().map(PathBuf::as_path).collect();
        disks::create_overlay(&vbox()?, disk, name, &chain)
    }

    fn replace(&self, from: &Path, to: &Path, name: &str) -> Result<()> {
        let vbox = vbox()?;
        disks::remove(&vbox, to)?;
        disks::move_to(&vbox, from, to, name)
    }

    fn keep(&self, _: &dyn Changes, from: &Path, to: &Path, name: &str, _: Option<&Path>) -> Result<()> {
        disks::keep(&vbox()?, from, to, name)
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

    fn as_qcow2(&self, disk: &Path, scratch: &Path) -> Result<PathBuf> {
        let (whole, qcow2) = (scratch.join("whole.vdi"), scratch.join("whole.qcow2"));
        disks::clone_whole(&vbox()?, disk, &whole)?;
        let line = CommandLine::new("qemu-img", ["convert", "-f", "vdi", "-O", "qcow2"])
            .arg(&whole)
            .arg(&qcow2);
        process::run(&line, COPY_LIMIT, &Cancel::default())
            .with_context(|| format!("converting the disk in {}", disk.display()))?;
        fs_err::remove_file(whole)?;
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

    fn keep_moment(&self, _: &Home, _: &Moment, _: bool) -> Result<bool> {
        bail!(no_moments())
    }

    fn go_back(&self, _: &Home, _: &Moment, _: bool) -> Result<()> {
        bail!(no_moments())
    }

    fn sweep_moments(&self, _: &Home, _: &[Moment]) -> Result<()> {
        Ok(())
    }
}

fn no_moments() -> Fault {
    Fault::new(Cause::Usage, "moments of a machine under VirtualBox cannot be kept yet")
        .hint("`provision create --machine qemu --name NAME` makes one under QEMU")
}
