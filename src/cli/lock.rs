//! `provision lock`

use std::path::PathBuf;

use anyhow::Result;
use serde::Serialize;

use super::{App, Machine};
use crate::pins::Lock;
use crate::report::{Output, Paint};

/// The arguments of `lock`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Which machine.
    #[command(flatten)]
    pub machine: Machine,
}

/// What was pinned.
#[derive(Serialize)]
struct Shown {
    file: PathBuf,
    iso: String,
    packages: usize,
    images: usize,
    /// What is pinned otherwise than before, a line each: `- ` before what was, `+ ` before what is.
    changed: Vec<String>,
}

impl Output for Shown {
    fn text(&self, paint: Paint) -> String {
        let mut lines = vec![
            format!("pinned in {}", paint.bold(self.file.display())),
            format!("iso       {}", self.iso),
            format!("packages  {}", self.packages),
            format!("images    {}", self.images),
        ];
        if !self.changed.is_empty() {
            lines.push("otherwise than before:".to_owned());
            lines.extend(self.changed.iter().cloned());
        }
        lines.join("\n")
    }
}

impl Args {
    /// Writes the lock.
    ///
    /// # Errors
    /// When the machine was never made, or too little is known of it.
    pub fn run(&self, app: &App) -> Result<()> {
        let instance = app.instance(&self.machine)?;
        let record = instance.require()?;
        let path = app.lock_path(self.machine.config.as_deref());
        let lock = Lock::of(&instance.provenance(&record)?, &path)?;
        // One that cannot be understood is what this command mends.
        let before = Lock::read(&path).ok();
        lock.write()?;
        let (pins, iso) = (lock.file().pins(), &lock.file().iso);
        app.reporter.output(&Shown {
            file: path,
            iso: iso.name.clone().unwrap_or_else(|| iso.digest.to_string()),
            packages: pins.packages.len(),
            images: pins.images.len(),
            changed: before.map(|before| before.diff(&lock)).unwrap_or_default(),
        })
    }
}
