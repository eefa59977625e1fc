//! What the rule files say. Text in, values out: nothing here does I/O but [`bundle`], which reads the files.

pub mod balancers;
pub mod bundle;
pub mod check;
pub mod compile;
pub mod evaluate;
pub mod file;
pub mod import;
pub mod limit;
pub mod log;
pub mod model;
pub mod names;
pub mod packet;
mod prefix;
pub mod rule_id;
pub mod sets;
