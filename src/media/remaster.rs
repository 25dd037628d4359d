//! Makes an installation medium that installs unattended by itself, for machines that cannot be given a kernel: the
//! same ISO with the seeded initrd in the place of its own and boot menus that start it at once.

use std::path::Path;

use anyhow::{Context as _, Result};
use fs_err as fs;
use serde::Deserialize;

use super::iso::rewrite;
use crate::cancel::Cancel;

/// How much is copied before the user is heard again, in bytes.
const PIECE: u64 = 16 << 20;

/// What on an ISO boots its installer: paths on it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BootFiles {
    /// The kernel.
    pub kernel: String,
    /// The initial RAM disk, to which the seed is appended.
    pub initrd: String,
    /// The boot menu that BIOS machines show.
    #[serde(default = "isolinux_menu")]
    pub isolinux: String,
    /// The boot menu that UEFI machines show.
    #[serde(default = "grub_menu")]
    pub grub: String,
}

fn isolinux_menu() -> String {
    "/isolinux/isolinux.cfg".to_owned()
}

fn grub_menu() -> String {
    "/boot/grub/grub.cfg".to_owned()
}

/// Writes the image `iso` to `to` so that it boots `initrd` with the kernel's command line `arguments`, whether a
/// machine's firmware is BIOS or UEFI. Only the user may read it: a seed holds the guest's private host key.
///
/// # Errors
/// When `iso` lacks a file that `boot` names, reading or writing fails, or the user interrupts.
pub fn remaster(
    iso: &Path,
    boot: &BootFiles,
    initrd: &Path,
    arguments: &str,
    to: &Path,
    cancel: &Cancel,
) -> Result<()> {
    copy(iso, to, cancel).with_context(|| format!("copying {}", iso.display()))?;
    let remastering = || format!("remastering {}", iso.display());
    let mut seeded = fs::File::open(initrd)?;
    rewrite::replace(to, &boot.initrd, &mut seeded).with_context(remastering)?;
    for (menu, text) in [
        (&boot.isolinux, isolinux(boot, arguments)),
        (&boot.grub, grub(boot, arguments)),
    ] {
        rewrite::replace(to, menu, &mut text.as_bytes()).with_context(remastering)?;
    }
    Ok(())
}

fn copy(from: &Path, to: &Path, cancel: &Cancel) -> Result<()> {
    use fs_err::os::unix::fs::OpenOptionsExt as _;
    use std::io::Read as _;
    let mut from = fs::File::open(from)?;
    let mut to = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(to)?;
    loop {
        cancel.check()?;
        if std::io::copy(&mut (&mut from).take(PIECE), &mut to)? == 0 {
            return Ok(());
        }
    }
}

/// BIOS: a menu of one entry that is not shown (<https://wiki.syslinux.org/wiki/index.php?title=Config>).
fn isolinux(boot: &BootFiles, arguments: &str) -> String {
    let BootFiles { kernel, initrd, .. } = boot;
    format!(
        "default install\nprompt 0\ntimeout 1\nnoescape 1\nlabel install\n  kernel {kernel}\n  append initrd={initrd} {arguments}\n"
    )
}

/// UEFI (GRUB's manual, "Simple configuration").
fn grub(boot: &BootFiles, arguments: &str) -> String {
    let BootFiles { kernel, initrd, .. } = boot;
    format!(
        "set default=0\nset timeout=0\nmenuentry install {{\n    linux {kernel} {arguments}\n    initrd {initrd}\n}}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boot() -> BootFiles {
        BootFiles {
            kernel: "/install.amd/vmlinuz".into(),
            initrd: "/install.amd/initrd.gz".into(),
            isolinux: isolinux_menu(),
            grub: grub_menu(),
        }
    }

    #[test]
    fn the_menus_start_the_installer_at_once() {
        insta::assert_snapshot!(isolinux(&boot(), "auto=true quiet"), @r"
        default install
        prompt 0
        timeout 1
        noescape 1
        label install
          kernel /install.amd/vmlinuz
          append initrd=/install.amd/initrd.gz auto=true quiet
        ");
        insta::assert_snapshot!(grub(&boot(), "auto=true quiet"), @r"
        set default=0
        set timeout=0
        menuentry install {
            linux /install.amd/vmlinuz auto=true quiet
            initrd /install.amd/initrd.gz
        }
        ");
    }

    #[test]
    fn an_interrupted_copy_ends_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let iso = folder.path().join("a.iso");
        fs::write(&iso, [0; 4096]).unwrap();
        let cancel = Cancel::default();
        cancel.raise();
        let to = folder.path().join("b.iso");
        assert!(remaster(&iso, &boot(), &iso, "", &to, &cancel).is_err());
    }
}
