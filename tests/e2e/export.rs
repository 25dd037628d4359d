//! The machine leaves this host, in every format, and comes back.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Instant;

use serde_json::Value;

use super::elsewhere::{Bus, Elsewhere, Firmware};
use super::servers::{Server, free_port};
use super::virtualbox;
use super::world::{LOGIN, World};

/// The formats that hold a disk alone, with the file's ending and QEMU's name.
const DISKS: [(&str, &str, &str); 5] = [
    ("qcow2", "qcow2", "qcow2"),
    ("raw", "img", "raw"),
    ("vdi", "vdi", "vdi"),
    ("vmdk", "vmdk", "vmdk"),
    ("vhdx", "vhdx", "vhdx"),
];

#[track_caller]
fn run(command: &mut Command) -> Output {
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

/// A machine of the same checkpoints as the other test's, whichever of the two makes them.
pub fn has_a_machine(world: &World) {
    let port = free_port().to_string();
    world.run(&["create", "--https-port", &port]).end().succeeded();
}

/// Every format that is a disk alone holds just what the machine's disk holds.
pub fn holds_the_same_disk_in_every_format(world: &World) {
    let file = world.path("running.qcow2");
    let refused = world.output(&["export", "--format", "qcow2", "--output", file.to_str().unwrap()]);
    assert_eq!(refused.status.code(), Some(2), "its disk changes");
    world.text(&["stop"]);
    let disk = world.disk(LOGIN);
    for (format, ending, driver) in DISKS {
        let file = world.path(&format!("machine.{ending}"));
        export(world, format, &file, &[]);
        run(Command::new("qemu-img")
            .args(["compare", "-f", driver, "-F", "qcow2"])
            .args([&file, &disk]));
        if matches!(driver, "qcow2" | "vdi" | "vmdk") {
            run(Command::new("qemu-img").args(["check", "-f", driver]).arg(&file));
        }
        if driver != "qcow2" {
            fs::remove_file(&file).unwrap();
        }
    }
    let checkpoint = world.path("docker.qcow2");
    export(world, "qcow2", &checkpoint, &["--checkpoint", "docker"]);
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

/// What the sealed image is, for the steps after.
pub struct Sealed {
    ova: PathBuf,
    /// The disk in it.
    vmdk: PathBuf,
}

/// The OVA has a new password, and the real VBoxManage takes it without a warning.
pub fn is_sealed_and_taken_by_virtualbox(world: &World) -> Sealed {
    let folder = world.path("sealed");
    fs::create_dir(&folder).unwrap();
    let ova = folder.join("machine.ova");
    let result = export(world, "ova", &ova, &["--seal"]);
    let old = world.json(&["credentials"]);
    assert_eq!(result["login"], LOGIN);
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
    let told = vboxmanage(&["showvminfo", LOGIN, "--machinereadable"]);
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
    let vmdk = folder.join(format!("{LOGIN}-disk001.vmdk"));
    let imported = base.join(LOGIN).join(vmdk.file_name().unwrap());
    run(Command::new("qemu-img")
        .args(["compare", "-f", "vmdk", "-F", "vmdk"])
        .args([&vmdk, &imported]));
    vboxmanage(&["unregistervm", LOGIN, "--delete"]);
    Sealed { ova, vmdk }
}

/// The exported qcow2 boots on SATA with its own keys; the OVA's disk on NVMe with UEFI, with none of ours and with those
/// on two media: one that anybody may make, and that which it would find under VirtualBox. At once, since booting is all
/// that is waited for.
pub fn boots_on_other_hardware(world: &World, sealed: &Sealed) {
    let identity = world.machine_dir(LOGIN).join("identity");
    let qcow2 = world.path("machine.qcow2");
    let mut sata = Elsewhere::boot(&qcow2, "qcow2", Bus::Sata, Firmware::Bios, &[], &world.path("sata"));
    let (key, iso) = keys(world);
    let told_by = virtualbox::imports_a_sealed_image(world, &sealed.ova, &sealed.vmdk);
    let mut nvme = Elsewhere::boot(
        &sealed.vmdk,
        "vmdk",
        Bus::Nvme,
        Firmware::Uefi,
        &[&iso, &told_by.medium],
        &world.path("nvme"),
    );

    let known_hosts = identity.join("known_hosts");
    let told = sata.ssh(
        LOGIN,
        &identity.join("id_ed25519"),
        Some(&known_hosts),
        "lsblk -ndo TRAN /dev/sda; cat /etc/machine-id",
    );
    world.say(&format!("qcow2 on SATA with BIOS answers after {} s", sata.seconds()));
    let (bus, machine_id) = told.trim().split_once('\n').unwrap();
    assert_eq!(bus.trim(), "sata");
    drop(sata);

    takes_what_it_is_told(&mut nvme, &told_by.identity);
    println!(
        "        the OVA's disk on NVMe with UEFI answers after {} s",
        nvme.seconds()
    );
    let public = |name: &str| {
        let text = fs::read_to_string(identity.join(name)).unwrap();
        text.split(' ').nth(1).unwrap().to_owned()
    };
    // What is looked for is no word of a command: sudo writes those to the log.
    let script = format!(
        "test -d /sys/firmware/efi && lsblk -ndo TRAN /dev/nvme0n1 && cat /etc/machine-id && cat ~/.ssh/authorized_keys && \
         printf '%s\\n' {} {} > /tmp/keys && \
         sudo sh -c 'find /var/lib/apt/lists -type f; ls -d /root/.ssh/authorized_keys /root/.bash_history /var/log/installer; \
         grep -rlF -f /tmp/keys /etc /home/*/.ssh /root /var/log' 2> /dev/null; true",
        public("id_ed25519.pub"),
        public("ssh_host_ed25519_key.pub")
    );
    let told = nvme.ssh(LOGIN, &key, None, &script);
    world.say(&format!(
        "the OVA's disk on NVMe with UEFI answers after {} s",
        nvme.seconds()
    ));
    let lines: Vec<_> = told.lines().collect();
    assert_eq!(lines[0].trim(), "nvme");
    assert_ne!(lines[1], machine_id, "two machines with one ID");
    assert!(lines[2..].iter().any(|line| line.contains("of the tests")), "{told}");
    assert_eq!(lines.len(), 4, "something is left: {told}");
    // The project is in it and comes up.
    let page = nvme.ssh(
        LOGIN,
        &key,
        None,
        &format!("for i in $(seq 300); do curl -sfk https://{LOGIN}.42.fr/ | grep -q wp-content && echo it is && exit; sleep 1; done; sudo docker ps -a; exit 1"),
    );
    assert_eq!(page, "it is\n");
}

/// The machine has the host key, the key and the password of `identity`, and no other host key.
fn takes_what_it_is_told(machine: &mut Elsewhere, identity: &Path) {
    let script = format!("ls /etc/ssh/ssh_host_*_key; sudo grep '^{LOGIN}:' /etc/shadow | cut -d: -f2");
    let known_hosts = identity.join("known_hosts");
    let told = machine.ssh(LOGIN, &identity.join("id_ed25519"), Some(&known_hosts), &script);
    let hash = fs::read_to_string(identity.join("password.hash")).unwrap();
    assert_eq!(told, format!("/etc/ssh/ssh_host_ed25519_key\n{}\n", hash.trim()));
}

/// A key pair, and a medium that tells a sealed machine of it.
fn keys(world: &World) -> (PathBuf, PathBuf) {
    let folder = world.path("keys");
    fs::create_dir(&folder).unwrap();
    let (key, iso) = (world.path("key"), world.path("keys.iso"));
    run(Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "of the tests", "-f"])
        .arg(&key));
    fs::copy(key.with_extension("pub"), folder.join("authorized_keys")).unwrap();
    run(Command::new("xorriso")
        .args(["-as", "mkisofs", "-quiet", "-V", "PROVISION", "-o"])
        .args([&iso, &folder]));
    (key, iso)
}

