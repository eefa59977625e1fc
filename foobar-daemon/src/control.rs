//! The control socket: HTTP with JSON bodies over a Unix socket.

pub mod client;
pub mod server;
