//! The host: the programs it must have, the room on its disks, its ports.

mod backports;
mod check;
pub mod disk;
pub mod doctor;
mod install;
mod manager;
mod os;
pub mod ports;
mod version;

pub use check::{Finding, Requirement, State, findings, requirements};
pub use disk::free_space;
pub use install::{install_missing, require};
pub use version::Version;
