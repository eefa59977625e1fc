//! A capture through the loaded program, attached to nothing.
//!
//! [`capture`] reads frames out of a file, [`link`] makes Ethernet frames of them, [`local`] tells which way
//! each one went, [`judge`] has the kernel judge it, and [`report`] writes down what came of it. One frame is in
//! memory at a time, so a capture may be larger than memory.

pub mod capture;
pub mod judge;
pub mod link;
pub mod local;
pub mod progress;
pub mod report;
mod services;
