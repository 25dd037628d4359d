//! The files that a running QEMU has open as its guest's disk.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::qmp::{self, plain_command};

plain_command!(
    /// Which devices have which disks.
    QueryBlock,
    "query-block"
);
plain_command!(
    /// Opens a disk.
    BlockdevAdd,
    "blockdev-add"
);
plain_command!(
    /// Closes a disk that nothing uses.
    BlockdevDel,
    "blockdev-del"
);
plain_command!(
    /// Puts an open disk on top of another.
    BlockdevSnapshot,
    "blockdev-snapshot"
);

/// The file that the guest's disk is written to now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    node: String,
    /// Its path.
    pub file: PathBuf,
    /// Whether flushes are not passed on.
    no_flush: bool,
}

/// The file that the guest of the machine in `run_dir` writes to.
///
/// # Errors
/// When QEMU does not answer, or has no disk.
pub fn written(run_dir: &Path) -> Result<Written> {
    let devices = qmp::order(run_dir, &QueryBlock(json!({})))?;
    find(&devices).context("QEMU tells of no disk")
}

fn find(devices: &Value) -> Option<Written> {
    let is_disk = |device: &&Value| device["qdev"].as_str().is_some_and(qmp::is_disk);
    let inserted = &devices.as_array()?.iter().find(is_disk)?["inserted"];
    Some(Written {
        node: inserted["node-name"].as_str()?.to_owned(),
        file: path(inserted["file"].as_str()?)?,
        no_flush: inserted["cache"]["no-flush"].as_bool().unwrap_or(false),
    })
}

/// The path in what QEMU calls a file's name: JSON where it was told more than that.
fn path(name: &str) -> Option<PathBuf> {
    let Some(options) = name.strip_prefix("json:") else {
        return Some(name.into());
    };
    let options: Value = serde_json::from_str(options).ok()?;
    Some(options["file"]["filename"].as_str()?.into())
}

/// From now on the guest writes to `overlay`, an empty disk on top of `below`, which stays as it is.
///
/// # Errors
/// When QEMU refuses; it writes to `below` then.
pub fn put_on_top(run_dir: &Path, below: &Written, overlay: &Path) -> Result<()> {
    let name = overlay.file_stem().context("a disk has a name")?.to_string_lossy();
    qmp::order(run_dir, &BlockdevAdd(node(&name, below.no_flush, overlay)))?;
    let put = json!({"node": below.node, "overlay": name});
    let put = qmp::order(run_dir, &BlockdevSnapshot(put));
    if put.is_err() {
        // The error at hand matters more.
        let _ = qmp::order(run_dir, &BlockdevDel(json!({"node-name": name})));
    }
    put.map(drop)
}

/// The same as on the command line (`arguments::disk`), without what it lies on: QEMU has that open.
fn node(name: &str, no_flush: bool, file: &Path) -> Value {
    let cache = json!({"direct": false, "no-flush": no_flush});
    json!({
        "driver": "qcow2",
        "node-name": name,
        "discard": "unmap",
        "detect-zeroes": "unmap",
        "cache": cache,
        "backing": null,
        "file": {
            "driver": "file",
            "filename": file,
            "discard": "unmap",
            "cache": cache,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_disk_is_told_from_other_devices() {
        let devices = json!([
            {"qdev": "ide0-cd0", "inserted": {"node-name": "medium", "file": "/iso"}},
            {"qdev": "/machine/peripheral/vda/virtio-backend", "inserted": {
                "node-name": "disk", "file": "/m/disk.qcow2", "cache": {"no-flush": true}}},
        ]);
        let disk = find(&devices).unwrap();
        assert_eq!(
            (disk.node.as_str(), disk.file.as_path()),
            ("disk", Path::new("/m/disk.qcow2"))
        );
        assert!(disk.no_flush);
        assert_eq!(find(&json!([])), None);
        let name =
            r#"json:{"backing": {"driver": "qcow2"}, "file": {"driver": "file", "filename": "/m/disk-1.qcow2"}}"#;
        assert_eq!(path(name), Some("/m/disk-1.qcow2".into()));
    }
}
