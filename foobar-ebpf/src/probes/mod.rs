//! What a TLS library is asked to encrypt, and what it has decrypted: HTTP, read as packets of it are.
//!
//! Probes see all processes that use the library. Those of a service are in a map; for others, a probe ends at once.

mod calls;
mod http2;
mod objects;
mod processes;
mod reading;
mod way;

pub(crate) use self::{
    calls::{begun, file_sent, read, written},
    objects::{accepting, connecting, freed},
    processes::{ended, executed, forked},
};
