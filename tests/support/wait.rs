//! Waiting for something that happens in another process.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

/// Calls `happened` until it is true, at most for `limit`.
///
/// # Errors
/// Those of `happened`, and the end of the time: then `what` says what did not happen.
pub fn until(what: &str, limit: Duration, mut happened: impl FnMut() -> Result<bool>) -> Result<()> {
    let start = Instant::now();
    while !happened()? {
        if start.elapsed() > limit {
            bail!("{what}: not within {limit:?}");
        }
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}
