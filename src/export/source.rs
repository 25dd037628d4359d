//! What is exported: the disk of a stopped machine, or a checkpoint.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::checkpoint::{Layer, Store};
use crate::config::Login;
use crate::event::Stage;
use crate::fault::{Cause, Fault};
use crate::instance::{Instance, Record};
use crate::machine::driver::Hypervisor;
use crate::machine::qemu::arguments::Size;
use crate::operate;
use crate::paths::Paths;

/// What a machine has that is not told otherwise.
const SIZE: Size = Size {
    cpus: 2,
    memory_mib: 4096,
};

/// The ports of a machine that has none yet, or whose own only its host's owner may bind.
const HTTPS: u16 = 8443;
const SSH: u16 = 2222;

/// A disk to be exported, and what is known of its machine.
#[derive(Debug)]
pub struct Source {
    /// Its name, for files.
    pub name: String,
    /// What it is, for messages.
    pub what: String,
    /// The disk; never written to.
    pub disk: PathBuf,
    /// The guest's user, once there is one.
    pub login: Option<Login>,
    /// The folder with the keys that open it.
    pub identity: PathBuf,
    /// The virtual hardware.
    pub size: Size,
    /// The port on the host's 127.0.0.1 that leads to the guest's 443.
    pub https_port: u16,
    /// The port on the host's 127.0.0.1 that leads to the guest's 22.
    pub ssh_port: u16,
}

impl Source {
    /// The machine `instance`, which must be stopped. The caller holds its lock and a share of the store.
    ///
    /// # Errors
    /// A [`Cause::Usage`] fault when it runs or lacks its disk.
    pub fn machine(instance: &Instance, record: &Record, store: &Store) -> Result<Self> {
        let name = &instance.name;
        if instance.runs(record) {
            bail!(
                Fault::new(Cause::Usage, format!("the machine {name} runs: its disk changes")).hint(format!(
                    "`provision stop --name {name}` first; `provision start` afterwards"
                ))
            );
        }
        if record.restoring.is_some() {
            bail!(
                Fault::new(Cause::Usage, format!("a restore of the machine {name} was interrupted")).hint(format!(
                    "`provision start --name {name}` completes it; `provision stop` it then"
                ))
            );
        }
        operate::require_disk(instance, store, record)?;
        operate::make_known(instance, store, record)?;
        Ok(Self {
            name: name.to_string(),
            what: format!("the machine {name}"),
            disk: instance.live(record).disk(),
            login: Some(record.login.clone()),
            identity: instance.identity(),
            size: Size {
                cpus: record.cpus,
                memory_mib: record.memory_mib,
            },
            https_port: unprivileged(record.https_port, HTTPS),
            ssh_port: unprivileged(record.ssh_port, SSH),
        })
    }

    /// The checkpoint `wanted`: a stage, of the machine `of` where there is one, or the beginning of a key. The caller
    /// holds a share of the store.
    ///
    /// # Errors
    /// A [`Cause::Usage`] fault when there is none, or several.
    pub fn checkpoint(wanted: &str, of: Option<(&Instance, &Record)>, store: &Store, paths: &Paths) -> Result<Self> {
        let layer = find(wanted, of.map(|(_, record)| record), store)?;
        let disks = store.disks(&layer);
        let below = disks.get(1..).unwrap_or_default();
        layer.hypervisor().driver().make_known(&layer.disk, below)?;
        let stage = layer.manifest.stage;
        let login = login(&layer, store)?;
        let identity = login
            .as_ref()
            .map_or_else(|| paths.builder(), |login| paths.identity(login.as_str()));
        let owner = match of {
            Some((instance, _)) => instance.name.to_string(),
            None => login.as_ref().map_or_else(|| "debian".to_owned(), ToString::to_string),
        };
        let record = of.map(|(_, record)| record);
        Ok(Self {
            name: format!("{owner}-{stage}"),
            what: format!("the checkpoint {stage} ({})", layer.manifest.base.key.short()),
            disk: layer.disk,
            login,
            identity,
            size: record.map_or(SIZE, |record| Size {
                cpus: record.cpus,
                memory_mib: record.memory_mib,
            }),
            https_port: record.map_or(HTTPS, |record| unprivileged(record.https_port, HTTPS)),
            ssh_port: record.map_or(SSH, |record| unprivileged(record.ssh_port, SSH)),
        })
    }

    /// Its disk as a qcow2 file; a copy is made in the folder `scratch` if it is none.
    ///
    /// # Errors
    /// When it cannot be copied.
    pub fn as_qcow2(&self, scratch: &Path) -> Result<PathBuf> {
        let folder = self.disk.parent().unwrap_or(&self.disk);
        Hypervisor::of(folder).driver().as_qcow2(&self.disk, scratch)
    }

