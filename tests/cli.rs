//! Tests of the whole program that need no guest.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    missing_docs,
    reason = "a test fails by panicking, and says on its output how far it is"
)]

mod cli {
    mod carry;
    mod ci;
    mod doctor;
    mod faults;
    mod gc;
    mod guardian;
    mod images;
    mod lookalikes;
    mod offline;
    mod place;
    #[path = "../../src/process/testing.rs"]
    mod programs;
    mod rebuild;
    mod running;
    mod scripts;
    mod settings;
    mod shells;
    mod starts;
    mod store;
    pub mod support;
    mod timer;
    mod timings;
    mod unattended;
    mod virtualbox;
}
