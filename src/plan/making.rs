//! Which making of a stage is meant. The same inputs may be made more than once on purpose (`rebuild --from`, pins): each
//! such making has a key of its own, so that it replaces nothing that others lie on.

use std::collections::BTreeMap;

use crate::checkpoint::{Base, Layer, Store};
use crate::event::Stage;
use crate::key::{Inputs, Key};
use crate::pins::Lock;

/// How the inputs begin that tell one making from another. No path of a project's file has two slashes in a row.
const PREFIX: &str = "made//";

/// The input with a random number, of a stage that was made anew on purpose.
pub const ANEW: &str = "made//anew";

/// The input with a digest of what was pinned, of a stage that was made of just that.
pub const LOCKED: &str = "made//locked";

/// The makings that one machine wants.
pub struct Makings<'a> {
    store: &'a Store,
    /// What told the makings apart on which the machine lies now.
    own: BTreeMap<Stage, Inputs>,
    /// The stage that is made anew, and its random number.
    anew: Option<(Stage, String)>,
    lock: Option<&'a Lock>,
}

impl<'a> Makings<'a> {
    /// Those on which the machine lies whose disk lies on `base`, else the ordinary ones.
    pub fn of(store: &'a Store, base: Option<&Base>) -> Self {
        let layers = base.map(|base| store.chain(base)).unwrap_or_default();
        let own = layers.into_iter().map(|layer| {
            let inputs = layer.manifest.inputs.into_iter();
            (layer.manifest.stage, inputs.filter(|(name, _)| is_mark(name)).collect())
        });
        Self {
            store,
            own: own.collect(),
            anew: None,
            lock: None,
        }
    }

    /// The same, but for `from` and what follows it, which is made anew.
    #[must_use]
    pub fn anew(mut self, from: Stage) -> Self {
        self.own.retain(|stage, _| *stage < from);
        self.anew = Some((from, hex::encode(rand::random::<[u8; 8]>())));
        self
    }

    /// The same, but only of what `lock` pins.
    #[must_use]
    pub const fn locked(mut self, lock: Option<&'a Lock>) -> Self {
        self.lock = lock;
        self
    }

    /// The inputs of the making of `stage` that is meant, on the stage of key `parent`: the machine's own or the ordinary
    /// one if it is there, else one that is still to be made.
    pub fn choose(&self, stage: Stage, parent: Option<&Key>, inputs: &Inputs) -> Inputs {
        let with = |marks: &Inputs| -> Inputs { inputs.clone().into_iter().chain(marks.clone()).collect() };
        let mut marks = self.lock.map(|lock| lock.marks(stage)).unwrap_or_default();
        if let Some((_, nonce)) = self.anew.as_ref().filter(|(from, _)| *from == stage) {
            marks.insert(ANEW.to_owned(), nonce.clone());
            return with(&marks);
        }
        let ordinary = Inputs::new();
        for marks in [self.own.get(&stage).unwrap_or(&ordinary), &ordinary] {
            let made = with(marks);
            if self.is_there(&Key::derive(stage, parent, &made)) {
                return made;
            }
        }
        with(&marks)
    }

    /// Whether a layer is there, made of just what is pinned.
    fn is_there(&self, key: &Key) -> bool {
        let fits = |layer: &Layer| self.lock.is_none_or(|lock| lock.fits(layer));
        self.store.get(key).is_some_and(|layer| fits(&layer))
    }
}

/// What a stage reads, without what tells one making from another.
pub fn plain(inputs: &Inputs) -> Inputs {
    let plain = inputs.iter().filter(|(name, _)| !is_mark(name));
    plain.map(|(name, value)| (name.clone(), value.clone())).collect()
}

