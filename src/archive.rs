//! One checkpoint with all that it needs as one file, to be used on another host: from a CI's cache, say.
//!
//! A tar in zstd (RFC 8878). Its members come in this order and under these names only:
//!
//! | member | holds |
//! |---|---|
//! | `checkpoint.json` | [`index::Index`]: what follows, and the checkpoints' manifests |
//! | `identities/NAME/FILE` | the keys that open it: this host's, and the login's once there is one |
//! | `release/HEX.json` | the signed list that says which ISO is meant, where that is known |
//! | `layers/KEY/FILE` | the files of each layer, the lowest first, without their holes |
//! | `digests.json` | the SHA-256 of each member before it |
//!
//! The ISO is not in it: only the stage install reads it, and that is done. No name in it is used as a path.

mod adopt;
mod hash;
mod index;
mod pack;
mod parts;
mod receive;
mod send;
#[cfg(test)]
mod tests;
mod told;
mod unpack;

pub use receive::{Checkpoint, Received, Receiving, State, receive};
pub use send::{Sending, Sent, send, send_file};

/// The version of the format; raised when an older program would read a file wrongly or not at all.
pub const FORMAT: u32 = 1;

/// The name of the member with the index.
const INDEX: &str = "checkpoint.json";

/// The name of the member with the digests.
const DIGESTS: &str = "digests.json";

/// How much is read or written at once, in bytes.
const CHUNK: usize = 1 << 20;
