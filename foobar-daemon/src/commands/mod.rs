//! One file per command, named as it is typed.

pub mod ban;
pub mod bans;
pub mod completions;
pub mod detach;
pub mod fleet;
pub mod generate_docs;
pub mod man;
pub mod push;
pub mod replay;
pub mod rules;
pub mod run;
pub mod set;
pub mod status;
pub mod top;
pub mod unban;
pub mod watch;
