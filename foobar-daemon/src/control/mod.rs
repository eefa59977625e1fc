//! The control socket: HTTP with JSON bodies over a Unix socket.

pub mod bans;
pub mod client;
pub mod events;
pub mod peer;
pub mod protocol;
pub mod server;
pub mod socket;
