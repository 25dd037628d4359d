//! The diagnosis in words.

use super::{Acceleration, Diagnosis};

impl Diagnosis {
    /// Why no guest runs, as one clause; that it works, where it does.
    pub fn reason(&self) -> String {
        match &self.acceleration {
            Acceleration::Works { name } => format!("{name}: a guest runs under it"),
            Acceleration::OtherProcessor { architecture } => {
                format!("guests are x86_64, and this host's processor is {architecture}")
            }
            Acceleration::NoCpuFlag => "the processor shows no virtualisation (vmx or svm)".to_owned(),
            Acceleration::ModuleMissing { module } => format!("KVM's module {module} is not loaded"),
            Acceleration::ModuleUnavailable { module, kernel } => {
                format!("there is no module {module} for the kernel {kernel}")
            }
            Acceleration::DeviceMissing => "there is no /dev/kvm".to_owned(),
            Acceleration::NoPermission => "you may not open /dev/kvm".to_owned(),
            Acceleration::Busy { .. } => "another hypervisor holds the processor's virtualisation".to_owned(),
            Acceleration::RunsNothing => "QEMU starts, but a guest executes nothing".to_owned(),
            Acceleration::Limited {
                module: Some(module), ..
            } => {
                format!("/dev/kvm opens, but it is {module}'s, which lacks what QEMU needs")
            }
            Acceleration::Limited { module: None, .. } => {
                "/dev/kvm opens, but it lacks what QEMU needs to run a guest".to_owned()
            }
            Acceleration::Refused { message } => short(message),
            Acceleration::QemuMissing => "QEMU is missing".to_owned(),
        }
    }

    /// What QEMU or the system said, for who wants all of it.
    pub fn message(&self) -> Option<&str> {
        match &self.acceleration {
            Acceleration::Busy { message }
            | Acceleration::Limited { message, .. }
            | Acceleration::Refused { message } => Some(message),
            _ => None,
        }
    }
}

/// A message's first line without the program's name, cut to what fits in a line.
fn short(message: &str) -> String {
    const MOST: usize = 100;
    let line = message.lines().next().unwrap_or_default().trim();
    let line = line.strip_prefix("qemu-system-x86_64: ").unwrap_or(line);
    let line = line.strip_prefix("-accel ").map_or(line, |rest| {
        let words = rest.split_once(": ");
        words.map_or(line, |(_, words)| words)
    });
    if line.chars().count() <= MOST {
        return if line.is_empty() {
            "QEMU fails and says nothing".to_owned()
        } else {
            line.to_owned()
        };
    }
    line.chars().take(MOST).chain(['…']).collect()
}
