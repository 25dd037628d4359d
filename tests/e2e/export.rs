//! The machine leaves this host, in every format.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use super::servers::Server;
use super::world::World;

/// Runs a command that must succeed.
#[track_caller]
pub fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{command:?}: {out}{err}");
    output
}

/// Exports as `format` to `file`, and says size and time.
#[track_caller]
fn export(world: &World, format: &str, file: &Path, more: &[&str]) -> Value {
    let args = ["export", "--format", format, "--output", file.to_str().unwrap()];
    let ended = world.run(&[&args[..], more].concat()).end().succeeded();
    let result = ended.events.iter().find(|event| event["event"] == "result").unwrap();
    let mib = result["bytes"].as_u64().unwrap() / (1 << 20);
    world.say(&format!(
        "{format:<14} {mib:>5} MiB {:>5.1} s",
        result["seconds"].as_f64().unwrap()
    ));
    result.clone()
}

/// The machine becomes a qcow2 that holds just what its disk holds, once it does not run; it stays, to be booted. The other
/// formats are compared in `tests/cli/images.rs`.
pub fn is_a_qcow2(world: &World) {
    let file = world.path("running.qcow2");
    let refused = world.output(&["export", "--format", "qcow2", "--output", file.to_str().unwrap()]);
    assert_eq!(refused.status.code(), Some(2), "its disk changes");
    world.text(&["stop"]);
    let file = world.path("machine.qcow2");
    export(world, "qcow2", &file, &[]);
    run(Command::new("qemu-img").args(["check", "-f", "qcow2"]).arg(&file));
    is_the_same(&file, &world.disk(world.login()));
}

fn is_the_same(one: &Path, other: &Path) {
    run(Command::new("qemu-img")
        .args(["compare", "-f", "qcow2", "-F", "qcow2"])
        .args([one, other]));
}

/// A checkpoint is exported as it is.
pub fn is_a_checkpoint(world: &World) {
    let checkpoint = world.path("docker.qcow2");
    export(world, "qcow2", &checkpoint, &["--checkpoint", "docker"]);
    is_the_same(&checkpoint, &world.disk_of_layer(&world.key_of("docker")));
    fs::remove_file(&checkpoint).unwrap();
}

/// A containerdisk goes into a registry as it is, under the digest that it has here.
pub fn is_pushed_to_a_registry(world: &World) {
    let layout = world.path("containerdisk");
    let result = export(
        world,
        "containerdisk",
        &layout,
        &["--image", "registry.example.org/class/machine:1"],
    );
    let manifest = fs::read_to_string(result["manifest"].as_str().unwrap()).unwrap();
    assert!(manifest.contains("kind: VirtualMachine"), "{manifest}");
    let registry = Server::empty_registry(&world.path("registry"));
    let local = format!("oci:{}:latest", layout.display());
    let remote = format!("docker://127.0.0.1:{}/class/machine:1", registry.port);
    let digest = |options: &[&str], of: &str| {
        let output = run(Command::new("skopeo").arg("inspect").args(options).arg(of));
        let told: Value = serde_json::from_slice(&output.stdout).unwrap();
        told["Digest"].as_str().unwrap().to_owned()
    };
    run(Command::new("skopeo").args([
        "copy",
        "--quiet",
        "--preserve-digests",
        "--insecure-policy",
        "--dest-tls-verify=false",
        &local,
        &remote,
    ]));
    assert_eq!(digest(&[], &local), digest(&["--tls-verify=false"], &remote));
    fs::remove_dir_all(&layout).unwrap();
    fs::remove_dir_all(world.path("registry")).unwrap();
}

/// How many bytes an image holds, unpacked.
fn data_in(image: &Path, driver: &str) -> u64 {
    let map = run(Command::new("qemu-img")
        .args(["map", "--output=json", "-f", driver])
        .arg(image));
    let parts: Vec<Value> = serde_json::from_slice(&map.stdout).unwrap();
    let data = parts
        .iter()
        .filter(|part| part["data"] == true && part["zero"] == false);
    data.map(|part| part["length"].as_u64().unwrap()).sum()
}

/// What the sealed image is, for the steps after.
pub struct Sealed {
    pub ova: PathBuf,
    /// The disk in it.
    pub vmdk: PathBuf,
}

/// The OVA has a new password, and the real VBoxManage takes it without a warning.
pub fn is_sealed_and_taken_by_virtualbox(world: &World) -> Sealed {
    let folder = world.path("sealed");
    fs::create_dir(&folder).unwrap();
    let ova = folder.join("machine.ova");
    let result = export(world, "ova", &ova, &["--seal"]);
    let old = world.json(&["credentials"]);
    let login = world.login();
    assert_eq!(result["login"], login);
    assert_ne!(result["password"], old["password"]);

    let home = world.path("virtualbox");
    let cache = std::env::var_os("PROVISION_TEST_CACHE").expect("tests/run sets PROVISION_TEST_CACHE");
    run(&mut Command::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/support/virtualbox"
    )));
    let vboxmanage = |args: &[&str]| {
        let output = run(Command::new(Path::new(&cache).join("virtualbox/bin/VBoxManage"))
            .args(args)
            .env("VBOX_USER_HOME", &home)
            .env("VBOX_IPC_SOCKETID", "provision-e2e-export"));
        let said = String::from_utf8(output.stdout).unwrap() + &String::from_utf8_lossy(&output.stderr);
        let lower = said.to_lowercase();
        assert!(!lower.contains("warning") && !lower.contains("ignored"), "{said}");
        said
    };
    let file = ova.to_str().unwrap();
    vboxmanage(&["import", file, "--dry-run"]);
    let base = home.join("machines");
    vboxmanage(&["import", file, "--vsys", "0", "--basefolder", base.to_str().unwrap()]);
    let told = vboxmanage(&["showvminfo", login, "--machinereadable"]);
    let record = world.json(&["status"]);
    let forwarding = |name: &str, host: &Value, guest: u16| format!("\"{name},tcp,127.0.0.1,{host},,{guest}\"");
    for line in [
        format!("Forwarding(0)={}", forwarding("https", &record["https_port"], 443)),
        format!("Forwarding(1)={}", forwarding("ssh", &record["ssh_port"], 22)),
        format!("cpus={}", record["cpus"]),
        format!("memory={}", record["memory_mib"]),
        "nictype1=\"virtio\"".to_owned(),
        "storagecontrollertype0=\"IntelAhci\"".to_owned(),
        "rtcuseutc=\"on\"".to_owned(),
        "audio=\"none\"".to_owned(),
    ] {
        // Root's machine may have 443 itself, which not everybody may bind.
        let line = line.replace(",127.0.0.1,443,", ",127.0.0.1,8443,");
        assert!(told.contains(&line), "{line} is not in {told}");
    }
    run(Command::new("tar").arg("-xf").arg(&ova).arg("-C").arg(&folder));
    let vmdk = folder.join(format!("{login}-disk001.vmdk"));
    let imported = base.join(login).join(vmdk.file_name().unwrap());
    run(Command::new("qemu-img")
        .args(["compare", "-f", "vmdk", "-F", "vmdk"])
        .args([&vmdk, &imported]));
    vboxmanage(&["unregistervm", login, "--delete"]);
    // What was written and removed again takes no room.
    let (sealed, whole) = (data_in(&vmdk, "vmdk"), data_in(&world.disk(login), "qcow2"));
    assert!(sealed + (48 << 20) < whole, "{sealed} of {whole} bytes");
    Sealed { ova, vmdk }
}