fn is_mark(name: &str) -> bool {
    name.starts_with(PREFIX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::Manifest;
    use crate::facts::{Package, Source};
    use crate::machine::driver::Hypervisor;
    use crate::machine::qemu::image;
    use crate::plan::Plan;

    struct Place {
        folder: tempfile::TempDir,
        store: Store,
    }

    impl Place {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let store = Store::open(folder.path()).unwrap();
            Self { folder, store }
        }

        /// The plan of a machine, with `file` as its project.
        fn plan(makings: &Makings<'_>, file: &str) -> Plan {
            let inputs = |name: &str, value: &str| Inputs::from([(name.to_owned(), value.to_owned())]);
            let stages = [
                (Stage::Install, inputs("iso", "1")),
                (Stage::Docker, inputs("docker.sh", "1")),
                (Stage::Account, inputs("login", "jdoe")),
                (Stage::Project, inputs("srcs/a", file)),
            ];
            Plan::choose(stages, |stage, parent, inputs| makings.choose(stage, parent, &inputs))
        }

        /// Makes what of the plan is not there; the stages that ran, and what the machine's disk lies on.
        fn make(&self, plan: &Plan) -> (Vec<Stage>, Base) {
            self.make_of(plan, "26")
        }

        /// The same while Docker has this version.
        fn make_of(&self, plan: &Plan, docker: &str) -> (Vec<Stage>, Base) {
            let (mut ran, mut below) = (Vec::new(), None);
            for planned in &plan.stages {
                below = Some(self.store.get(&planned.key).unwrap_or_else(|| {
                    ran.push(planned.stage);
                    let disk = self.folder.path().join("disk");
                    image::create(&disk, 1).unwrap();
                    let (key, inputs) = (planned.key.clone(), planned.inputs.clone());
                    let mut manifest = Manifest::new(planned.stage, key, below.as_ref(), inputs, 1.0);
                    if planned.stage == Stage::Docker {
                        manifest.facts.packages = vec![Package {
                            name: "docker.io".into(),
                            version: docker.into(),
                            stage: Stage::Docker,
                            source: Source::Unknown,
                        }];
                    }
                    self.store.commit(Hypervisor::Qemu, &disk, &manifest).unwrap()
                }));
            }
            (ran, below.unwrap().manifest.base)
        }
    }

    #[test]
    fn what_is_made_anew_replaces_nothing_and_stays_the_machines() {
        let place = Place::new();
        let ordinary = Place::plan(&Makings::of(&place.store, None), "1");
        let (ran, first) = place.make(&ordinary);
        assert_eq!(ran.len(), 4);

        let anew = Makings::of(&place.store, Some(&first)).anew(Stage::Docker);
        let anew = Place::plan(&anew, "1");
        assert_eq!(anew.stages[0], ordinary.stages[0]);
        let (ran, second) = place.make(&anew);
        assert_eq!(ran, [Stage::Docker, Stage::Account, Stage::Project]);
        assert!(place.store.has(&first), "another machine lies on it");

        // The machine's next `create` finds itself unchanged; a new machine takes the shared ones.
        assert_eq!(Place::plan(&Makings::of(&place.store, Some(&second)), "1"), anew);
        assert_eq!(Place::plan(&Makings::of(&place.store, None), "1"), ordinary);
        // A changed project goes on from the machine's own stages, and a change taken back leads back to it.
        let changed = Place::plan(&Makings::of(&place.store, Some(&second)), "2");
        let (ran, third) = place.make(&changed);
        assert_eq!(ran, [Stage::Project]);
        assert_eq!(changed.stages[2], anew.stages[2]);
        assert_eq!(Place::plan(&Makings::of(&place.store, Some(&third)), "1"), anew);
    }

    #[test]
    fn a_later_stage_made_anew_keeps_the_machines_earlier_ones() {
        let place = Place::new();
        let (_, first) = place.make(&Place::plan(&Makings::of(&place.store, None).anew(Stage::Install), "1"));
        let from_project = Makings::of(&place.store, Some(&first)).anew(Stage::Project);
        let (ran, second) = place.make(&Place::plan(&from_project, "1"));
        assert_eq!(ran, [Stage::Project]);
        // Each time is another time.
        let again = Makings::of(&place.store, Some(&second)).anew(Stage::Project);
        let (ran, third) = place.make(&Place::plan(&again, "1"));
        assert_eq!(ran, [Stage::Project]);
        assert_ne!(second.key, third.key);
        let stages = place.store.chain(&third);
        assert_eq!(stages.len(), 4);
        assert_eq!(stages[1].manifest, place.store.chain(&first)[1].manifest);
    }

    #[test]
    fn a_lock_takes_what_fits_and_makes_the_rest_apart() {
        let place = Place::new();
        let file = place.folder.path().join("provision.lock");
        let pin = |version: &str| {
            let iso = "0".repeat(64);
            let text = format!(
                "version = 1\nsnapshot = \"20260801T093000Z\"\n[iso]\ndigest = \"sha256:{iso}\"\n[packages.install]\n\
                 [packages.docker]\n\"docker.io\" = \"{version}\"\n"
            );
            std::fs::write(&file, text).unwrap();
            Lock::read(&file).unwrap()
        };
        let ordinary = Place::plan(&Makings::of(&place.store, None), "1");
        let (_, first) = place.make_of(&ordinary, "26");
        let (fitting, other) = (pin("26"), pin("25"));
        let locked = |base: Option<&Base>, lock| Place::plan(&Makings::of(&place.store, base).locked(Some(lock)), "1");
        assert_eq!(locked(None, &fitting), ordinary);

        let apart = locked(Some(&first), &other);
        let (ran, second) = place.make_of(&apart, "25");
        assert_eq!(ran, [Stage::Docker, Stage::Account, Stage::Project]);
        assert!(place.store.has(&first));
        // Made once, they are there for all who pin the same, and the machine's own without a lock too.
        assert_eq!(locked(None, &other), apart);
        assert_eq!(Place::plan(&Makings::of(&place.store, Some(&second)), "1"), apart);
    }
}
