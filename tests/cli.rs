//! Tests of the whole program that need no guest.

mod cli {
    mod guardian;
    pub mod support;
}
