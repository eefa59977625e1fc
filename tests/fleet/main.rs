//! Servers that have their rules from a real etcd of three members, and the guard over new ones.
#![expect(clippy::indexing_slicing, reason = "a test fails by panicking")]

mod away;
mod changes;
mod guarded;
mod hostile;
mod pushed;
mod secured;
mod server;
mod story;
