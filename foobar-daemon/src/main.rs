//! Arguments, run, exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    foobar_daemon::cli::main()
}
