//! What one does with the project: `cargo xtask COMMAND`.

mod apt;
mod bench;
mod built;
mod command;
mod dist;
mod doctor;
mod generate;
mod kernels;
mod lab;
mod lint;
mod run;
mod setup;
mod test;
mod workspace;

use std::process::ExitCode;

use clap::Parser;

/// What one does with foobar. Start with `run`: it filters nothing and counts everything.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", max_term_width = 100)]
enum Command {
    /// Count the traffic of this machine, harming nobody: a first look
    Run(run::Args),
    /// Run every test, also on other kernels
    Test(test::Args),
    /// Measure foobar beside bare XDP, nftables and xdp-filter, in namespaces of its own
    Bench(bench::Args),
    /// Three servers behind a load balancer in namespaces, with real programs and a foobar on each
    #[command(disable_help_flag = true)]
    Lab(lab::Args),
    /// Check format, lints and documentation
    Lint,
    /// Renew the files that are made from the code: METRICS.md, manual page, completions, kept BPF object
    Generate(generate::Args),
    /// Pack the release: binary, manual page, completions, rules, systemd unit
    Dist,
    /// Get what building and testing take: bpf-linker, rust-src, Debian packages
    Setup(setup::Args),
    /// Tell what kernel, privileges and toolchain lack, and how to mend it
    Doctor,
}

fn main() -> ExitCode {
    let done = match Command::parse() {
        Command::Run(args) => run::run(&args),
        Command::Test(args) => test::test(&args),
        Command::Bench(args) => bench::bench(&args),
        Command::Lab(args) => lab::lab(&args),
        Command::Lint => lint::lint(),
        Command::Generate(args) => generate::generate(&args),
        Command::Dist => dist::dist(),
        Command::Setup(args) => setup::setup(&args),
        Command::Doctor => doctor::doctor(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            command::say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
