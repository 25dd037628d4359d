//! What happens, as data. Logic emits events and prints nothing; [`crate::report`] shows them to a person, a log or
//! a program.

mod forecast;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use forecast::Forecast;

/// A stage of the plan, in the order in which they run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// A verified ISO in the cache.
    Media,
    /// A bootable disk with the distribution on it.
    Install,
    /// Docker's engine and compose.
    Docker,
    /// The user LOGIN and its home.
    Account,
    /// The project, copied and built by `make`.
    Project,
    /// The checks of the running machine.
    Verify,
    /// What `export --seal` does to a copy; in no plan, as those that follow.
    #[value(skip)]
    Seal,
    /// Writing an image.
    #[value(skip)]
    Export,
    /// Reading one.
    #[value(skip)]
    Import,
}

impl Stage {
    /// All stages of a plan in order.
    pub const ALL: [Self; 6] = [
        Self::Media,
        Self::Install,
        Self::Docker,
        Self::Account,
        Self::Project,
        Self::Verify,
    ];

    /// The stage's name as the user reads and types it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Media => "media",
            Self::Install => "install",
            Self::Docker => "docker",
            Self::Account => "account",
            Self::Project => "project",
            Self::Verify => "verify",
            Self::Seal => "seal",
            Self::Export => "export",
            Self::Import => "import",
        }
    }
}

impl std::fmt::Display for Stage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

/// In what a [`Event::Progress`] counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// Bytes of a transfer.
    Bytes,
    /// Hundredths of the whole.
    Percent,
}

/// Which of a guest command's streams a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Something that happened. In JSON each is one object with its kind under `event`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A stage begins; `typical_seconds` is an estimate where there is one.
    StageStarted {
        /// Which.
        stage: Stage,
        /// Why it runs and is not taken from the cache.
        reason: String,
        /// How long it is expected to take.
        #[serde(skip_serializing_if = "Option::is_none")]
        typical_seconds: Option<u64>,
    },
    /// A stage was taken from the cache.
    StageCached {
        /// Which.
        stage: Stage,
        /// Its key.
        key: String,
    },
    /// A stage ended well.
    StageDone {
        /// Which.
        stage: Stage,
        /// How long it took.
        seconds: f64,
    },
    /// A milestone within a stage: "partitioning", "waiting for SSH".
    Step {
        /// The stage it belongs to.
        stage: Stage,
        /// What is being done now.
        text: String,
    },
    /// What a run goes through: the stages that are not cached, in order.
    Planned {
        /// They.
        stages: Vec<Stage>,
    },
    /// A part of a stage begins, by what the guest's own log says; `status --timings` adds up the time by these.
    Part {
        /// The stage it belongs to.
        stage: Stage,
        /// Its name: "partitioning", "kernel".
        part: String,
    },
    /// How much time is left, by this host's earlier runs and the pace of this one.
    Estimate {
        /// The stage that runs.
        stage: Stage,
        /// Of this stage.
        seconds_left: Forecast,
        /// Of the whole run, where its stages are known.
        #[serde(skip_serializing_if = "Option::is_none")]
        run_seconds_left: Option<Forecast>,
    },
    /// How far a stage or a transfer is.
    Progress {
        /// The stage it belongs to.
        stage: Stage,
        /// How much is done, in `unit`.
        done: u64,
        /// Of how much, where that is known.
        #[serde(skip_serializing_if = "Option::is_none")]
        total: Option<u64>,
        /// What is counted.
        unit: Unit,
    },
    /// A line that a program in the guest printed.
    Output {
        /// The stage it belongs to.
        stage: Stage,
        /// Which stream it came from.
        stream: Stream,
        /// The line without its end.
        line: String,
    },
    /// Something worth knowing.
    Note {
        /// One line.
        text: String,
    },
    /// Something that the user should look at.
    Warning {
        /// One line.
        text: String,
    },
    /// Shown with `-v` only.
    Detail {
        /// One line.
        text: String,
    },
    /// One rule of the verify stage was checked.
    Check {
        /// The rule's name in the catalogue.
        rule: String,
        /// Whether it holds.
        passed: bool,
        /// What was seen.
        detail: String,
    },
    /// The machine is up and the site answers.
    Ready {
        /// The machine's name.
        name: String,
        /// The site's address as its users type it.
        url: String,
        /// The port on 127.0.0.1 that leads to the guest's 443.
        https_port: u16,
        /// The port on 127.0.0.1 that leads to the guest's 22.
        ssh_port: u16,
    },
}

/// Where events go: a cheap handle that every part of the program holds.
#[derive(Clone)]
pub struct Events(Arc<dyn Fn(Event) + Send + Sync>);

impl Events {
    /// A handle that gives every event to `sink`.
    pub fn new(sink: impl Fn(Event) + Send + Sync + 'static) -> Self {
        Self(Arc::new(sink))
    }

    /// Tells of an event.
    pub fn emit(&self, event: Event) {
        (self.0)(event);
    }

    /// Tells of a milestone.
    pub fn step(&self, stage: Stage, text: impl Into<String>) {
        let text = text.into();
        self.emit(Event::Step { stage, text });
    }

    /// Tells something worth knowing.
    pub fn note(&self, text: impl Into<String>) {
        self.emit(Event::Note { text: text.into() });
    }

    /// Warns.
    pub fn warn(&self, text: impl Into<String>) {
        self.emit(Event::Warning { text: text.into() });
    }

    /// Tells a detail for `-v`.
    pub fn detail(&self, text: impl Into<String>) {
        self.emit(Event::Detail { text: text.into() });
    }
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Events")
    }
}

#[cfg(test)]
impl Events {
    /// A handle whose events are thrown away.
    pub fn ignore() -> Self {
        Self::new(|_| ())
    }

    /// A handle that keeps every event for a test to read.
    pub fn recorder() -> (Self, Arc<std::sync::Mutex<Vec<Event>>>) {
        let kept = Arc::new(std::sync::Mutex::new(Vec::new()));
        let into = Arc::clone(&kept);
        (Self::new(move |e| into.lock().unwrap().push(e)), kept)
    }
}
