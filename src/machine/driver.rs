//! What the programs that run machines have in common, whoever started a machine: where its disk lies, how one disk lies
//! on another, whether it runs. The one place that chooses between them.

mod home;

pub use home::Home;

use std::path::{Path, PathBuf};

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::qemu::convert::ImageFormat;
use super::{qemu, virtualbox};
use crate::cancel::Cancel;
use crate::changes::Changes;
use crate::config::MachineChoice;

/// A program that runs machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Hypervisor {
    /// QEMU.
    #[default]
    Qemu,
    /// `VirtualBox`.
    VirtualBox,
}

impl Hypervisor {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Qemu, Self::VirtualBox];

    /// What it does.
    pub fn driver(self) -> &'static dyn Driver {
        match self {
            Self::Qemu => &qemu::driver::Driver,
            Self::VirtualBox => &virtualbox::driver::Driver,
        }
    }

    /// The one whose disk lies in `folder`; QEMU where none does.
    pub fn of(folder: &Path) -> Self {
        let owns = |it: &Self| it.driver().disk_in(folder).exists();
        Self::ALL.into_iter().find(owns).unwrap_or_default()
    }

    /// The wish for it.
    pub const fn choice(self) -> MachineChoice {
        match self {
            Self::Qemu => MachineChoice::Qemu,
            Self::VirtualBox => MachineChoice::VirtualBox,
        }
    }

    /// The one that `choice` names, if it names one.
    pub fn named(choice: MachineChoice) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.choice() == choice)
    }

    /// How a person calls it.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Qemu => "QEMU",
            Self::VirtualBox => "VirtualBox",
        }
    }
}

/// What a machine can do, for the stages that join it with a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Features {
    /// Whether it can be given a kernel to boot, or needs a medium with one.
    pub boots_kernel: bool,
    /// What of it a guest keeps when it is installed, for the keys of checkpoints; nothing for QEMU, which came first.
    pub hardware: Option<&'static str>,
    /// Whether what a guest's service manager is told may reach it after its SSH server has started.
    pub tells_late: bool,
    /// Whether a stage may end by [`super::Machine::hibernate`] and the next go on from there, or another making of the
    /// same on [another checkpoint](Driver::lay_on).
    pub hibernates: bool,
}

/// The file of a kept memory. It may be as large as the guest's memory with holes in it, and what lies beside it tells
/// whether it is whole.
pub const MEMORY: &str = "memory";

/// A moment of a machine that is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moment {
    /// What tells it from every other moment of its machine: lower-case hexadecimal digits.
    pub id: String,
    /// The folder with what belongs to it but its disk: the program may put files of its own there. Also what
    /// [`super::Boot::memory`] is when the machine is to go on from its memory.
    pub folder: PathBuf,
}

/// What a program does with machines and disks.
pub trait Driver: Sync {
    /// What its machines can do.
    fn features(&self) -> Features;

    /// Where in `folder` a disk lies: a file, or a folder that it fills.
    fn disk_in(&self, folder: &Path) -> PathBuf;

    /// Makes an empty disk of `gib` GiB that takes only what is written to it. `name` is its machine's.
    ///
    /// # Errors
    /// When the program fails.
    fn create(&self, disk: &Path, name: &str, gib: u64) -> Result<()>;

    /// The format of an image that becomes a disk.
    fn image_format(&self) -> ImageFormat;

    /// Makes a disk of the image `image` of that format, which is gone then. `name` is its machine's.
    ///
    /// # Errors
    /// When the program fails.
    fn adopt(&self, image: &Path, disk: &Path, name: &str) -> Result<()>;

    /// Has the program know a disk and those of the checkpoints `below` it, wherever they were when it last saw them.
    ///
    /// # Errors
    /// When one is damaged, or the program fails.
    fn make_known(&self, disk: &Path, below: &[PathBuf]) -> Result<()>;

    /// Makes a disk that holds what differs from the first of `chain`: the disks of a checkpoint and of all under it.
    ///
    /// # Errors
    /// When the program fails.
    fn create_overlay(&self, disk: &Path, name: &str, chain: &[PathBuf]) -> Result<()>;

    /// Lays the disk of a machine that does not run on `below` instead of on what it lies on now, without another content.
    /// What it lies on has to lie on `below`, too.
    ///
    /// # Errors
    /// When the program fails or can no such thing, or the user interrupts: the disk is of no use then.
    fn lay_on(&self, disk: &Path, below: &Path, cancel: &Cancel) -> Result<()>;

