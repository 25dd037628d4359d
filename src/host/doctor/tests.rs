use super::super::State;
use super::super::acceleration::{Acceleration, Diagnosis};
use super::super::version::Version;
use super::*;
use crate::report::{Output as _, Paint};

fn silent() -> Diagnosis {
    Diagnosis {
        acceleration: Acceleration::RunsNothing,
        hint: Some("emulate".into()),
    }
}

#[test]
fn this_host_is_examined() {
    let dir = tempfile::tempdir().unwrap();
    let folders = [("cache", dir.path().join("not/yet"))];
    let found = examine(silent(), VirtualBoxReport::Absent, &folders, &Cancel::default()).unwrap();
    assert!(found.ok);
    assert!(found.programs.iter().all(|told| told.hint.is_none()));
    assert!(found.room[0].found.free_bytes > 0);
    assert_eq!(found.ports.len(), 2);
}

#[test]
fn virtualbox_needs_its_driver_and_the_processor() {
    for (driver, kvm_holds, hint) in [
        (true, false, None),
        (true, true, Some("modprobe -r")),
        (false, false, Some("modprobe vboxdrv")),
        (false, true, Some("modprobe vboxdrv")),
    ] {
        let version = "7.2".to_owned();
        let told = VirtualBoxReport::Present {
            version,
            driver,
            kvm_holds,
        };
        assert_eq!(told.hint().is_some(), hint.is_some());
        assert!(told.hint().unwrap_or_default().contains(hint.unwrap_or_default()));
    }
}

fn found() -> Examination {
    let qemu = Finding {
        program: "qemu-system-x86_64",
        state: State::TooOld {
            path: "/usr/bin/qemu-system-x86_64".into(),
            version: Version { major: 7, minor: 2 },
        },
    };
    let image = Finding {
        program: "qemu-img",
        state: State::Absent,
    };
    let virtualbox = VirtualBoxReport::Present {
        version: "7.2".into(),
        driver: false,
        kvm_holds: false,
    };
    Examination {
        ok: false,
        programs: vec![program(qemu), program(image)],
        accelerator: Diagnosis {
            acceleration: Acceleration::Limited {
                module: Some("kvm_pvm".into()),
                message: "failed to set MSR\nAssertion failed".into(),
            },
            hint: Some("`provision create --accelerator tcg` emulates the processor instead".into()),
        },
        virtualbox: Told {
            hint: virtualbox.hint(),
            found: virtualbox,
        },
        room: vec![room("cache", "/home/jdoe/.cache/provision".into(), 5 << 30)],
        ports: vec![Port { port: 443, free: false }, Port { port: 8443, free: true }],
    }
}

#[test]
fn the_findings_are_told_with_hints() {
    insta::assert_snapshot!(found().text(Paint::NONE), @r#"
    ✘ qemu-system-x86_64 7.2 is too old (/usr/bin/qemu-system-x86_64): 8.2 is needed, as older ones crash their guests
      hint: `provision doctor --install-missing`
    ✘ qemu-img           missing
      hint: `provision doctor --install-missing`
    ! accelerator        none: /dev/kvm opens, but it is kvm_pvm's, which lacks what QEMU needs
      hint: `provision create --accelerator tcg` emulates the processor instead
    ! VirtualBox         7.2, but its kernel driver is not loaded
      hint: `sudo modprobe vboxdrv`; without a driver for this kernel, `sudo /sbin/vboxconfig` builds one
    ! cache              5.0 GiB free in /home/jdoe/.cache/provision
      hint: `provision cache prune` deletes what no machine uses
    ! port 443           taken, or not yours to bind; another is chosen
    ✔ port 8443          free on 127.0.0.1
    "#);
}

#[test]
fn programs_get_states_and_hints() {
    insta::assert_snapshot!(serde_json::to_string_pretty(&found()).unwrap(), @r#"
    {
      "ok": false,
      "programs": [
        {
          "program": "qemu-system-x86_64",
          "state": "too_old",
          "path": "/usr/bin/qemu-system-x86_64",
          "version": "7.2",
          "hint": "`provision doctor --install-missing`"
        },
        {
          "program": "qemu-img",
          "state": "absent",
          "hint": "`provision doctor --install-missing`"
        }
      ],
      "accelerator": {
        "state": "limited",
        "module": "kvm_pvm",
        "message": "failed to set MSR\nAssertion failed",
        "hint": "`provision create --accelerator tcg` emulates the processor instead"
      },
      "virtualbox": {
        "state": "present",
        "version": "7.2",
        "driver": false,
        "kvm_holds": false,
        "hint": "`sudo modprobe vboxdrv`; without a driver for this kernel, `sudo /sbin/vboxconfig` builds one"
      },
      "room": [
        {
          "holds": "cache",
          "path": "/home/jdoe/.cache/provision",
          "free_bytes": 5368709120,
          "state": "little",
          "hint": "`provision cache prune` deletes what no machine uses"
        }
      ],
      "ports": [
        {
          "port": 443,
          "free": false
        },
        {
          "port": 8443,
          "free": true
        }
      ]
    }
    "#);
}
