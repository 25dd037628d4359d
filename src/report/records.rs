//! What a run leaves beside what it prints: JUnit's XML and the summary of a job.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, Result};

use super::course::Course;
use super::failure::Failure;
use super::{github, junit, summary};
use crate::event::Events;
use crate::fault::{Cause, Fault};

/// Which records a command leaves.
#[derive(Debug, Clone, Default)]
pub struct Records {
    /// The command's name.
    pub command: &'static str,
    /// Whether it shows that it lives while nothing else is told.
    pub beats: bool,
    /// Whether its course is worth a summary.
    pub summary: bool,
    /// Where its checks go as JUnit's XML.
    pub junit: Option<PathBuf>,
}

/// A run as a record tells it.
pub struct Run<'a> {
    /// The command's name.
    pub command: &'a str,
    /// What happened.
    pub course: &'a Course,
    /// What ended it.
    pub failure: Option<&'a Failure>,
    /// When the record is made.
    pub now: Instant,
}

impl Records {
    /// Makes sure that the records can be written, before anything long begins. Until the end JUnit's file says that
    /// the run did not end: whatever kills it, no former result is taken for its own.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn begin(&self) -> Result<()> {
        let Some(file) = &self.junit else { return Ok(()) };
        let now = Instant::now();
        let course = Course::new(now);
        let failure = Failure::of(&Fault::new(Cause::Other, "the run was killed before it could tell its end").into());
        write_junit(file, &self.run(&course, Some(&failure), now), Cause::Usage)
    }

    /// Writes the records of a run that ended with `result`.
    ///
    /// # Errors
    /// Those of `result`; when the file that the user asked for cannot be written.
    pub fn keep(&self, course: &Course, result: Result<ExitCode>, events: &Events) -> Result<ExitCode> {
        let now = Instant::now();
        let failure = result.as_ref().err().map(Failure::of);
        let run = self.run(course, failure.as_ref(), now);
        if let Some(file) = github::summary_file().filter(|_| self.summary)
            && let Err(error) = summary::append(&file, &run)
        {
            events.warn(format!("the summary of the job is not written: {error:#}"));
        }
        let written = match &self.junit {
            Some(file) => write_junit(file, &run, Cause::Other),
            None => Ok(()),
        };
        match (result, written) {
            (Ok(code), Ok(())) => Ok(code),
            (Ok(_), Err(error)) => Err(error),
            (Err(error), written) => {
                // It may be the very error that ended the run.
                if let Err(of_junit) = written.as_ref().map_err(|error| format!("{error:#}"))
                    && of_junit != format!("{error:#}")
                {
                    events.warn(of_junit);
                }
                Err(error)
            }
        }
    }

    fn run<'a>(&'a self, course: &'a Course, failure: Option<&'a Failure>, now: Instant) -> Run<'a> {
        Run {
            command: self.command,
            course,
            failure,
            now,
        }
    }
}

fn write_junit(file: &Path, run: &Run<'_>, cause: Cause) -> Result<()> {
    junit::write(file, run).with_context(|| {
        let message = format!("the checks cannot be written to {}", file.display());
        Fault::new(cause, message).hint("`--junit FILE` names a file in a folder that is there and may be written")
    })
}
