//! Images, with a real registry behind the keeper and a real client before it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use super::world::{Serving, World, going_on, run};
use crate::kept::need::Image;
use crate::kept::{Digest, Fetcher, Keeper};

/// A registry with the image `library/tiny:1` in it.
fn registry(folder: &Path) -> Serving {
    let server = Serving::start(|port| {
        let config = folder.join("registry.yml");
        let text = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: \"127.0.0.1:{port}\"}}\n",
            folder.join("data").display()
        );
        fs::write(&config, text).unwrap();
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(config);
        command
    });
    let image = layout(folder);
    run(Command::new("skopeo")
        .args(["copy", "--quiet", "--insecure-policy", "--dest-tls-verify=false"])
        .arg(format!("oci:{}:1", image.display()))
        .arg(format!("docker://127.0.0.1:{}/library/tiny:1", server.port)));
    server
}

/// An image of one layer as an OCI image layout.
fn layout(folder: &Path) -> PathBuf {
    let dir = folder.join("layout");
    let blobs = dir.join("blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    let blob = |content: &[u8], kind: &str| {
        let digest = Digest::of(content);
        fs::write(blobs.join(digest.hex()), content).unwrap();
        json!({ "mediaType": format!("application/vnd.oci.image.{kind}"), "digest": digest.to_string(), "size": content.len() })
    };
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(200_000);
    header.set_cksum();
    // Incompressible: registries' clients compress layers.
    let mut content = vec![0u8; 200_000];
    rand::fill(&mut content[..]);
    tar.append_data(&mut header, "file", content.as_slice()).unwrap();
    let layer = tar.into_inner().unwrap();
    let config = json!({
        "architecture": "amd64", "os": "linux", "config": {},
        "rootfs": { "type": "layers", "diff_ids": [Digest::of(&layer).to_string()] },
    });
    let config = blob(config.to_string().as_bytes(), "config.v1+json");
    let layer = blob(&layer, "layer.v1.tar");
    let kind = "application/vnd.oci.image.manifest.v1+json";
    let manifest = json!({ "schemaVersion": 2, "mediaType": kind, "config": config, "layers": [layer] });
    let mut manifest = blob(manifest.to_string().as_bytes(), "manifest.v1+json");
    manifest["annotations"] = json!({ "org.opencontainers.image.ref.name": "1" });
    let index = json!({ "schemaVersion": 2, "manifests": [manifest] });
    fs::write(dir.join("index.json"), index.to_string()).unwrap();
    fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion": "1.0.0"}"#).unwrap();
    dir
}

/// Pulls the image through `keeper`; what was said if that failed.
fn pull(keeper: &Keeper, reference: &str) -> Result<(), String> {
    let into = tempfile::tempdir().unwrap();
    let output = Command::new("skopeo")
        .args(["copy", "--quiet", "--insecure-policy", "--src-tls-verify=false"])
        .arg(format!(
            "docker://127.0.0.1:{}/library/{reference}",
            keeper.route().port
        ))
        .arg(format!("oci:{}:1", into.path().join("image").display()))
        .output()
        .unwrap();
    if output.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn an_image_pulled_once_is_there_without_a_network() {
    let (world, folder) = (World::new(), tempfile::tempdir().unwrap());
    let server = registry(folder.path());
    let image = Image::parse("tiny:1");
    assert_eq!(image.missing(&world.store()), Some("the image tiny:1".into()));
    let online = world.online(server.port);
    pull(&online, "tiny:1").unwrap();
    drop((online, server));
    assert_eq!(image.missing(&world.store()), None);
    let offline = world.offline();
    pull(&offline, "tiny:1").unwrap();
    assert!(pull(&offline, "other:1").is_err());
    assert_eq!(offline.take_missed(), ["the image other:1"]);
}

#[test]
fn an_image_is_fetched_without_a_guest() {
    let (world, folder) = (World::new(), tempfile::tempdir().unwrap());
    let server = registry(folder.path());
    let keeper = world.online(server.port);
    let cancel = going_on();
    let fetcher = Fetcher::new(&keeper, &cancel).unwrap();
    fetcher.image(&Image::parse("tiny:1")).unwrap();
    assert!(fetcher.image(&Image::parse("ghcr.io/a/b:1")).is_err());
    assert_eq!(Image::parse("tiny:1").missing(&world.store()), None);
    drop(server);
    pull(&world.offline(), "tiny:1").unwrap();
}

#[test]
fn an_image_comes_through_where_nothing_can_be_kept() {
    let (world, folder) = (World::new(), tempfile::tempdir().unwrap());
    let server = registry(folder.path());
    // No folder can be made there, whoever tries.
    fs::write(world.folder.path().join("kept"), "a file").unwrap();
    let online = world.online(server.port);
    pull(&online, "tiny:1").unwrap();
    assert_eq!(world.warnings().len(), 1, "{:?}", world.warnings());
    let unkept = online.take_unkept();
    assert!(unkept.contains("docker.io/library/tiny:1"), "{unkept:?}");
    assert!(online.take_fetched().is_empty());
}

#[test]
fn a_layer_that_is_not_what_it_should_be_is_not_kept() {
    let (world, folder) = (World::new(), tempfile::tempdir().unwrap());
    let server = registry(folder.path());
    let blobs = folder.path().join("data/docker/registry/v2/blobs/sha256");
    let largest = run(Command::new("sh")
        .args(["-c", "ls -S \"$0\"/*/*/data | head -n 1"])
        .arg(&blobs));
    let largest = largest.trim();
    let mut content = fs::read(largest).unwrap();
    content[5000] ^= 1;
    fs::write(largest, &content).unwrap();
    let keeper = world.online(server.port);
    pull(&keeper, "tiny:1").unwrap_err();
    assert!(Image::parse("tiny:1").missing(&world.store()).is_some());
    content[5000] ^= 1;
    content.truncate(100_000);
    fs::write(largest, &content).unwrap();
    pull(&keeper, "tiny:1").unwrap_err();
    assert!(Image::parse("tiny:1").missing(&world.store()).is_some());
}

#[test]
fn a_damaged_layer_is_missing() {
    let (world, folder) = (World::new(), tempfile::tempdir().unwrap());
    let server = registry(folder.path());
    pull(&world.online(server.port), "tiny:1").unwrap();
    for blob in fs::read_dir(world.folder.path().join("kept/blobs")).unwrap().flatten() {
        if blob.metadata().unwrap().len() > 100_000 {
            fs::OpenOptions::new()
                .write(true)
                .open(blob.path())
                .unwrap()
                .set_len(1000)
                .unwrap();
        }
    }
    assert!(
        Image::parse("tiny:1").missing(&world.store()).is_some(),
        "its size tells"
    );
    pull(&world.offline(), "tiny:1").unwrap_err();
    pull(&world.online(server.port), "tiny:1").unwrap();
    assert_eq!(
        Image::parse("tiny:1").missing(&world.store()),
        None,
        "it was fetched again"
    );
}
