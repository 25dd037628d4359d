//! The whole program with the real VirtualBox, as far as it goes without its kernel driver: to the start of a machine.

use std::path::PathBuf;
use std::process::{Command, Output};

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

    let plan = virtualbox.provision(world, &["plan", "--name", "vbox", "--machine", "virtualbox"]);
    let plan = String::from_utf8_lossy(&plan.stdout).into_owned();
    assert!(plan.contains("hardware is new"), "{plan}");
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
