//! What Prometheus is told.

pub mod account;
pub mod catalogue;
pub mod collect;
pub mod markdown;
pub mod serve;

mod guard;
mod labels;
