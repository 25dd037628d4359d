//! Exported images boot: on other hardware, and as machines of this program again.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use super::elsewhere::{Bus, Elsewhere, Firmware};
use super::export::{Sealed, run};
use super::machine::page;
use super::virtualbox;
use super::world::World;

/// The exported qcow2 boots on SATA with its own keys. Gives its machine ID.
pub fn boots_on_sata(world: &World) -> String {
    let identity = world.machine_dir(world.login()).join("identity");
    let qcow2 = world.path("machine.qcow2");
    let mut sata = Elsewhere::boot(&qcow2, "qcow2", Bus::Sata, Firmware::Bios, &[], &world.path("sata"));
    let told = sata.ssh(
        world.login(),
        &identity.join("id_ed25519"),
        Some(&identity.join("known_hosts")),
        "lsblk -ndo TRAN /dev/sda; cat /etc/machine-id",
    );
    world.say(&format!("qcow2 on SATA with BIOS answers after {} s", sata.seconds()));
    let (bus, machine_id) = told.trim().split_once('\n').unwrap();
    assert_eq!(bus.trim(), "sata");
    machine_id.to_owned()
}

/// The OVA's disk boots on NVMe with UEFI, with none of our keys and with those on two media: one that anybody may make,
/// and that which it would find under VirtualBox. It is another machine than that with the ID `of_the_other`.
pub fn boots_on_nvme(world: &World, sealed: &Sealed, of_the_other: &str) {
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
    takes_what_it_is_told(world, &mut nvme, &told_by.identity);
    world.say(&format!(
        "the OVA's disk on NVMe with UEFI answers after {} s",
        nvme.seconds()
    ));
    let identity = world.machine_dir(world.login()).join("identity");
    let public = |name: &str| {
        let text = fs::read_to_string(identity.join(name)).unwrap();
        text.split(' ').nth(1).unwrap().to_owned()
    };
    // What is looked for is no word of a command: sudo writes those to the log.
    let script = format!(
        "test -d /sys/firmware/efi && lsblk -ndo TRAN /dev/nvme0n1 && cat /etc/machine-id && cat ~/.ssh/authorized_keys && \
         printf '%s\\n' {} {} > /tmp/keys && \
         sudo sh -c 'find /var/lib/apt/lists -type f; ls -d /root/.ssh/authorized_keys /root/.bash_history /var/log/installer; \
         grep -rlF -f /tmp/keys /etc /home/*/.ssh /root /var/log; \
         journalctl --no-pager --quiet | grep sealed-[a]way; cat /var/log/apt/sealed-[a]way.log' 2> /dev/null; true",
        public("id_ed25519.pub"),
        public("ssh_host_ed25519_key.pub")
    );
    let login = world.login();
    let told = nvme.ssh(login, &key, None, &script);
    let lines: Vec<_> = told.lines().collect();
    assert_eq!(lines[0].trim(), "nvme");
    assert_ne!(lines[1], of_the_other, "two machines with one ID");
    assert!(lines[2..].iter().any(|line| line.contains("of the tests")), "{told}");
    assert_eq!(lines.len(), 4, "something is left: {told}");
}

/// The machine has the host key, the key and the password of `identity`, and no other host key.
fn takes_what_it_is_told(world: &World, machine: &mut Elsewhere, identity: &Path) {
    let login = world.login();
    let script = format!("ls /etc/ssh/ssh_host_*_key; sudo grep '^{login}:' /etc/shadow | cut -d: -f2");
    let known_hosts = identity.join("known_hosts");
    let told = machine.ssh(login, &identity.join("id_ed25519"), Some(&known_hosts), &script);
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

/// The sealed OVA becomes a machine here, with this host's keys, whose site answers; the image without a seal does, too.
pub fn come_back(world: &World, sealed: &Sealed) {
    let start = Instant::now();
    let imported = world.json(&["import", sealed.ova.to_str().unwrap(), "--name", "back"]);
    world.say(&format!(
        "the OVA is imported in {:.1} s",
        start.elapsed().as_secs_f64()
    ));
    assert_eq!(imported["login"], world.login());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            world.run(&["start", "--name", "back"]).end().succeeded();
            is_a_machine(world, "back");
            shows_the_site(world, "back");
            world.text(&["stop", "--name", "back"]);
        });
        scope.spawn(|| opens_with_its_own_keys(world));
    });
    for name in ["back", "foreign", "again"] {
        world.text(&["destroy", "--name", name, "--yes"]);
    }
}

/// An image without a seal has the keys of the machine that it was: on a host that has others it runs and its site
/// answers, but it lets nobody in; with those that this host has for its login it does.
fn opens_with_its_own_keys(world: &World) {
    let qcow2 = world.path("machine.qcow2");
    let import = |name: &'static str| {
        [
            "import",
            qcow2.to_str().unwrap(),
            "--name",
            name,
            "--login",
            world.login(),
        ]
    };
    // Keys are kept in the cache: with another one this is another host.
    let output = world
        .command(&import("foreign"))
        .env("PROVISION_CACHE_DIR", world.path("other-host"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let ended = world.run(&["start", "--name", "foreign"]).end();
    let last = ended.events.last();
    assert_eq!(ended.code, Some(7), "{last:?} {}", ended.stderr);
    shows_the_site(world, "foreign");
    // What is imported here gets this host's keys by itself.
    world.text(&import("again"));
    let (ours, theirs) = (
        world.machine_dir("again").join("identity"),
        world.machine_dir("foreign").join("identity"),
    );
    fs::remove_dir_all(&theirs).unwrap();
    run(Command::new("cp").arg("-a").args([ours, theirs]));
    world.run(&["start", "--name", "foreign"]).end().succeeded();
    is_a_machine(world, "foreign");
}

/// The site answers with the page of what was exported.
fn shows_the_site(world: &World, name: &str) {
    let page = page(
        world,
        name,
        &["--retry", "60", "--retry-all-errors", "--retry-delay", "2"],
    );
    assert!(page.contains(world.mark()), "{page}");
}

/// Commands run in it, and `create` leaves it alone.
fn is_a_machine(world: &World, name: &str) {
    let look = "hostname; lsblk -ndo NAME /dev/vda";
    let told = world.text(&["exec", "--name", name, "--", "sh", "-c", look]);
    assert_eq!(told, format!("{}\nvda\n", world.login()));
    let refused = world.output(&["create", "--name", name]);
    assert_eq!(refused.status.code(), Some(3));
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains("was imported"), "{said}");
}
