//! The ordered stages of one `create`, each with its content key, and what of them is already there.

pub mod making;

use anyhow::Result;
use serde::Serialize;

use crate::checkpoint::{Base, Layer, Store};
use crate::event::Stage;
use crate::key::{self, Inputs, Key};

/// A stage, its key and what the key was made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Planned {
    /// Which stage.
    pub stage: Stage,
    /// Its key.
    pub key: Key,
    /// The key of the stage before, if that leaves a checkpoint.
    pub parent: Option<Key>,
    /// What it reads.
    pub inputs: Inputs,
}

/// Whether a stage's work is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// Its checkpoint is in the store.
    Cached,
    /// It must run, for this reason.
    Runs(String),
}

impl Standing {
    /// Why the stage runs; empty if it does not.
    pub fn reason(&self) -> &str {
        match self {
            Self::Cached => "",
            Self::Runs(reason) => reason,
        }
    }
}

/// The stages that leave checkpoints, in order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// From install to project.
    pub stages: Vec<Planned>,
}

impl Plan {
    /// Chains the stages' inputs into keys.
    #[cfg(test)]
    pub fn new(stages: impl IntoIterator<Item = (Stage, Inputs)>) -> Self {
        Self::choose(stages, |_, _, inputs| inputs)
    }

    /// The same with a choice for each stage: `choose` is given the key of the stage before and what the stage reads,
    /// and adds what tells the wanted making of it from others.
    pub fn choose(
        stages: impl IntoIterator<Item = (Stage, Inputs)>,
        choose: impl Fn(Stage, Option<&Key>, Inputs) -> Inputs,
    ) -> Self {
        let mut planned: Vec<Planned> = Vec::new();
        for (stage, inputs) in stages {
            let parent = planned.last().map(|before| before.key.clone());
            let inputs = choose(stage, parent.as_ref(), inputs);
            planned.push(Planned {
                stage,
                key: Key::derive(stage, parent.as_ref(), &inputs),
                parent,
                inputs,
            });
        }
        Self { stages: planned }
    }

    /// The key of the last stage: the machine's disk is an overlay on it.
    pub fn last(&self) -> Option<&Key> {
        self.stages.last().map(|planned| &planned.key)
    }

    /// What of the plan is in `store`, and why the rest is not: what has changed since the checkpoints under the machine
    /// were made, whose disk lies on `own`, else since the newest on this host.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn standing(&self, store: &Store, own: Option<&Base>) -> Result<Vec<Standing>> {
        let own = own.map(|base| store.chain(base)).unwrap_or_default();
        let mut standing = Vec::new();
        let mut runs_before = None;
        for planned in &self.stages {
            let now = if store.get(&planned.key).is_some() {
                Standing::Cached
            } else {
                let reason = match runs_before {
                    Some(stage) => format!("{stage} runs"),
                    None => reason(planned, store, &own)?,
                };
                runs_before = Some(planned.stage);
                Standing::Runs(reason)
            };
            standing.push(now);
        }
        Ok(standing)
    }
}

fn reason(planned: &Planned, store: &Store, own: &[Layer]) -> Result<String> {
    if planned.inputs.contains_key(making::ANEW) {
        return Ok("it is made anew".into());
    }
    let own = own.iter().find(|layer| layer.manifest.stage == planned.stage);
    let Some(former) = own
        .cloned()
        .map_or_else(|| store.newest(planned.stage), |own| Ok(Some(own)))?
    else {
        return Ok("not made on this host yet".into());
    };
    let old = making::plain(&former.manifest.inputs);
    let difference = key::difference(&old, &making::plain(&planned.inputs));
    Ok(difference.unwrap_or_else(|| "an earlier stage changed".into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::Manifest;
    use crate::machine::driver::Hypervisor;
    use crate::machine::qemu::image;

    fn inputs(name: &str, value: &str) -> Inputs {
        Inputs::from([(name.to_owned(), value.to_owned())])
    }

    fn plan(script: &str, file: &str) -> Plan {
        Plan::new([
            (Stage::Install, inputs("iso", "1")),
            (Stage::Docker, inputs("docker.sh", script)),
            (Stage::Project, inputs("srcs/a", file)),
        ])
    }

    fn old_stage(plan: &Plan, number: usize) -> (Stage, Inputs) {
        let planned = &plan.stages[number];
        (planned.stage, planned.inputs.clone())
    }

    #[test]
    fn a_change_reaches_later_stages_only() {
        let (old, new) = (plan("1", "1"), plan("2", "1"));
        assert_eq!(old.stages[0].key, new.stages[0].key);
        assert_ne!(old.stages[1].key, new.stages[1].key);
        assert_ne!(old.stages[2].key, new.stages[2].key);
        assert_eq!(new.stages[2].parent.as_ref(), Some(&new.stages[1].key));
    }

    /// Makes what of a plan is not there. Gives what a machine of it lies on.
    fn make(plan: &Plan, store: &Store) -> Base {
        let folder = tempfile::tempdir().unwrap();
        let mut layer: Option<Layer> = None;
        for planned in &plan.stages {
            let Planned { stage, key, inputs, .. } = planned.clone();
            layer = store.get(&key).or_else(|| {
                let disk = folder.path().join("disk");
                image::create(&disk, 1).unwrap();
                let manifest = Manifest::new(stage, key, layer.as_ref(), inputs, 1.0);
                Some(store.commit(Hypervisor::Qemu, &disk, &manifest).unwrap())
            });
        }
        layer.unwrap().manifest.base
    }

    #[test]
    fn the_reason_names_what_changed() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let old = plan("1", "1");
        assert_eq!(
            old.standing(&store, None).unwrap()[0],
            Standing::Runs("not made on this host yet".into())
        );
        let own = make(&old, &store);
        assert_eq!(old.standing(&store, None).unwrap(), vec![Standing::Cached; 3]);
        let project = plan("1", "2").standing(&store, None).unwrap();
        assert_eq!(project[1], Standing::Cached);
        assert_eq!(project[2], Standing::Runs("srcs/a changed".into()));
        let docker = plan("2", "2").standing(&store, None).unwrap();
        assert_eq!(docker[1], Standing::Runs("docker.sh changed".into()));
        assert_eq!(docker[2], Standing::Runs("docker runs".into()));
        // Somebody else's project, made later, is nothing that this machine has changed.
        make(
            &Plan::new([
                old_stage(&old, 0),
                old_stage(&old, 1),
                (Stage::Project, inputs("srcs/b", "1")),
            ]),
            &store,
        );
        let project = plan("1", "2").standing(&store, Some(&own)).unwrap();
        assert_eq!(project[2], Standing::Runs("srcs/a changed".into()));
        // What is made anew on purpose is no change of anything that the user wrote.
        let anew = Plan::choose(
            [
                (Stage::Install, inputs("iso", "1")),
                (Stage::Docker, inputs("docker.sh", "1")),
            ],
            |stage, _, mut inputs| {
                if stage == Stage::Docker {
                    inputs.insert(making::ANEW.into(), "nonce".into());
                }
                inputs
            },
        );
        let anew = anew.standing(&store, None).unwrap();
        assert_eq!(anew[1], Standing::Runs("it is made anew".into()));
    }
}
