//! foobar: firewall and traffic meter on the network card.
//!
//! In reading order: the command line, what the rule files say, how that becomes tables, how the tables get
//! into the kernel, and the daemon that keeps all of it in force.

pub mod cli;
pub mod commands;
pub mod env;
pub mod memory;
pub mod outcome;
pub mod patience;

pub mod rules;

pub mod bans;
pub mod guard;
pub mod slots;

pub mod open_connections;
pub mod processes;
pub mod sysctls;

pub mod dataplane;

pub mod replay;

pub mod reconcile;

pub mod certificates;
pub mod config;
pub mod control;
pub mod daemon;
pub mod fleet;
pub mod host;
pub mod http;
pub mod log;
pub mod metrics;
pub mod page;
pub mod push;
pub mod rates;
pub mod state;
pub mod watched_files;
pub mod web_config;