    /// Who logs in.
    pub fn user(&self) -> &str {
        self.login.as_ref().map_or("root", Login::as_str)
    }
}

/// `port`, where whoever imports the machine may bind it.
const fn unprivileged(port: u16, otherwise: u16) -> u16 {
    if port >= 1024 { port } else { otherwise }
}

fn find(wanted: &str, record: Option<&Record>, store: &Store) -> Result<Layer> {
    let stage = Stage::ALL.into_iter().find(|stage| stage.name() == wanted);
    let Some(stage) = stage else {
        return by_key(wanted, store);
    };
    let of_machine = record.and_then(|record| record.layer.as_ref());
    let layer = match of_machine {
        Some(base) => store
            .chain(base)
            .into_iter()
            .find(|layer| layer.manifest.stage == stage),
        None => store.newest(stage)?,
    };
    let layer = layer.and_then(|layer| store.get(&layer.manifest.base.key));
    layer.with_context(|| none(&format!("there is no checkpoint of the stage {stage}")))
}

fn by_key(wanted: &str, store: &Store) -> Result<Layer> {
    if wanted.len() < 4 {
        bail!(none(&format!("{wanted} is neither a stage nor the beginning of a key")));
    }
    let layers = store.list()?.into_iter();
    let mut fitting = layers.filter(|layer| layer.manifest.base.key.as_str().starts_with(wanted));
    match (fitting.next(), fitting.next()) {
        (Some(layer), None) => {
            let whole = store.get(&layer.manifest.base.key);
            whole.with_context(|| none(&format!("the checkpoint {wanted} lacks the one under it")))
        }
        (None, _) => bail!(none(&format!("there is no checkpoint whose key begins with {wanted}"))),
        (Some(_), Some(_)) => bail!(none(&format!("several checkpoints' keys begin with {wanted}"))),
    }
}

fn none(message: &str) -> Fault {
    Fault::new(Cause::Usage, message).hint("`provision cache ls` lists the checkpoints, each with its key")
}

/// The user that the stage account, if it is in the chain of `layer`, has made.
fn login(layer: &Layer, store: &Store) -> Result<Option<Login>> {
    let chain = store.chain(&layer.manifest.base);
    let account = chain.iter().find(|layer| layer.manifest.stage == Stage::Account);
    let login = account.and_then(|layer| layer.manifest.inputs.get("login"));
    let login = login.map(|login| Login::try_from(login.clone()));
    login
        .transpose()
        .map_err(|reason| anyhow::anyhow!("reading a checkpoint's login: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::Manifest;
    use crate::key::{Inputs, Key};
    use crate::machine::qemu::image;

    fn layer(store: &Store, stage: Stage, parent: Option<&Layer>, inputs: Inputs) -> Layer {
        let key = Key::derive(stage, parent.map(|layer| &layer.manifest.base.key), &inputs);
        let disk = store.folder().join("work.qcow2");
        match parent {
            Some(parent) => image::create_overlay(&disk, &parent.disk).unwrap(),
            None => image::create(&disk, 1).unwrap(),
        }
        store
            .commit(Hypervisor::Qemu, &disk, &Manifest::new(stage, key, parent, inputs, 1.0))
            .unwrap()
    }

    #[test]
    fn checkpoints_are_found_by_stage_and_by_key() {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths {
            cache: folder.path().to_owned(),
            machines: folder.path().join("machines"),
        };
        let store = Store::open(&paths.cache).unwrap();
        let install = layer(&store, Stage::Install, None, Inputs::new());
        let inputs = Inputs::from([("login".to_owned(), "jdoe".to_owned())]);
        let account = layer(&store, Stage::Account, Some(&install), inputs);
        let find = |wanted: &str| Source::checkpoint(wanted, None, &store, &paths);

        let source = find("install").unwrap();
        assert_eq!((source.user(), source.name.as_str()), ("root", "debian-install"));
        assert_eq!(source.identity, paths.builder());
        let key = account.manifest.base.key.short();
        let source = find(key).unwrap();
        assert_eq!((source.user(), source.name.as_str()), ("jdoe", "jdoe-account"));
        assert_eq!(source.identity, paths.identity("jdoe"));
        assert_eq!((source.https_port, source.ssh_port), (HTTPS, SSH));

        for wanted in ["docker", "verify", "seal", "0123456789ab", "abc", ""] {
            let error = find(wanted).unwrap_err();
            assert_eq!(Fault::of(&error).unwrap().cause, Cause::Usage, "{wanted}");
        }
        store.remove(&install.manifest.base.key).unwrap();
        assert!(find(key).is_err(), "it lies on nothing");
    }

    #[test]
    fn ports_that_only_root_may_bind_are_replaced() {
        assert_eq!(unprivileged(443, HTTPS), 8443);
        assert_eq!(unprivileged(9443, HTTPS), 9443);
    }
}
