//! Booting an exported disk on other hardware than this program's machines have: QEMU by hand.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::programs::free_port;

/// What a machine's disk is attached to. The network card differs with it, in kind and in address.
#[derive(Debug, Clone, Copy)]
pub enum Bus {
    Sata,
    Nvme,
}

/// The machine's firmware.
#[derive(Debug, Clone, Copy)]
pub enum Firmware {
    Bios,
    Uefi,
}

/// A machine that boots from a disk of ours; it ends when it is dropped.
pub struct Elsewhere {
    child: Child,
    port: u16,
    folder: PathBuf,
    start: Instant,
}

impl Elsewhere {
    /// Boots `disk` with the format `driver`, which stays as it is; `folder` is made for what the machine writes.
    pub fn boot(disk: &Path, driver: &str, bus: Bus, firmware: Firmware, media: &[&Path], folder: &Path) -> Self {
        fs::create_dir_all(folder).unwrap();
        let overlay = folder.join("disk.qcow2");
        let status = Command::new("qemu-img")
            .args(["create", "-q", "-f", "qcow2", "-F", driver, "-b"])
            .args([disk, &overlay])
            .status();
        assert!(status.unwrap().success());
        let port = free_port();
        let mut qemu = Command::new("qemu-system-x86_64");
        qemu.args(
            "-machine q35 -accel tcg,thread=multi -cpu qemu64 -smp 2 -m 2048 -nodefaults -display none".split(' '),
        );
        qemu.arg("-serial")
            .arg(format!("file:{}", folder.join("console.log").display()));
        qemu.arg("-blockdev").arg(format!(
            "driver=qcow2,node-name=disk,cache.no-flush=on,file.driver=file,file.filename={}",
            overlay.display()
        ));
        // What is looked at is the machine; its containers would take longer to come up than it.
        for unit in ["docker", "containerd"] {
            qemu.arg("-smbios").arg(format!(
                "type=11,value=io.systemd.credential:systemd.unit-dropin.{unit}.service=\
                 [Unit]\nConditionPathExists=/run/starts-no-containers\n"
            ));
        }
        qemu.arg("-netdev")
            .arg(format!("user,id=net,hostfwd=tcp:127.0.0.1:{port}-:22"));
        qemu.args(match bus {
            Bus::Sata => [
                "-device",
                "ide-hd,drive=disk,bus=ide.0",
                "-device",
                "e1000,netdev=net,addr=0x9",
            ],
            Bus::Nvme => [
                "-device",
                "nvme,drive=disk,serial=1,addr=0xa",
                "-device",
                "e1000e,netdev=net,addr=0x8",
            ],
        });
        if let Firmware::Uefi = firmware {
            let variables = folder.join("OVMF_VARS.fd");
            fs::copy("/usr/share/OVMF/OVMF_VARS_4M.fd", &variables).unwrap();
            let flash = |unit: u8, access: &str, file: &Path| {
                format!("if=pflash,unit={unit},format=raw,{access},file={}", file.display())
            };
            let code = Path::new("/usr/share/OVMF/OVMF_CODE_4M.fd");
            qemu.arg("-drive").arg(flash(0, "readonly=on", code));
            qemu.arg("-drive").arg(flash(1, "readonly=off", &variables));
        }
        for (iso, port) in media.iter().zip(1..) {
            qemu.arg("-drive").arg(format!(
                "if=none,id=medium{port},format=raw,readonly=on,file={}",
                iso.display()
            ));
            qemu.arg("-device")
                .arg(format!("ide-cd,drive=medium{port},bus=ide.{port}"));
        }
        let child = qemu.stdin(Stdio::null()).spawn().unwrap();
        Self {
            child,
            port,
            folder: folder.to_owned(),
            start: Instant::now(),
        }
    }

    /// Runs `script` in the guest as `user` once it lets the key in; `known_hosts` pins its host key where one is known.
    pub fn ssh(&mut self, user: &str, key: &Path, known_hosts: Option<&Path>, script: &str) -> String {
        let (known, checking, alias) = match known_hosts {
            Some(file) => (file.to_owned(), "yes", "provision-guest"),
            None => (self.folder.join("known_hosts"), "accept-new", "elsewhere"),
        };
        loop {
            let output = Command::new("ssh")
                .args([
                    "-F",
                    "none",
                    "-o",
                    "BatchMode=yes",
                    "-o",
                    "IdentitiesOnly=yes",
                    "-o",
                    "ConnectTimeout=10",
                ])
                .args(["-o", "IdentityAgent=none", "-o", "LogLevel=ERROR"])
                .arg(format!("-oHostKeyAlias={alias}"))
                .arg(format!("-oStrictHostKeyChecking={checking}"))
                .arg(format!("-oUserKnownHostsFile={}", known.display()))
                .arg("-i")
                .arg(key)
                .args(["-p", &self.port.to_string(), &format!("{user}@127.0.0.1"), script])
                .stdin(Stdio::null())
                .output()
                .unwrap();
            // ssh(1) ends with 255 when it gets no connection.
            if output.status.code() != Some(255) {
                let stderr = String::from_utf8_lossy(&output.stderr);
                assert!(output.status.success(), "{script}: {stderr}");
                return String::from_utf8(output.stdout).unwrap();
            }
            let console = || fs::read(self.folder.join("console.log")).unwrap_or_default();
            assert!(
                self.start.elapsed() < Duration::from_secs(600) && self.child.try_wait().unwrap().is_none(),
                "it does not boot: {}\n{}",
                String::from_utf8_lossy(&output.stderr),
                String::from_utf8_lossy(&console())
            );
            std::thread::sleep(Duration::from_millis(500));
        }
    }

    /// How long it has run.
    pub fn seconds(&self) -> u64 {
        self.start.elapsed().as_secs()
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
