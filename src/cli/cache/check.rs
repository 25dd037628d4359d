//! `provision cache check`

use anyhow::{Result, bail};
use bytesize::ByteSize;
use serde::Serialize;

use crate::checkpoint::{Layer, Store};
use crate::cli::App;
use crate::fault::{Cause, Fault};
use crate::report::{self, Output, Paint};

/// What was found of one checkpoint.
#[derive(Serialize)]
struct Finding {
    stage: String,
    key: String,
    bytes: u64,
    /// Empty if it is sound.
    damage: Vec<String>,
    /// Whether the checkpoint on which it was made is gone, or was made again: nothing can use it.
    is_orphan: bool,
    /// Whether its digests were noted when it was made.
    has_digests: bool,
    /// Where it is now, if it was damaged and could be set aside.
    set_aside: Option<std::path::PathBuf>,
}

/// What was found of all.
#[derive(Serialize)]
#[serde(transparent)]
struct Findings(Vec<Finding>);

impl Output for Findings {
    fn text(&self, paint: Paint) -> String {
        let state = |finding: &Finding| match (finding.damage.as_slice(), finding.has_digests) {
            ([], _) if finding.is_orphan => paint.yellow("of no use: what it lies on is gone"),
            ([], true) => paint.green("sound"),
            ([], false) => "sound by its tables; made before digests were noted".to_owned(),
            (damage, _) => paint.red(damage.join("; ")),
        };
        let row = |finding: &Finding| {
            [
                finding.stage.clone(),
                finding.key.get(..12).unwrap_or(&finding.key).to_owned(),
                ByteSize(finding.bytes).to_string(),
                state(finding),
            ]
        };
        let rows: Vec<_> = self.0.iter().map(row).collect();
        report::table(["STAGE", "KEY", "SIZE", "STATE"], &rows, paint)
    }
}

/// Checks every layer; sets the damaged ones aside.
///
/// # Errors
/// A [`Cause::Verification`] fault when one is damaged; when one cannot be read, or the user interrupts.
pub fn run(app: &App) -> Result<()> {
    let store = Store::open(&app.paths.cache)?;
    let mut findings = Vec::new();
    let layers = {
        // Others may use the layers meanwhile, but not remove them.
        let _share = store.share(&app.cancel, || {
            app.events.note("another provision removes checkpoints; waiting for it");
        })?;
        let layers = store.list()?;
        for layer in &layers {
            let is_orphan = store.get(&layer.manifest.base.key).is_none();
            let damage = if is_orphan {
                Vec::new()
            } else {
                store.examine(layer, &app.cancel)?
            };
            let finding = Finding {
                stage: layer.manifest.stage.to_string(),
                key: layer.manifest.base.key.to_string(),
                bytes: layer.size(),
                damage,
                is_orphan,
                has_digests: !layer.manifest.digests.is_empty(),
                set_aside: None,
            };
            findings.push(finding);
        }
        layers
    };
    // What lies on another comes after it and has to go first.
    for (layer, finding) in layers.iter().zip(&mut findings).rev() {
        if !finding.damage.is_empty() {
            finding.set_aside = set_aside(app, &store, layer)?;
        }
    }
    let findings = Findings(findings);
    app.reporter.output(&findings)?;
    tell(&findings.0)
}

/// Where the damaged layer was put; nowhere while others use the store.
fn set_aside(app: &App, store: &Store, layer: &Layer) -> Result<Option<std::path::PathBuf>> {
    let key = layer.manifest.base.key.short();
    let Some(_alone) = store.try_alone()? else {
        app.events.warn(format!(
            "the checkpoint {key} is damaged and stays for now: another provision command uses the checkpoints"
        ));
        return Ok(None);
    };
    // Somebody may have removed or made it again in between.
    let there = store.chain(&layer.manifest.base);
    if there.first().map(|there| &there.manifest.base) != Some(&layer.manifest.base) {
        return Ok(None);
    }
    let place = store.set_aside(layer)?;
    app.events.warn(format!(
        "the damaged checkpoint {key} was moved to {}; what lies on it cannot be used any more",
        place.display()
    ));
    Ok(Some(place))
}

fn tell(findings: &[Finding]) -> Result<()> {
    let damaged = findings.iter().filter(|finding| !finding.damage.is_empty()).count();
    if damaged == 0 {
        return Ok(());
    }
    let left = findings
        .iter()
        .any(|finding| !finding.damage.is_empty() && finding.set_aside.is_none());
    let hint = if left {
        "run it again once the other command has ended"
    } else {
        "`provision create` builds what is missing again; `provision cache prune` deletes what was set aside"
    };
    let message = match damaged {
        1 => "a checkpoint is damaged".to_owned(),
        count => format!("{count} checkpoints are damaged"),
    };
    bail!(Fault::new(Cause::Verification, message).hint(hint))
}
