//! How the findings are shown to a person.

use bytesize::ByteSize;

use super::{Amount, Examination, Port, Room, Told, VirtualBoxReport};
use crate::host::acceleration::Diagnosis;
use crate::host::check::Finding;
use crate::report::{Output, Paint};

/// How good a finding is.
#[derive(Clone, Copy)]
enum Mark {
    Good,
    Poor,
    Bad,
}

impl Mark {
    fn painted(self, paint: Paint) -> String {
        match self {
            Self::Good => paint.green("✔"),
            Self::Poor => paint.yellow("!"),
            Self::Bad => paint.red("✘"),
        }
    }

    /// Good, unless there is something to mend.
    const fn of(hint: Option<&str>) -> Self {
        if hint.is_none() { Self::Good } else { Self::Poor }
    }
}

struct Row<'a> {
    mark: Mark,
    name: String,
    words: String,
    hint: Option<&'a str>,
}

impl Row<'_> {
    fn text(&self, paint: Paint) -> String {
        let Self {
            mark,
            name,
            words,
            hint,
        } = self;
        let hint = hint.map(|hint| format!("\n  {} {hint}", paint.cyan("hint:")));
        format!("{} {name:<18} {words}{}", mark.painted(paint), hint.unwrap_or_default())
    }
}

impl Output for Examination {
    fn text(&self, paint: Paint) -> String {
        let programs = self.programs.iter().map(program);
        let rows = programs
            .chain([accelerator(&self.accelerator)])
            .chain(virtualbox(&self.virtualbox))
            .chain(self.room.iter().map(room))
            .chain(self.ports.iter().map(port));
        rows.map(|row| row.text(paint)).collect::<Vec<String>>().join("\n")
    }
}

fn program(told: &Told<Finding>) -> Row<'_> {
    let Told { found, hint } = told;
    Row {
        mark: if found.is_present() { Mark::Good } else { Mark::Bad },
        name: found.program.to_owned(),
        words: found.words(),
        hint: *hint,
    }
}

fn accelerator(diagnosis: &Diagnosis) -> Row<'_> {
    let reason = diagnosis.reason();
    Row {
        mark: Mark::of(diagnosis.hint.as_deref()),
        name: "accelerator".to_owned(),
        words: if diagnosis.works() {
            reason
        } else {
            format!("none: {reason}")
        },
        hint: diagnosis.hint.as_deref(),
    }
}

/// None where it is not installed.
fn virtualbox(told: &Told<VirtualBoxReport>) -> Option<Row<'_>> {
    let (mark, words) = match &told.found {
        VirtualBoxReport::Absent => return None,
        VirtualBoxReport::Unusable { message } => (Mark::Poor, message.clone()),
        VirtualBoxReport::Present {
            version, driver: false, ..
        } => (Mark::Poor, format!("{version}, but its kernel driver is not loaded")),
        VirtualBoxReport::Present {
            version,
            kvm_holds: true,
            ..
        } => (
            Mark::Poor,
            format!("{version}, but KVM holds the processor's virtualisation"),
        ),
        VirtualBoxReport::Present { version, .. } => (Mark::Good, version.clone()),
    };
    Some(Row {
        mark,
        name: "VirtualBox".to_owned(),
        words,
        hint: told.hint,
    })
}

fn room(told: &Told<Room>) -> Row<'_> {
    let free = ByteSize::b(told.found.free_bytes).display().iec();
    Row {
        mark: Mark::of(told.hint),
        name: told.found.holds.to_owned(),
        words: match told.found.state {
            Amount::Closed => format!("nothing can be written in {}", told.found.path.display()),
            Amount::Enough | Amount::Little => format!("{free} free in {}", told.found.path.display()),
        },
        hint: told.hint,
    }
}

fn port(port: &Port) -> Row<'_> {
    let (mark, words) = if port.free {
        (Mark::Good, "free on 127.0.0.1")
    } else {
        (Mark::Poor, "taken, or not yours to bind; another is chosen")
    };
    Row {
        mark,
        name: format!("port {}", port.port),
        words: words.to_owned(),
        hint: None,
    }
}
