//! What the machine was made from is written down, agrees with what is there, and can be insisted on.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::SystemTime;

use serde_json::Value;

use super::project::LOGIN;
use super::world::World;

/// An image as the registry's stand-in has it.
struct Image {
    /// Its name on Docker Hub.
    name: &'static str,
    tag: &'static str,
}

/// What the reference project's images are built on.
const BASE: Image = Image {
    name: "debian",
    tag: "bookworm",
};

/// A few bytes.
const HELLO: Image = Image {
    name: "hello-world",
    tag: "latest",
};

impl Image {
    /// How manifests and locks call it.
    fn reference(&self) -> String {
        format!("docker.io/library/{}:{}", self.name, self.tag)
    }

    /// What the registry says that it is.
    fn digest(&self, world: &World) -> String {
        let settings = fs::read_to_string(world.project().join("provision.toml")).unwrap();
        let (_, port) = settings.split_once("10.0.2.2:").unwrap();
        let port: String = port.chars().take_while(char::is_ascii_digit).collect();
        let kinds = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
                     application/vnd.docker.distribution.manifest.list.v2+json, \
                     application/vnd.docker.distribution.manifest.v2+json";
        let output = Command::new("curl")
            .args(["--silent", "--fail", "--head", "--header", &format!("Accept: {kinds}")])
            .arg(format!(
                "http://127.0.0.1:{port}/v2/library/{}/manifests/{}",
                self.name, self.tag
            ))
            .output()
            .unwrap();
        let said = String::from_utf8(output.stdout).unwrap().to_lowercase();
        let line = said
            .lines()
            .find_map(|line| line.strip_prefix("docker-content-digest:"));
        line.unwrap().trim().to_owned()
    }
}

/// The digest, dpkg and Docker's engine agree with the manifest, which holds no secret.
pub fn agree_with_the_guest(world: &World) {
    let manifest = world.json(&["status", "--manifest"]);
    let sums = fs::read_to_string(world.path("mirror/SHA512SUMS")).unwrap();
    let sum = sums.split_whitespace().next().unwrap();
    assert_eq!(manifest["iso"]["digest"], format!("sha512:{sum}"));
    let signed_by = text(&manifest["iso"]["origin"]["signed"]["fingerprint"]);
    assert_eq!(signed_by.len(), 40, "{signed_by}");
    // What was installed before the key was made has another signer.
    let made: jiff::Timestamp = text(&manifest["stages"][0]["made"]).parse().unwrap();
    if SystemTime::from(made)
        > fs::metadata(world.signing.join("pubring.kbx"))
            .unwrap()
            .modified()
            .unwrap()
    {
        assert_eq!(signed_by, signer(world));
    }
    let stages: Vec<&str> = list(&manifest["stages"])
        .iter()
        .map(|made| text(&made["stage"]))
        .collect();
    assert_eq!(stages, ["install", "docker", "account", "project"]);
    assert!(
        list(&manifest["stages"])
            .iter()
            .all(|made| text(&made["key"]).len() == 64)
    );

    // Checkpoints may be of another day, or of an older program.
    assert_eq!(manifest["tool"], env!("CARGO_PKG_VERSION"));
    for made in list(&manifest["stages"]) {
        assert!(
            !text(&made["tool"]).is_empty() && made["seconds"].as_f64().unwrap() > 0.0,
            "{made}"
        );
        assert!(
            text(&made["made"]).parse::<jiff::Timestamp>().unwrap() < jiff::Timestamp::now(),
            "{made}"
        );
    }

    let packages = list(&manifest["packages"]);
    let known: BTreeSet<String> = packages
        .iter()
        .map(|package| format!("{} {}", text(&package["name"]), text(&package["version"])))
        .collect();
    let asked = world.guest("dpkg-query -W -f '${db:Status-Abbrev}${Package} ${Version}\\n' | sed -n 's/^ii //p'");
    let there: BTreeSet<String> = asked.lines().map(str::to_owned).collect();
    assert_eq!(known, there);
    let package = |name: &str| packages.iter().find(|package| package["name"] == name).unwrap();
    assert_eq!(package("linux-image-amd64")["source"], "iso");
    let docker = &package("docker.io")["source"]["archive"];
    assert!(
        text(&docker["address"]).starts_with("http") && text(&docker["suite"]).ends_with("/main"),
        "{docker}"
    );

    let images = list(&manifest["images"]);
    let built: BTreeSet<&str> = images
        .iter()
        .filter(|image| image["digest"].is_null())
        .map(|image| text(&image["id"]))
        .collect();
    let asked = world.guest("docker images --no-trunc --quiet");
    assert_eq!(built, asked.lines().collect::<BTreeSet<&str>>());
    let pulled: Vec<&Value> = images.iter().filter(|image| !image["digest"].is_null()).collect();
    assert_eq!(pulled.len(), 1, "{pulled:?}");
    assert_eq!(
        (text(&pulled[0]["name"]), text(&pulled[0]["digest"])),
        (&*BASE.reference(), &*BASE.digest(world))
    );

    let whole = manifest.to_string();
    let secrets = world.guest("cat ~/inception/secrets/* | grep -v -e ----- | awk 'length > 7'");
    assert!(!secrets.is_empty());
    let password = fs::read_to_string(world.machine_dir(LOGIN).join("identity/password")).unwrap();
    for secret in secrets.lines().chain([password.trim()]) {
        assert!(!whole.contains(secret), "the manifest holds a secret");
    }
}

