//! The real `VBoxManage` for tests, with a home and a service of their own.

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal};

use super::vboxmanage::VBoxManage;
use super::{arguments, disks, moving};
use crate::cancel::Cancel;
use crate::wait::Wait;

/// `VBoxManage` with an own home. Its service ends with it.
pub(crate) struct World {
    pub(crate) vbox: VBoxManage,
    folder: tempfile::TempDir,
    id: String,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with("bin")
    }

    /// One whose machines run without the kernel driver: see [`World::interpret`].
    pub(crate) fn driverless() -> Self {
        Self::with("driverless")
    }

    fn with(programs: &'static str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let folder = tempfile::tempdir().unwrap();
        let id = format!("test-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let vbox = open(programs, &folder.path().join("home"), &id);
        Self { vbox, folder, id }
    }

    /// A folder in which the tests may do what they like.
    pub(crate) fn dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// A place for a machine.
    pub(crate) fn place(&self, name: &str) -> PathBuf {
        self.dir().join(name)
    }

    /// Ends the service: whoever asks next starts one that knows only what was written down.
    pub(crate) fn restart(&self) {
        end_service(&self.id);
    }

    /// The same, with its lists lost.
    pub(crate) fn forget(&self) {
        self.restart();
        let home = self.folder.path().join("home");
        for name in ["VirtualBox.xml", "VirtualBox.xml-prev"] {
            let _ = std::fs::remove_file(home.join(name));
        }
    }

    /// The same, with a home that knows nothing.
    pub(crate) fn move_home(&mut self) {
        self.restart();
        self.vbox = open("bin", &self.folder.path().join("other home"), &self.id);
    }

    /// The same `VBoxManage`, but its service ends after the first call of this name that succeeds. The file that is given
    /// is there from then on.
    pub(crate) fn ending_after(&self, call: &str) -> (VBoxManage, PathBuf) {
        let programs = self.folder.path().join(format!("ending after {call}"));
        std::fs::create_dir(&programs).unwrap();
        let (program, ended) = (programs.join("VBoxManage"), programs.join("ended"));
        let script = format!(
            r#"#!/bin/sh
'{}' "$@" || exit
[ "$1" = {call} ] && [ ! -e '{ended}' ] || exit 0
services() {{ pgrep 'VBoxSVC|VBoxXPCOMIPCD' | while read -r pid; do
    ! tr '\0' '\n' < "/proc/$pid/environ" | grep -qx 'VBOX_IPC_SOCKETID={}' || echo "$pid"
done 2> /dev/null; }}
while [ -n "$(services)" ]; do kill $(services); sleep 0.05; done 2> /dev/null
: > '{ended}'
"#,
            self::program("bin").display(),
            self.id,
            ended = ended.display()
        );
        std::fs::write(&program, script).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o700)).unwrap();
        std::os::unix::fs::symlink("VBoxManage", programs.join("VBoxHeadless")).unwrap();
        let vbox = VBoxManage::at(
            &program,
            environment(&self.folder.path().join("home"), &self.id),
            &Cancel::default(),
        );
        (vbox.unwrap(), ended)
    }

    /// Stops a service that answers: on a busy host it may have ended before one gets to it, five seconds after its client.
    fn stop_service(&self) {
        Wait::new("a service to stop", Duration::from_secs(120))
            .until(|| {
                self.vbox.unstoppable().ask(vec!["list".into(), "vms".into()])?;
                Ok(signal(&self.id, Signal::STOP).then_some(()))
            })
            .unwrap();
    }

    /// Does something while the service stands still.
    pub(crate) fn while_stopped<T>(&self, job: impl FnOnce() -> T) -> T {
        self.stop_service();
        let done = job();
        assert!(signal(&self.id, Signal::CONT), "no service runs");
        done
    }

    /// Does something while the service stands still for a time.
    pub(crate) fn stopped_for<T: Send>(&self, time: Duration, job: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            self.stop_service();
            let job = scope.spawn(job);
            std::thread::sleep(time);
            assert!(signal(&self.id, Signal::CONT), "no service runs");
            job.join().unwrap()
        })
    }

    /// Everything that is known to `VirtualBox`, machines and disks.
    pub(crate) fn known(&self) -> String {
        let vbox = self.vbox.unstoppable();
        let list = |what: &str| vbox.ask(vec!["list".into(), what.into()]).unwrap();
        format!("{}{}{}", list("vms"), list("hdds"), list("dvds"))
    }

    /// Makes a machine in a place, as a stage would.
    pub(crate) fn machine(&self, name: &str) -> PathBuf {
        let place = self.place(name);
        disks::create(&self.vbox, &place, name, 1).unwrap();
        place
    }

    /// A machine whose disk of 8 MiB begins with `code`, for this world's interpreter.
    pub(crate) fn interpret(&self, place: &Path, code: &[u8]) {
        disks::create(&self.vbox, place, "guest", 1).unwrap();
        let settings = disks::settings(place).unwrap();
        std::fs::create_dir_all(self.dir()).unwrap();
        let raw = self.place("disk.raw");
        let mut image = code.to_vec();
        image.resize(510, 0);
        image.extend_from_slice(&[0x55, 0xaa]);
        image.resize(8 << 20, 0);
        std::fs::write(&raw, image).unwrap();
        let disk = settings.with_file_name("boots.vdi");
        let convert = vec!["convertfromraw".into(), raw.into(), disk.clone().into()];
        self.vbox.change(convert).unwrap();
        self.vbox.change(arguments::attach_disk(&settings, &disk)).unwrap();
        let engine = ["--vm-execution-engine", "interpreter"].map(OsString::from);
        let modify = [OsString::from("modifyvm"), settings.into()];
        self.vbox.change(modify.into_iter().chain(engine).collect()).unwrap();
    }

    /// A checkpoint on those of `chain`.
    pub(crate) fn checkpoint(&self, name: &str, chain: &[&Path]) -> PathBuf {
        let work = self.place(&format!("work-{name}"));
        match chain {
            [] => disks::create(&self.vbox, &work, name, 1),
            chain => disks::create_overlay(&self.vbox, &work, name, chain),
        }
        .unwrap();
        let layer = self.place("layers").join(name);
        moving::keep(&self.vbox, &work, &layer, name).unwrap();
        layer
    }
}

