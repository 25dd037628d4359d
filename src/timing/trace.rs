//! A run as a trace, for <https://ui.perfetto.dev> and `chrome://tracing`.
//!
//! The format is Chrome's Trace Event Format: `X` is something with a beginning (`ts`) and a length (`dur`), both in
//! microseconds; what lies within something else on the same thread is shown below it. `i` is a moment, `M` a name.

use std::path::{Path, PathBuf};

use anyhow::Result;
use serde::Serialize;
use serde_json::{Value, json};

use super::run::Run;
use super::write_json;
use crate::fault::{Cause, Fault};
use crate::project::own::is_record;

/// A trace.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Trace {
    /// By which its files are known: see [`crate::project::own`].
    producer: &'static str,
    #[serde(rename = "traceEvents")]
    events: Vec<Value>,
    display_time_unit: &'static str,
}

impl Trace {
    /// That of a run, `now` seconds after its beginning: a run of stages of parts. What has not ended ends now, and is
    /// marked.
    pub fn new(run: &Run, now: f64) -> Self {
        let mut events = vec![
            named("process_name", "provision"),
            named("thread_name", "run"),
            within("run", "run", 0.0, now, &json!({})),
        ];
        for stage in &run.stages {
            let name = stage.stage.name();
            if stage.is_cached {
                events.push(moment(&format!("{name} (cached)"), stage.from));
                continue;
            }
            let has_ended = stage.to.is_some();
            events.push(within(
                name,
                "stage",
                stage.from,
                stage.end(now),
                &json!({ "ended": has_ended }),
            ));
            for (part, from, to) in stage.spans(now) {
                let about = super::about(stage.stage, part);
                events.push(within(
                    part,
                    "part",
                    from,
                    to,
                    &json!({ "stage": name, "about": about }),
                ));
            }
        }
        Self {
            producer: "provision",
            events,
            display_time_unit: "ms",
        }
    }

    /// Where a trace shall be written, before anything is done for it.
    ///
    /// # Errors
    /// A [`Cause::Usage`] fault when nothing can be written there.
    pub fn place(file: &Path) -> Result<PathBuf> {
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or_else(|| Path::new("."));
        let wrong = |why: String| {
            Fault::new(
                Cause::Usage,
                format!("the trace {} cannot be written: {why}", file.display()),
            )
            .hint("`--trace FILE` names a file in a folder that is there and yours")
        };
        // A device or a link would be replaced by a file.
        if std::fs::symlink_metadata(file).is_ok_and(|data| !data.is_file()) {
            return Err(wrong("it is no file".to_owned()).into());
        }
        if std::fs::metadata(file).is_ok_and(|data| data.len() > 0) && !is_record(file) {
            return Err(wrong("it is there, and no record of a run".to_owned()).into());
        }
        tempfile::NamedTempFile::new_in(folder).map_err(|error| wrong(error.to_string()))?;
        Ok(file.to_owned())
    }

    /// Writes it to `file`, which is whole at every moment.
    ///
    /// # Errors
    /// When it cannot be written; a former one stays then.
    pub fn write(&self, file: &Path) -> Result<()> {
        write_json(file, self)
    }
}

/// Microseconds. Rounding keeps the order, so that what lies within something still does.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "whole, positive microseconds are meant"
)]
fn micros(seconds: f64) -> u64 {
    (seconds.max(0.0) * 1e6).round() as u64
}

fn within(name: &str, kind: &str, from: f64, to: f64, args: &Value) -> Value {
    let (ts, end) = (micros(from), micros(to));
    json!({
        "name": name, "cat": kind, "ph": "X", "ts": ts, "dur": end.saturating_sub(ts), "pid": 1, "tid": 1, "args": args,
    })
}

fn moment(name: &str, at: f64) -> Value {
    json!({ "name": name, "cat": "stage", "ph": "i", "s": "t", "ts": micros(at), "pid": 1, "tid": 1 })
}

fn named(what: &str, name: &str) -> Value {
    json!({ "name": what, "ph": "M", "pid": 1, "tid": 1, "args": { "name": name } })
}