/// The fingerprint of the key that signed the ISO's checksums.
fn signer(world: &World) -> String {
    let output = Command::new("gpg")
        .args(["--show-keys", "--with-colons"])
        .arg(world.project().join("vm/test.asc"))
        .env("GNUPGHOME", &world.signing)
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let line = said.lines().find(|line| line.starts_with("fpr:")).unwrap();
    line.trim_start_matches("fpr:").trim_matches(':').to_owned()
}

/// A machine is held to its lock: nothing runs while it agrees, and another pin is refused before anything is changed.
pub fn are_pinned(world: &World) {
    let pinned = world.json(&["lock"]);
    assert_eq!(pinned["images"], 1);
    let file = world.project().join("provision.lock");
    let lock = fs::read_to_string(&file).unwrap();
    let again = world.run(&["create", "--locked"]).end().succeeded();
    assert_eq!(again.ran(), ["media", "verify"]);

    world.guest("echo kept > ~/data/pinned");
    let docker = version(&lock, "docker");
    let (base, digest) = (BASE.reference(), BASE.digest(world));
    let changes = [
        (
            lock.replace(&format!("\"docker.io\" = \"{docker}\""), "\"docker.io\" = \"1:0.1\""),
            vec!["- docker.io 1:0.1".to_owned(), format!("+ docker.io {docker}")],
        ),
        (
            lock.replace(&digest, &format!("sha256:{}", "0".repeat(64))),
            vec![format!("- {base} sha256:000"), format!("+ {base} {digest}")],
        ),
    ];
    for (changed, differences) in changes {
        assert_ne!(changed, lock);
        fs::write(&file, changed).unwrap();
        let machines = world.machines();
        let refused = world.run(&["create", "--locked"]).end();
        assert_eq!(refused.code, Some(5), "{}", refused.stderr);
        let error = refused.events.iter().find(|event| event["event"] == "error").unwrap();
        for difference in differences {
            assert!(text(&error["message"]).contains(&difference), "{difference}: {error}");
        }
        assert!(
            text(&error["hint"]).contains("provision rebuild --locked --from"),
            "{error}"
        );
        assert_eq!(world.machines(), machines, "the machine runs on");
        assert_eq!(world.guest("cat ~/data/pinned"), "kept\n");
    }
    fs::write(&file, lock).unwrap();
}

/// The version of docker.io in the lock.
fn version(lock: &str, stage: &str) -> String {
    let lock: toml::Table = lock.parse().unwrap();
    lock["packages"][stage]["docker.io"].as_str().unwrap().to_owned()
}

/// A machine is made of what is pinned: an image is pulled by its digest. What differs only once a stage has run is
/// refused then: the checkpoint is not kept, and nothing else is touched.
pub fn are_what_a_machine_is_made_of(world: &World) {
    let folder = small_project(world);
    let lock = fs::read_to_string(world.project().join("provision.lock")).unwrap();
    let (without_images, _) = lock.split_once("[images]").unwrap();
    let config = folder.join("provision.toml");
    let machine = ["--name", "small", "--config", config.to_str().unwrap()];
    let create = [&["create", "--locked"], &machine[..]].concat();
    let (hello, digest) = (HELLO.reference(), HELLO.digest(world));

    fs::write(folder.join("provision.lock"), without_images).unwrap();
    let (machines, layers) = (world.machines(), world.own_layers());
    let refused = world.run(&create).end();
    assert_eq!(refused.code, Some(5), "{}", refused.stderr);
    assert_eq!(refused.cached(), ["install", "docker", "account"]);
    assert_eq!(refused.ran(), ["media", "project"]);
    let error = refused.events.iter().find(|event| event["event"] == "error").unwrap();
    let line = format!("+ {hello} {digest}");
    assert!(text(&error["message"]).ends_with(&line), "{error}");
    assert_eq!(world.machines(), machines);
    super::rebuild::are_still_there(world, &layers);
    // The stage's checkpoint is none of those that came meanwhile.
    let project = || {
        let plan = world.json(&[&["plan"], &machine[..]].concat());
        let project = list(&plan["stages"]).iter().find(|line| line["stage"] == "project");
        project.unwrap().clone()
    };
    assert_ne!(project()["cached"], true);

    let pinned = format!("{without_images}[images]\n\"{hello}\" = \"{digest}\"\n");
    fs::write(folder.join("provision.lock"), pinned).unwrap();
    let mut made = world.run(&create);
    let pulled = format!("pulling {hello} as it is pinned");
    assert!(made.until(|event| event["text"] == pulled), "nothing was pulled");
    // It has no site that could answer.
    let is_made = |event: &Value| event["event"] == "stage_done" && event["stage"] == "project";
    assert!(made.until(is_made), "what is pinned is refused");
    made.signal("INT");
    assert_eq!(made.end().code, Some(130));
    let project = project();
    assert_eq!(project["cached"], true);
    world.text(&["destroy", "--name", "small", "--yes"]);
    // The next run shall make it, too.
    world.forget_layer(text(&project["key"]));
    fs::remove_dir_all(folder).unwrap();
}

/// A project that pulls an image and does no more.
fn small_project(world: &World) -> PathBuf {
    let folder = world.path("small");
    fs::create_dir_all(folder.join("srcs")).unwrap();
    fs::write(folder.join("Makefile"), "all:\n\tdocker pull --quiet hello-world\n").unwrap();
    fs::write(folder.join("srcs/docker-compose.yml"), "services: {}\n").unwrap();
    let copied = Command::new("cp")
        .arg("-a")
        .args([world.project().join("provision.toml"), world.project().join("vm")])
        .arg(&folder)
        .status();
    assert!(copied.unwrap().success());
    folder
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}
