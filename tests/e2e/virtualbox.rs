//! The whole program with the real VirtualBox, as far as it goes without its kernel driver: to the start of a machine.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use super::programs::write_program;
use super::world::World;

/// VirtualBox with a home and a service of its own.
struct VirtualBox {
    programs: PathBuf,
    environment: [(&'static str, PathBuf); 2],
}

impl VirtualBox {
    fn new(world: &World) -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/virtualbox");
        assert!(Command::new(script).status().unwrap().success());
        let cache = PathBuf::from(std::env::var_os("PROVISION_TEST_CACHE").unwrap());
        Self {
            programs: cache.join("virtualbox/bin"),
            environment: [
                ("VBOX_USER_HOME", world.path("virtualbox-home")),
                (
                    "VBOX_IPC_SOCKETID",
                    PathBuf::from(format!("e2e-{}", std::process::id())),
                ),
            ],
        }
    }

    /// The same whose `VBoxHeadless` keeps a copy of the file `medium` before it becomes the real one.
    fn keeping(world: &World, medium: &Path, copy: &Path) -> Self {
        let mut virtualbox = Self::new(world);
        let real = std::mem::replace(&mut virtualbox.programs, world.path("virtualbox-bin"));
        fs::create_dir(&virtualbox.programs).unwrap();
        symlink(real.join("VBoxManage"), virtualbox.programs.join("VBoxManage")).unwrap();
        let text = format!(
            "#!/bin/sh\ncp '{}' '{}'\nexec '{}' \"$@\"\n",
            medium.display(),
            copy.display(),
            real.join("VBoxHeadless").display()
        );
        write_program(&virtualbox.programs.join("VBoxHeadless"), &text);
        virtualbox
    }

    /// The program with this VirtualBox on its PATH.
    fn provision(&self, world: &World, args: &[&str]) -> Output {
        let path = format!("{}:{}", self.programs.display(), std::env::var("PATH").unwrap());
        let mut command = world.command(args);
        command.env("PATH", path).envs(self.environment.clone());
        command.output().unwrap()
    }

    /// What VirtualBox knows: machines, disks and media.
    fn knows(&self) -> String {
        let list = |kind: &str| {
            let mut command = Command::new(self.programs.join("VBoxManage"));
            let output = command
                .args(["list", kind])
                .envs(self.environment.clone())
                .output()
                .unwrap();
            assert!(output.status.success());
            String::from_utf8(output.stdout).unwrap()
        };
        ["vms", "hdds", "dvds"].map(list).concat()
    }
}

/// The medium is made, the machine created, and what VirtualBox says of its missing driver told with a hint; nothing of
/// it is left, neither here nor in VirtualBox's lists.
pub fn says_what_is_missing(world: &World) {
    let virtualbox = VirtualBox::new(world);
    let args = ["create", "--name", "vbox", "--machine", "virtualbox"];
    let output = virtualbox.provision(world, &args);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{said}");
    assert!(said.contains("remastering the ISO"), "{said}");
    assert!(said.contains("Kernel driver not installed"), "{said}");
    assert!(said.contains("modprobe vboxdrv"), "{said}");
    assert_eq!(virtualbox.knows(), "", "VirtualBox still knows something");
    assert!(!world.machine_dir("vbox").join("work/install").exists());

    // Its checkpoints are no other program's.
    let plan = virtualbox.provision(world, &["--json", "plan", "--name", "vbox", "--machine", "virtualbox"]);
    let plan: Value = serde_json::from_slice(&plan.stdout).unwrap();
    assert_eq!(plan["stages"][1]["inputs"]["hardware"], "virtualbox", "{plan}");
    let doctor = virtualbox.provision(world, &["doctor"]);
    let doctor = String::from_utf8_lossy(&doctor.stdout).into_owned();
    assert!(doctor.contains("kernel driver is not loaded"), "{doctor}");
    assert!(
        virtualbox
            .provision(world, &["destroy", "--name", "vbox", "--yes"])
            .status
            .success()
    );
}

/// What a machine of a sealed image would be told under VirtualBox.
pub struct Told {
    /// The medium that would be in its drive.
    pub medium: PathBuf,
    /// The folder with the keys and the password on it.
    pub identity: PathBuf,
}

/// The sealed OVA, whose disk is `vmdk`, becomes a machine of VirtualBox up to its start, for another login than ours.
pub fn imports_a_sealed_image(world: &World, ova: &Path, vmdk: &Path) -> Told {
    let (folder, told) = (world.machine_dir("told"), world.path("told.iso"));
    let virtualbox = VirtualBox::keeping(world, &folder.join("virtualbox/keys.iso"), &told);
    let import = [
        "import",
        ova.to_str().unwrap(),
        "--name",
        "told",
        "--login",
        "anna",
        "--machine",
        "virtualbox",
    ];
    let output = virtualbox.provision(world, &import);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let machines = fs::read_dir(folder.join("virtualbox")).unwrap().flatten();
    let vdi = machines
        .map(|machine| machine.path().join("disk.vdi"))
        .find(|disk| disk.exists());
    let compared = Command::new("qemu-img")
        .args(["compare", "-q", "-f", "vmdk", "-F", "vdi"])
        .args([vmdk, &vdi.unwrap()])
        .status();
    assert!(compared.unwrap().success(), "the disk is another");
    let start = virtualbox.provision(world, &["start", "--name", "told"]);
    let said = String::from_utf8_lossy(&start.stderr);
    assert_eq!(start.status.code(), Some(4), "{said}");
    assert!(said.contains("Kernel driver not installed"), "{said}");
    let identity = world.path("told");
    fs::rename(folder.join("identity"), &identity).unwrap();
    let destroyed = virtualbox.provision(world, &["destroy", "--name", "told", "--yes"]);
    assert!(
        destroyed.status.success(),
        "{}",
        String::from_utf8_lossy(&destroyed.stderr)
    );
    assert_eq!(virtualbox.knows(), "", "VirtualBox still knows something");
    Told { medium: told, identity }
}
