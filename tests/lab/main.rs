//! `cargo xtask lab`: www.foobar.com on one machine, with a firewall on every server.
//!
//! A load balancer, three servers with a web server and a node of a database cluster each, a client and monitoring are network
//! namespaces ([`hosts`]); what runs there ([`services`]) are Debian's own programs and foobar. What a command starts goes on when the
//! command has ended, until `down`.

mod banned;
mod breaks;
mod collector;
mod denied;
mod down;
mod hosts;
mod lab;
mod load;
mod monitoring;
mod pace;
mod processes;
mod pushed;
mod say;
mod services;
mod site;
mod soak;
mod status;
mod up;

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::{breaks::Break, lab::Lab, say::say};

/// www.foobar.com on one machine: a load balancer, three web servers with a database cluster, and a foobar on each.
///
/// Everything runs in network namespaces; nothing touches the machine's own interfaces. `up` starts it, `load` asks for pages and
/// compares what was counted with what was asked, `break` and `heal` show what happens when something fails.
#[derive(Parser)]
#[command(name = "cargo xtask lab", bin_name = "cargo xtask lab", max_term_width = 100)]
struct Arguments {
    /// Name of the lab; several can be up at a time
    #[arg(long, global = true, default_value = "lab", value_parser = name)]
    name: String,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start everything
    Up(up::Args),
    /// Show what runs, what the balancer and Prometheus say, and which alerts there are
    Status(status::Args),
    /// Ask for pages, compare what was counted with what was asked, and try every way that is closed
    Load(load::Args),
    /// Break something, and see its alert and no other
    Break {
        /// What to break
        what: Break,
    },
    /// Mend what was broken, and see the alert go
    Heal {
        /// What to mend
        what: Break,
    },
    /// Break and heal one thing after the other under load, and see that nothing else happens
    Soak(soak::Args),
    /// End everything and remove it
    Down(down::Args),

    /// The program behind the site.
    #[command(hide = true)]
    Application { address: String },
    /// Who takes what is pushed.
    #[command(hide = true)]
    Collector { folder: PathBuf },
    /// Those who ask for pages.
    #[command(hide = true)]
    Visitors,
    /// Those who ask for the former site.
    #[command(hide = true)]
    FormerVisitors,
    /// Those who write.
    #[command(hide = true)]
    Writers { notes: PathBuf },
    /// Those who flood.
    #[command(hide = true)]
    Flood,
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(Arguments { name, command }: Arguments) -> Result<()> {
    match command {
        Command::Up(args) => up::run(&name, &args),
        Command::Status(args) => status::run(&Lab::find(&name)?, &args),
        Command::Load(args) => load::run(&Lab::find(&name)?, &args),
        Command::Break { what } => what.inflict(&Lab::find(&name)?),
        Command::Heal { what } => what.heal(&Lab::find(&name)?),
        Command::Soak(args) => soak::run(&Lab::find(&name)?, &args),
        Command::Down(args) => down::run(Lab::open(&name)?, &args),
        Command::Application { address } => site::application::serve(&address),
        Command::Collector { folder } => collector::serve(&folder),
        Command::Visitors => site::visitors::day_and_night(),
        Command::FormerVisitors => site::visitors::of_the_former_site(),
        Command::Writers { notes } => site::writers::write(&notes),
        Command::Flood => site::flood::send(),
    }
}

/// A name that can be part of names of namespaces and folders.
fn name(text: &str) -> Result<String, String> {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if text.is_empty() || text.len() > 32 || !text.bytes().all(fits) || text == "seed" {
        return Err("write up to 32 of a-z, 0-9 and -".to_owned());
    }
    Ok(text.to_owned())
}
