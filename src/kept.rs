//! What guests fetched, kept on the host, so that the same can be made again without a network: Debian's archive by
//! address, images by digest. It lies in the cache and in no guest.
//!
//! [`Store`] is the folder, [`Keeper`] the server through which guests fetch while a stage works, [`need`] what a stage
//! is known to need.

mod archive;
mod client;
pub mod dates;
mod digest;
pub mod dockerfile;
mod fit;
mod hub;
mod keeper;
mod names;
pub mod need;
mod place;
mod prune;
mod registry;
mod reply;
mod server;
mod shared;
mod store;
mod tunnel;
mod upstream;

#[cfg(test)]
mod tests;

pub use client::Fetcher;
pub use digest::Digest;
pub use keeper::{Keeper, Past, Route};
pub use names::{MIRROR_PORT, NOWHERE};
pub use prune::Bound;
pub use store::Store;
pub use upstream::GATEWAY;
