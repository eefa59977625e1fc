//! What a command touches of the process around it; tests put their own in place.

use std::{
    io::{self, IsTerminal as _, Write},
    time::SystemTime,
};

/// Outputs and clock of a command.
pub struct Env<'a> {
    /// Results.
    pub out: &'a mut dyn Write,
    /// Everything else that is said to people.
    pub err: &'a mut dyn Write,
    /// Whether `out` shows colours.
    pub color: bool,
    /// The time of day.
    pub now: fn() -> SystemTime,
}

impl Env<'_> {
    /// Calls `body` with the outputs and the clock of this process.
    pub fn with_process<T>(body: impl FnOnce(&mut Env<'_>) -> T) -> T {
        let color = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        let (mut out, mut err) = (io::stdout().lock(), io::stderr());
        body(&mut Env { out: &mut out, err: &mut err, color, now: SystemTime::now })
    }
}
