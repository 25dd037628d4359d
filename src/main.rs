//! `provision`: one command from a Debian ISO and a project folder to a running, verified virtual machine.

mod cancel;
mod checkpoint;
mod cli;
mod config;
mod event;
mod fault;
mod host;
mod identity;
mod instance;
mod key;
mod lock;
mod machine;
mod media;
mod paths;
mod plan;
mod process;
mod project;
mod report;
mod ssh;
mod verify;
mod wait;

fn main() {}
