//! The machine's manifest: a file of its own beside the record, so that it stays when the cache is emptied.

use anyhow::{Context as _, Result, bail};
use fs_err as fs;

use super::{Instance, Record};
use crate::facts::Provenance;
use crate::fault::{Cause, Fault};

const FILE: &str = "manifest.json";

impl Instance {
    /// Remembers what the machine was made from, unless it is made from that already.
    ///
    /// # Errors
    /// When it cannot be written; the former one stays then.
    pub fn remember_provenance(&self, provenance: &Provenance) -> Result<()> {
        let writing = "writing the machine's manifest";
        // One that cannot be read is replaced.
        let known = self.read_provenance().ok().flatten();
        let is_same = known.is_some_and(|known| {
            let made = known.made;
            known
                == Provenance {
                    made,
                    ..provenance.clone()
                }
        });
        if is_same {
            return Ok(());
        }
        let mut file = tempfile::NamedTempFile::new_in(self.dir()).context(writing)?;
        serde_json::to_writer_pretty(&mut file, provenance)?;
        file.as_file().sync_all()?;
        file.persist(self.dir().join(FILE)).context(writing)?;
        Ok(())
    }

    /// Forgets what the machine was made from: it becomes another.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn forget_provenance(&self) -> Result<()> {
        match fs::remove_file(self.dir().join(FILE)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// What the machine of `record` was made from.
    ///
    /// # Errors
    /// A [`Cause::Usage`] fault when it was never made or that is not known, and when it cannot be read.
    pub fn provenance(&self, record: &Record) -> Result<Provenance> {
        let name = &self.name;
        if record.imported {
            let message = format!("the machine {name} was imported: what it was made from is not known");
            bail!(Fault::new(Cause::Usage, message));
        }
        let known = self.read_provenance()?;
        // While another disk is put in place there is none.
        let fits = |known: &Provenance| record.layer.as_ref() == Some(&known.layer);
        known.filter(fits).with_context(|| {
            let message = format!("what the machine {name} was made from is not written down yet");
            Fault::new(Cause::Usage, message).hint(self.to_be_made())
        })
    }

    fn read_provenance(&self) -> Result<Option<Provenance>> {
        let file = self.dir().join(FILE);
        let bytes = match fs::read(&file) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        let provenance = serde_json::from_slice(&bytes);
        provenance.with_context(|| format!("reading {}", file.display()))
    }
}