    /// Moves the disk of a machine that does not run, which replaces what is at `to`. It may get another name there: ask
    /// [`Driver::disk_in`] again.
    ///
    /// # Errors
    /// When the program fails.
    fn replace(&self, from: &Path, to: &Path, name: &str) -> Result<()>;

    /// Makes the disk of a machine that does not run a checkpoint at `to`. `parent` is the folder of the checkpoint under
    /// it, relative to that in which `to` will lie.
    ///
    /// # Errors
    /// When the program fails.
    fn keep(&self, changes: &dyn Changes, from: &Path, to: &Path, name: &str, parent: Option<&Path>) -> Result<()>;

    /// Removes a disk, if it is there, with every other that its machine keeps beside it.
    ///
    /// # Errors
    /// When something lies on it, or it cannot be removed.
    fn remove(&self, changes: &dyn Changes, disk: &Path) -> Result<()>;

    /// What is wrong with a checkpoint's disk by its own tables and with what it lies on, for a person; empty if nothing
    /// is. `below` are the disks of the checkpoints under it, the nearest first.
    ///
    /// # Errors
    /// When that cannot be told, or the user interrupts.
    fn check(&self, disk: &Path, below: &[PathBuf], cancel: &Cancel) -> Result<Vec<String>>;

    /// Lets the program forget a checkpoint's disk, whose files stay.
    ///
    /// # Errors
    /// When something lies on it.
    fn forget(&self, disk: &Path) -> Result<()>;

    /// The files of the memory that is kept in `folder`; none if there is no whole one.
    fn memory_in(&self, folder: &Path) -> Vec<PathBuf>;

    /// What is wrong with the memory in `folder`, for a person, as far as that can be told before it is used.
    ///
    /// # Errors
    /// When it cannot be read.
    fn check_memory(&self, folder: &Path) -> Result<Option<String>>;

    /// How much a disk takes on the host's, in bytes.
    fn size(&self, disk: &Path) -> u64;

    /// The names of the files that its checkpoints consist of, the disk's first, where they may be carried to another
    /// host as they are.
    fn portable(&self) -> Option<&'static [&'static str]>;

    /// Refuses the disk of a checkpoint from another host that would have another file of this one read than the disk of
    /// the checkpoint under it. `parent` is the folder of that, relative to that in which the disk will lie.
    ///
    /// # Errors
    /// A [`crate::fault::Cause::Verification`] fault that says what is wrong with it.
    fn vet(&self, disk: &Path, parent: Option<&Path>) -> Result<()>;

    /// A disk as one qcow2 file that holds or names all of it; a copy is made in the folder `scratch`, if need be.
    ///
    /// # Errors
    /// When the program fails.
    fn as_qcow2(&self, disk: &Path, scratch: &Path) -> Result<PathBuf>;

    /// What the program has in its lists in the folder `root` though the files are gone.
    ///
    /// # Errors
    /// When it is there and does not answer.
    fn lost_in(&self, root: &Path) -> Result<Vec<String>>;

    /// Takes something of [`Driver::lost_in`] out of the lists.
    ///
    /// # Errors
    /// When the program fails.
    fn forget_lost(&self, lost: &str) -> Result<()>;

    /// See [`Home::runs`].
    fn runs(&self, home: &Home) -> bool;

    /// See [`Home::look`].
    ///
    /// # Errors
    /// See there.
    fn look(&self, home: &Home) -> Result<()>;

    /// See [`Home::resume`].
    ///
    /// # Errors
    /// See there.
    fn resume(&self, home: &Home) -> Result<()>;

    /// See [`Home::screenshot`].
    ///
    /// # Errors
    /// See there.
    fn screenshot(&self, home: &Home, file: &Path) -> Result<()>;

    /// See [`Home::end`].
    ///
    /// # Errors
    /// See there.
    fn end(&self, home: &Home) -> Result<()>;

    /// See [`Home::keep_moment`].
    ///
    /// # Errors
    /// See there.
    fn keep_moment(&self, home: &Home, moment: &Moment, memory: bool) -> Result<bool>;

    /// See [`Home::require_moment`].
    ///
    /// # Errors
    /// See there.
    fn require_moment(&self, home: &Home, moment: &Moment) -> Result<()>;

    /// See [`Home::go_back`].
    ///
    /// # Errors
    /// See there.
    fn go_back(&self, home: &Home, moment: &Moment, memory: bool) -> Result<()>;

    /// See [`Home::sweep_moments`].
    ///
    /// # Errors
    /// See there.
    fn sweep_moments(&self, home: &Home, kept: &[Moment]) -> Result<()>;
}
