//! What the programs in the kernel and the daemon agree on.
//!
//! The way of a packet, in the order of the modules: a [`frame`] is the window onto its bytes, [`parse`]
//! turns the frame into a [`flow`] or says why not, [`fields`] and [`sets`] turn the flow's values into [`classes`],
//! which say together which [`rule`] it meets, the [`verdict`] and its reason are what comes of it, the [`counters`] remember it. [`maps`] names where all of
//! that lies. Everything here is free of I/O and of allocation, and runs unchanged on both sides.
#![no_std]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]
#![warn(missing_docs)]
#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::host_endian_bytes)]

pub mod address;
pub mod ahead;
pub mod bans;
pub mod checksum;
pub mod classes;
pub mod connection;
pub mod counters;
pub mod dns;
pub mod event;
pub mod fields;
pub mod flow;
pub mod frame;
pub mod http1;
pub mod http2;
pub mod limit;
pub mod maps;
pub mod mysql;
pub mod parse;
pub mod peers;
pub mod plaintext;
#[cfg(feature = "user")]
mod pod;
pub mod proxy;
pub mod raw;
pub mod reject;
pub mod rule;
pub mod service;
pub mod sets;
pub mod stream;
pub mod syn_cookies;
pub mod tls;
pub mod tracking;
pub mod verdict;
mod words;

/// Version of every record and map in this crate that outlives one ruleset.
///
/// It is part of the path of all pins, so that a daemon with another layout never adopts them. Raise it
/// whenever a pinned map or the meaning of a slot changes; `tests/layout/` notices when that is forgotten.
pub const LAYOUT_VERSION: u32 = 6;
