//! Real parts for the tests of this room: an HTTP server with faults, a proxy, and PGP keys.

mod http;
mod keys;
mod proxy;
mod tls;

pub use http::{Flaw, Server};
pub use keys::{Key, KeyMaker, armour, signed_at};
pub use proxy::Proxy;
pub use tls::Tls;
