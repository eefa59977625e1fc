//! How far a long replay is, on the terminal.

use std::{
    io::{self, Write},
    time::{Duration, Instant},
};

/// Nothing is shown before this.
const QUIET: Duration = Duration::from_secs(2);
const INTERVAL: Duration = Duration::from_millis(500);
/// The clock is read once in this many frames.
const FRAMES_BETWEEN: u64 = 1_024;

/// A line that is written over and over.
#[derive(Debug)]
pub struct Progress {
    is_wanted: bool,
    started: Instant,
    shown: Option<Instant>,
}

impl Progress {
    /// Starts the clock. `is_wanted` is whether anybody watches.
    pub fn new(is_wanted: bool) -> Self {
        Self { is_wanted, started: Instant::now(), shown: None }
    }

    /// Shows what is being done, if that takes long. `size` is that of the capture, if it is known.
    pub fn show(
        &mut self,
        err: &mut dyn Write,
        doing: &str,
        frames: u64,
        bytes: u64,
        size: Option<u64>,
    ) -> io::Result<()> {
        if !self.is_wanted || !frames.is_multiple_of(FRAMES_BETWEEN) {
            return Ok(());
        }
        let since = self.shown.map_or(self.started + QUIET, |shown| shown + INTERVAL);
        let now = Instant::now();
        if now < since {
            return Ok(());
        }
        self.shown = Some(now);
        let part = size.filter(|size| *size > 0).map_or(String::new(), |size| {
            format!(", {} %", bytes.saturating_mul(100).checked_div(size).unwrap_or(0).min(100))
        });
        write!(err, "\r{doing}: {frames} frames{part} ")?;
        err.flush()
    }

    /// Takes the line away.
    pub fn clear(&mut self, err: &mut dyn Write) -> io::Result<()> {
        if self.shown.take().is_some() {
            write!(err, "\r\x1b[K")?;
            err.flush()?;
        }
        Ok(())
    }
}
