use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::cancel::Cancel;
use crate::process::{self, CommandLine};

/// Longer than what one directory record holds, so that its Rock Ridge name goes on elsewhere. (Much longer ones break
/// libisofs 1.5.4.)
fn long_name(number: usize) -> String {
    format!("{}-{number}", "n".repeat(180))
}

/// A folder like a Debian image's, with more files than one sector lists.
fn fill(folder: &Path) {
    fs::create_dir_all(folder.join("install.amd/gtk")).unwrap();
    fs::write(folder.join("install.amd/vmlinuz"), vec![b'k'; 5000]).unwrap();
    fs::write(folder.join("install.amd/initrd.gz"), b"initrd").unwrap();
    fs::write(folder.join("install.amd/empty"), b"").unwrap();
    fs::create_dir(folder.join("pool")).unwrap();
    for number in 0..200 {
        let file = folder.join("pool").join(long_name(number));
        fs::write(file, format!("content {number}")).unwrap();
    }
    std::os::unix::fs::symlink("install.amd", folder.join("link")).unwrap();
}

/// An image made by xorriso from `folder`.
fn image(folder: &Path, rock_ridge: bool) -> PathBuf {
    let iso = folder.with_extension(if rock_ridge { "rr.iso" } else { "plain.iso" });
    let kind = if rock_ridge { "on" } else { "off" };
    let words = [
        "-rockridge",
        kind,
        "-outdev",
        &iso.to_string_lossy(),
        "-map",
        &folder.to_string_lossy(),
        "/",
    ];
    let line = CommandLine::new("xorriso", words.map(String::from));
    process::run(&line, Duration::from_secs(60), &Cancel::default()).unwrap();
    iso
}

fn read(iso: &Path, path: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let size = read_file(iso, path, &mut bytes).unwrap();
    assert_eq!(size, bytes.len() as u64);
    bytes
}

#[test]
fn files_are_found_by_their_rock_ridge_names() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path().join("cd");
    fill(&folder);
    let iso = image(&folder, true);
    assert_eq!(read(&iso, "/install.amd/vmlinuz"), vec![b'k'; 5000]);
    assert_eq!(read(&iso, "install.amd/initrd.gz"), b"initrd");
    assert_eq!(read(&iso, "/install.amd/empty"), b"");
    for number in [0, 99, 199] {
        let path = format!("/pool/{}", long_name(number));
        assert_eq!(read(&iso, &path), format!("content {number}").as_bytes());
    }
    assert_eq!(size(&iso, "/install.amd/vmlinuz").unwrap(), Some(5000));
    for missing in [
        "/install.amd/VMLINUZ",
        "/install.amd",
        "/link",
        "/install.amd/vmlinuz/x",
        "/x",
        "/",
    ] {
        assert_eq!(size(&iso, missing).unwrap(), None, "{missing}");
    }
}

#[test]
fn files_are_found_by_their_plain_names_in_any_case() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path().join("cd");
    fs::create_dir_all(folder.join("install")).unwrap();
    fs::write(folder.join("install/vmlinuz"), b"kernel").unwrap();
    fs::write(folder.join("install/initrd.gz"), b"initrd").unwrap();
    let iso = image(&folder, false);
    assert_eq!(read(&iso, "/install/vmlinuz"), b"kernel");
    assert_eq!(read(&iso, "/INSTALL/initrd.gz"), b"initrd");
    assert_eq!(size(&iso, "/install/initrd").unwrap(), None);
}

#[test]
fn an_image_without_the_kernel_is_named_with_a_hint() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path().join("cd");
    fill(&folder);
    let iso = image(&folder, true);
    let error = read_file(&iso, "/install.arm/vmlinuz", &mut Vec::new()).unwrap_err();
    let fault = Fault::of(&error).unwrap();
    assert_eq!(fault.cause, Cause::Config);
    assert!(fault.message.contains("/install.arm/vmlinuz"), "{}", fault.message);
    assert!(fault.message.contains("cd.rr.iso"), "{}", fault.message);
    assert!(fault.hint.as_ref().unwrap().contains("netinst"));
}

#[test]
fn what_is_no_image_is_refused() {
    let temporary = tempfile::tempdir().unwrap();
    for content in [Vec::new(), vec![0; 100_000], b"<html>".to_vec()] {
        let file = temporary.path().join("x.iso");
        fs::write(&file, content).unwrap();
        let error = size(&file, "/x").unwrap_err();
        assert_eq!(Fault::of(&error).unwrap().cause, Cause::Config);
    }
}

