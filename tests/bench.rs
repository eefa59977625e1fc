//! The benchmark can be run: one row, whose packets get the verdicts that the plain reading says.

use std::process::Command;

use foobar_daemon::dataplane::object;
use foobar_tests::{
    command::{stderr, stdout},
    figures,
};

#[test]
fn one_row_is_measured() {
    if object::ORIGIN != "built from source" {
        figures::say("the benchmark's programs cannot be built without the BPF toolchain: not tested");
        return;
    }
    let output = Command::new(env!("CARGO_BIN_EXE_bench")).arg("--smoke").output().unwrap();
    assert!(output.status.success(), "{}{}", stdout(&output), stderr(&output));
    assert!(stderr(&output).contains("rules smoke: packets 256, foobar "), "{}", stderr(&output));
}
