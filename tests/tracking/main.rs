//! Flows: which are made, what belongs to them, and what becomes of it.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod flood;
mod machine;
mod sequences;
mod table;
mod talk;
