//! Figures that a test has seen, for whoever runs it.

use std::io::{self, Write as _};

/// Says a line on stderr, which the test harness does not keep to itself as it does with printed ones.
pub fn say(figures: &str) {
    // A closed stderr is no reason to fail.
    drop(writeln!(io::stderr(), "    {figures}"));
}
