//! The whole room against a real server.

mod cache;
mod choice;
mod faults;
mod foresee;
mod processes;
mod proxies;
mod speed;
mod stop;
mod tls;
mod world;
