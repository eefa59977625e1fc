//! What lies around SYN cookies.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod answer;
mod options;
mod pace;