#[test]
fn an_image_that_ends_too_early_is_an_error() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path().join("cd");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("big"), vec![1; 600_000]).unwrap();
    let iso = image(&folder, true);
    let half = fs::metadata(&iso).unwrap().len() / 2;
    fs::OpenOptions::new()
        .write(true)
        .open(&iso)
        .unwrap()
        .set_len(half)
        .unwrap();
    let error = read_file(&iso, "/big", &mut Vec::new()).unwrap_err();
    assert!(format!("{error:#}").contains("ends too early"), "{error:#}");
}

#[test]
fn no_damage_stops_the_program() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path().join("cd");
    fill(&folder);
    let sound = fs::read(image(&folder, true)).unwrap();
    let file = temporary.path().join("damaged.iso");
    let start = usize::try_from(FIRST_DESCRIPTOR * SECTOR).unwrap();
    // The descriptors and directories stand in front.
    let damage = prop::collection::vec((start..start + 120_000, any::<u8>()), 1..200);
    proptest!(ProptestConfig::with_cases(100), |(damage in damage)| {
        let mut bytes = sound.clone();
        for (place, value) in damage {
            if let Some(byte) = bytes.get_mut(place) {
                *byte = value;
            }
        }
        fs::write(&file, &bytes).unwrap();
        for path in ["/install.amd/vmlinuz", "/pool/x"] {
            // Any answer will do, as long as there is one.
            let _ = read_file(&file, path, &mut std::io::sink());
        }
    });
}

/// Like [`image`], with the names of Joliet beside those of Rock Ridge, as Debian's images have them.
fn joliet(folder: &Path) -> PathBuf {
    let iso = folder.with_extension("joliet.iso");
    let words = ["-as", "mkisofs", "-r", "-J", "-joliet-long", "-V", "Debian 13 n", "-o"];
    let line = CommandLine::new("xorriso", words).arg(&iso).arg(folder);
    process::run(&line, Duration::from_secs(60), &Cancel::default()).unwrap();
    iso
}

/// A file's content as xorriso sees it in the tree that `mode` prefers (`norock`: Joliet’s), and the volume's identifier.
fn by_xorriso(iso: &Path, mode: &str, path: &str) -> (Vec<u8>, String) {
    let out = tempfile::tempdir().unwrap();
    let file = out.path().join("file");
    let words = [
        "-read_fs",
        mode,
        "-indev",
        &iso.to_string_lossy(),
        "-pvd_info",
        "-osirrox",
        "on",
        "-extract",
        path,
    ];
    let line = CommandLine::new("xorriso", words.map(String::from)).arg(&file);
    let said = process::run(&line, Duration::from_secs(60), &Cancel::default()).unwrap();
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    let id = said
        .lines()
        .find(|line| line.starts_with("Volume Id"))
        .unwrap_or_default();
    (fs::read(file).unwrap(), id.to_owned())
}

#[test]
fn a_replaced_file_is_another_in_every_tree() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path().join("cd");
    fill(&folder);
    let iso = joliet(&folder);
    let before = fs::read(&iso).unwrap();
    let content = vec![b'n'; 5000];
    let size = rewrite::replace(&iso, "/install.amd/initrd.gz", &mut content.as_slice()).unwrap();
    assert_eq!(size, 5000);
    assert_eq!(read(&iso, "/install.amd/initrd.gz"), content);
    assert_eq!(read(&iso, "/install.amd/vmlinuz"), vec![b'k'; 5000]);
    for mode in ["any", "norock"] {
        let (seen, id) = by_xorriso(&iso, mode, "/install.amd/initrd.gz");
        assert_eq!(seen, content, "{mode}");
        assert!(id.contains("Debian 13 n"), "{id}");
    }
    // Nothing but the records and the volume's size has changed of what was there.
    let after = fs::read(&iso).unwrap();
    let changed = before.iter().zip(&after).filter(|(a, b)| a != b).count();
    assert!(changed <= 2 * 3 * 8, "{changed} bytes have changed");
    assert_eq!(after.len() % 2048, 0);
}

#[test]
fn what_is_not_there_is_not_replaced() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path().join("cd");
    fill(&folder);
    let iso = joliet(&folder);
    let before = fs::read(&iso).unwrap();
    for path in ["/isolinux/isolinux.cfg", "/install.amd"] {
        assert!(rewrite::replace(&iso, path, &mut &b"new"[..]).is_err());
    }
    assert_eq!(fs::read(&iso).unwrap(), before);
}
