//! Whether a checkpoint's disk is sound, by `qemu-img`.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::Deserialize;

use crate::cancel::Cancel;
use crate::process::{self, CommandLine};

/// Its tables are read, not what they lead to.
const LIMIT: Duration = Duration::from_secs(300);

/// What is wrong with the qcow2 image `disk`, whose backing file must be named `parent`: its tables, and that name.
///
/// # Errors
/// When `qemu-img` is missing, or the user interrupts.
pub fn disk(disk: &Path, parent: Option<&Path>, cancel: &Cancel) -> Result<Vec<String>> {
    let context = || format!("checking the disk {}", disk.display());
    let info = process::run_any(&info_line(disk), LIMIT, cancel).with_context(context)?;
    if !info.status.success() {
        let said = String::from_utf8_lossy(&info.stderr);
        return Ok(vec![format!("qemu-img cannot read it: {}", said.trim())]);
    }
    let info: Info = serde_json::from_slice(&info.stdout).context("reading what qemu-img tells")?;
    let mut wrong = Vec::new();
    wrong.extend(wrong_backing(info.backing.as_deref(), parent));
    let checked = process::run_any(&check_line(disk), LIMIT, cancel).with_context(context)?;
    wrong.extend(wrong_tables(checked.status.code(), &checked.stderr));
    Ok(wrong)
}

/// What of `qemu-img info --output=json` counts here.
#[derive(Deserialize)]
struct Info {
    #[serde(rename = "backing-filename")]
    backing: Option<String>,
}

/// A machine may run on it: `-U` lets both read.
fn info_line(disk: &Path) -> CommandLine {
    CommandLine::new("qemu-img", ["info", "-U", "--output=json", "-f", "qcow2"]).arg(disk)
}

fn check_line(disk: &Path) -> CommandLine {
    CommandLine::new("qemu-img", ["check", "-U", "-q", "-f", "qcow2"]).arg(disk)
}

fn wrong_backing(named: Option<&str>, parent: Option<&Path>) -> Option<String> {
    let named = named.map(Path::new);
    if named == parent {
        return None;
    }
    let shown = |path: Option<&Path>| path.map_or_else(|| "nothing".to_owned(), |path| path.display().to_string());
    Some(format!("it lies on {}, and should on {}", shown(named), shown(parent)))
}

/// qemu-img(1): 0 is sound, 3 is space that is lost but harms nobody, 1 is a check that could not be made, 2 is damage.
fn wrong_tables(code: Option<i32>, stderr: &[u8]) -> Option<String> {
    if matches!(code, Some(0 | 3)) {
        return None;
    }
    let said = String::from_utf8_lossy(stderr);
    let said = said.lines().next().unwrap_or("it says nothing");
    Some(format!("qemu-img check finds its tables damaged: {said}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::qemu::image;

    #[test]
    fn the_backing_file_must_be_the_parents() {
        let table = [
            (None, None, None),
            (Some("../k/disk.qcow2"), Some("../k/disk.qcow2"), None),
            (Some("/k"), Some("../k"), Some("it lies on /k, and should on ../k")),
            (None, Some("../k"), Some("it lies on nothing, and should on ../k")),
            (Some("/k"), None, Some("it lies on /k, and should on nothing")),
        ];
        for (named, parent, wrong) in table {
            assert_eq!(wrong_backing(named, parent.map(Path::new)).as_deref(), wrong);
        }
    }

    #[test]
    fn real_disks_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let [base, overlay] = ["base", "overlay"].map(|name| folder.path().join(name));
        image::create(&base, 1).unwrap();
        image::create_overlay(&overlay, Path::new("base")).unwrap();
        let cancel = Cancel::default();
        let sound: Vec<String> = Vec::new();
        assert_eq!(disk(&base, None, &cancel).unwrap(), sound);
        assert_eq!(disk(&overlay, Some(Path::new("base")), &cancel).unwrap(), sound);
        assert_eq!(disk(&overlay, Some(Path::new("other")), &cancel).unwrap().len(), 1);
        // The first entry of its first table leads beyond the file.
        let bytes = std::fs::read(&base).unwrap();
        let table = usize::try_from(u64::from_be_bytes(bytes[40..48].try_into().unwrap())).unwrap();
        let mut damaged = bytes.clone();
        damaged[table..table + 8].copy_from_slice(&0x8000_0000_7fff_0000_u64.to_be_bytes());
        std::fs::write(&base, damaged).unwrap();
        let wrong = disk(&base, None, &cancel).unwrap();
        assert!(wrong[0].contains("tables damaged"), "{wrong:?}");
        std::fs::write(&base, "no image").unwrap();
        let wrong = disk(&base, None, &cancel).unwrap();
        assert!(wrong[0].contains("cannot read it"), "{wrong:?}");
    }
}
