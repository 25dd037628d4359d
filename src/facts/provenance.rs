//! Everything that a machine was made from, joined from its layers: the machine's manifest.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Image, Iso, Package};
use crate::checkpoint::{Base, Layer, Store};
use crate::config::Login;
use crate::event::Stage;
use crate::instance::Record;
use crate::key::{Inputs, Key};
use crate::machine::driver::Hypervisor;

/// What a machine was made from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Provenance {
    /// The guest's user.
    pub login: Login,
    /// The guest definition.
    pub guest: String,
    /// Which program runs it.
    pub machine: Hypervisor,
    /// When its disk was made: what was written inside the machine since is in no manifest.
    pub made: Timestamp,
    /// The version of this program that made its disk.
    pub tool: String,
    /// The checkpoint under its disk.
    pub layer: Base,
    /// The ISO; `None` where an older version of this program installed it, and it is not known any more.
    pub iso: Option<Iso>,
    /// Its checkpoints, the first made first.
    pub stages: Vec<Step>,
    /// All packages in the guest, by name.
    pub packages: Vec<Package>,
    /// All images in the guest, and those that images were built on, by name.
    pub images: Vec<Image>,
}

/// One checkpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// The stage that made it.
    pub stage: Stage,
    /// What it was made from, as one hash.
    pub key: Key,
    /// Which making of it.
    pub id: String,
    /// Everything that the stage read, what the user gave as keyed hashes.
    pub inputs: Inputs,
    /// When it was made.
    pub made: Timestamp,
    /// How long the stage took.
    pub seconds: f64,
    /// The version of this program that made it.
    pub tool: String,
}

impl Provenance {
    /// That of the machine of `record` whose disk lies on `base`. `iso` is one that was verified just now.
    pub fn of(store: &Store, base: &Base, record: &Record, iso: Option<Iso>) -> Self {
        let mut layers = store.chain(base);
        layers.reverse();
        let installed = layers.first().and_then(|layer| layer.manifest.inputs.get("iso"));
        let iso = iso.filter(|iso| installed == Some(&iso.digest.to_string()));
        let facts = |of: fn(&Layer) -> bool| {
            layers
                .iter()
                .rfind(|layer| of(layer))
                .map(|layer| &layer.manifest.facts)
        };
        let packages = facts(|layer| !layer.manifest.facts.packages.is_empty());
        let images = facts(|layer| layer.manifest.stage == Stage::Project);
        Self {
            login: record.login.clone(),
            guest: record.guest.clone(),
            machine: record.machine,
            made: Timestamp::now(),
            tool: env!("CARGO_PKG_VERSION").to_owned(),
            layer: base.clone(),
            iso: facts(|layer| layer.manifest.facts.iso.is_some())
                .and_then(|facts| facts.iso.clone())
                .or(iso),
            packages: packages.map(|facts| facts.packages.clone()).unwrap_or_default(),
            images: images.map(|facts| facts.images.clone()).unwrap_or_default(),
            stages: layers.iter().map(Step::of).collect(),
        }
    }
}

impl Step {
    fn of(layer: &Layer) -> Self {
        let manifest = layer.manifest.clone();
        Self {
            stage: manifest.stage,
            key: manifest.base.key,
            id: manifest.base.id,
            inputs: manifest.inputs,
            made: manifest.made,
            seconds: manifest.seconds,
            tool: manifest.tool,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::Manifest;
    use crate::facts::{Facts, Source};
    use crate::machine::qemu::image;
    use crate::media::Origin;
    use crate::plan::Plan;

    fn iso(digit: char) -> Iso {
        Iso {
            name: "debian.iso".into(),
            digest: format!("sha256:{}", String::from(digit).repeat(64)).try_into().unwrap(),
            origin: Origin::Signed {
                fingerprint: "DF9B".into(),
            },
        }
    }

    fn record() -> Record {
        let record = serde_json::json!({
            "login": "jdoe", "guest": "debian-13", "made": "2026-01-01T00:00:00Z", "phase": "made", "layer": null,
            "https_port": 8443, "ssh_port": 2222, "cpus": 1, "memory_mib": 64, "accelerator": "tcg", "project": "/nowhere",
        });
        serde_json::from_value(record).unwrap()
    }

    #[test]
    fn it_joins_what_the_layers_know_and_no_later_iso() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let inputs = |name: &str, value: String| Inputs::from([(name.to_owned(), value)]);
        let plan = Plan::new([
            (Stage::Install, inputs("iso", iso('1').digest.to_string())),
            (Stage::Docker, inputs("docker.sh", "1".into())),
            (Stage::Account, inputs("login", "jdoe".into())),
            (Stage::Project, inputs("srcs/a", "1".into())),
        ]);
        let package = Package {
            name: "docker.io".into(),
            version: "26".into(),
            stage: Stage::Docker,
            source: Source::Unknown,
        };
        let image = |name: &str| Image {
            name: name.into(),
            digest: None,
            id: None,
        };
        let mut below: Option<Layer> = None;
        for planned in &plan.stages {
            let disk = folder.path().join("disk");
            image::create(&disk, 1).unwrap();
            let facts = match planned.stage {
                Stage::Docker => Facts {
                    packages: vec![package.clone()],
                    ..Facts::default()
                },
                Stage::Project => Facts {
                    images: vec![image("nginx")],
                    ..Facts::default()
                },
                _ => Facts::default(),
            };
            let (key, inputs) = (planned.key.clone(), planned.inputs.clone());
            let manifest = Manifest {
                facts,
                ..Manifest::new(planned.stage, key, below.as_ref(), inputs, 1.0)
            };
            below = Some(store.commit(Hypervisor::Qemu, &disk, &manifest).unwrap());
        }
        let base = below.unwrap().manifest.base;
        let provenance = Provenance::of(&store, &base, &record(), Some(iso('1')));
        let stages: Vec<Stage> = provenance.stages.iter().map(|made| made.stage).collect();
        assert_eq!(stages, [Stage::Install, Stage::Docker, Stage::Account, Stage::Project]);
        assert_eq!(provenance.stages[3].inputs, plan.stages[3].inputs);
        assert_eq!(provenance.packages, [package]);
        assert_eq!(provenance.images, [image("nginx")]);
        assert_eq!(provenance.iso, Some(iso('1')));
        // The ISO at hand is not the one that was installed.
        let provenance = Provenance::of(&store, &base, &record(), Some(iso('2')));
        assert_eq!(provenance.iso, None);
    }
}
