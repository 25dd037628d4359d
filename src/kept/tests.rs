//! The keeper between real clients (apt, skopeo) and real servers.

mod apt;
mod bounds;
mod disks;
mod faults;
mod images;
mod past;
mod world;