/// The sealed OVA becomes a machine here, with this host's keys, whose site answers; the image without a seal does, too,
/// since its keys are this host's; with other keys it runs, but lets nobody in.
pub fn comes_back(world: &World, sealed: &Sealed) {
    let start = Instant::now();
    let imported = world.json(&["import", sealed.ova.to_str().unwrap(), "--name", "back"]);
    world.say(&format!(
        "the OVA is imported in {:.1} s",
        start.elapsed().as_secs_f64()
    ));
    assert_eq!(imported["login"], LOGIN);
    let qcow2 = world.path("machine.qcow2");
    let qcow2 = qcow2.to_str().unwrap();
    world.text(&["import", qcow2, "--name", "again", "--login", LOGIN]);
    // Another login's keys are as good as another host's.
    world.text(&["import", qcow2, "--name", "foreign", "--login", "anna"]);
    std::thread::scope(|scope| {
        for (name, code) in [("back", 0), ("again", 0), ("foreign", 7)] {
            scope.spawn(move || {
                let ended = world.run(&["start", "--name", name]).end();
                assert_eq!(
                    ended.code,
                    Some(code),
                    "{name}: {:?} {}",
                    ended.events.last(),
                    ended.stderr
                );
            });
        }
    });
    for name in ["back", "again"] {
        let told = world.text(&[
            "exec",
            "--name",
            name,
            "--",
            "sh",
            "-c",
            "hostname; lsblk -ndo NAME /dev/vda",
        ]);
        assert_eq!(told, format!("{LOGIN}\nvda\n"));
        let refused = world.output(&["create", "--name", name]);
        assert_eq!(refused.status.code(), Some(3));
    }
    // Nobody gets into this one, but it runs and its site answers.
    let port = world.json(&["status", "--name", "foreign"])["https_port"].to_string();
    let page = run(Command::new("curl")
        .args(["-sfk", "--retry", "60", "--retry-all-errors", "--retry-delay", "2"])
        .arg("--resolve")
        .arg(format!("{LOGIN}.42.fr:{port}:127.0.0.1"))
        .arg(format!("https://{LOGIN}.42.fr:{port}/")));
    assert!(String::from_utf8_lossy(&page.stdout).contains("wp-content"));
    for name in ["back", "again", "foreign"] {
        world.text(&["stop", "--name", name]);
        world.text(&["destroy", "--name", name, "--yes"]);
    }
    fs::remove_file(qcow2).unwrap();
    fs::remove_dir_all(world.path("sealed")).unwrap();
}