impl Drop for World {
    fn drop(&mut self) {
        end_service(&self.id);
        let _ = std::fs::remove_dir_all(format!("/tmp/.vbox-{}-ipc", self.id));
    }
}

fn open(programs: &str, home: &Path, id: &str) -> VBoxManage {
    std::fs::create_dir_all(home).unwrap();
    VBoxManage::at(&program(programs), environment(home, id), &Cancel::default()).unwrap()
}

/// What tells `VBoxManage` its home and its service.
fn environment(home: &Path, id: &str) -> Vec<OsString> {
    let mut user_home = OsString::from("VBOX_USER_HOME=");
    user_home.push(home);
    vec![user_home, format!("VBOX_IPC_SOCKETID={id}").into()]
}

/// Where the tests keep things from run to run.
pub(crate) fn cache() -> PathBuf {
    std::env::var_os("PROVISION_TEST_CACHE").map_or_else(
        || {
            let home = PathBuf::from(std::env::var_os("HOME").unwrap());
            std::env::var_os("XDG_CACHE_HOME")
                .map_or_else(|| home.join(".cache"), PathBuf::from)
                .join("provision-tests")
        },
        PathBuf::from,
    )
}

/// The program that tests/support/virtualbox makes.
fn program(folder: &str) -> PathBuf {
    let program = cache().join("virtualbox").join(folder).join("VBoxManage");
    assert!(
        program.exists(),
        "{} is missing: `tests/support/virtualbox` makes it",
        program.display()
    );
    program
}

/// The services of this name.
fn services(id: &str) -> Vec<Pid> {
    let mark = format!("VBOX_IPC_SOCKETID={id}\0");
    let mut pids = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
            .and_then(Pid::from_raw)
        else {
            continue;
        };
        let read = |file| std::fs::read(entry.path().join(file)).unwrap_or_default();
        let is_service = read("comm").starts_with(b"VBoxSVC") || read("comm").starts_with(b"VBoxXPCOMIPCD");
        if is_service && read("environ").windows(mark.len()).any(|part| part == mark.as_bytes()) {
            pids.push(pid);
        }
    }
    pids
}

/// Gives whether there is one that gets it.
fn signal(id: &str, signal: Signal) -> bool {
    let services = services(id);
    for pid in &services {
        let _ = rustix::process::kill_process(*pid, signal);
    }
    !services.is_empty()
}

/// Ends the services of this name as the host's end of session would: they write what they have to.
fn end_service(id: &str) {
    for pid in services(id) {
        let _ = rustix::process::kill_process(pid, Signal::TERM);
    }
    let ended =
        Wait::new("VBoxSVC to end", Duration::from_secs(10)).until(|| Ok(services(id).is_empty().then_some(())));
    if ended.is_err() {
        for pid in services(id) {
            let _ = rustix::process::kill_process(pid, Signal::KILL);
        }
    }
}
