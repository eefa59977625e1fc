//! Speaking to the person in front.

/// Says something.
#[expect(clippy::print_stderr, reason = "the only place where the lab speaks")]
pub(crate) fn say(text: &str) {
    eprintln!("{text}");
}

/// Prints a result.
#[expect(clippy::print_stdout, reason = "the only place where the lab prints")]
pub(crate) fn print(text: &str) {
    println!("{text}");
}
