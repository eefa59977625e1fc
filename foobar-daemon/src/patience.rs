//! Signs of life while something takes long.

use std::{
    io::{self, IsTerminal as _, Write},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

/// Until something is taken to be long.
const QUIET: Duration = Duration::from_secs(2);
/// Between two signs.
const INTERVAL: Duration = Duration::from_secs(1);

/// Does some work, and says on a terminal what it is and for how long it has been going on, if that is over two seconds.
pub fn with_signs<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let stderr = io::stderr();
    if stderr.is_terminal() { with_signs_on(stderr, what, QUIET, INTERVAL, work) } else { work() }
}

fn with_signs_on<T>(
    mut terminal: impl Write + Send,
    what: &str,
    quiet: Duration,
    interval: Duration,
    work: impl FnOnce() -> T,
) -> T {
    thread::scope(|scope| {
        let (done, is_done) = mpsc::channel::<()>();
        scope.spawn(move || {
            let started = Instant::now();
            let mut patience = quiet;
            let mut said = false;
            // The sender is dropped with the end of the work, also if that is a panic.
            while is_done.recv_timeout(patience) == Err(RecvTimeoutError::Timeout) {
                patience = interval;
                said = true;
                // Who cannot be told is not told.
                let _told: io::Result<()> =
                    write!(terminal, "\r\x1b[K{what}, for {} s so far", started.elapsed().as_secs())
                        .and_then(|()| terminal.flush());
            }
            if said {
                let _told: io::Result<()> = write!(terminal, "\r\x1b[K").and_then(|()| terminal.flush());
            }
        });
        let result = work();
        drop(done);
        result
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_takes_long_is_told() {
        let told = |works: Duration, quiet: Duration| {
            let mut terminal = Vec::new();
            let work = || {
                thread::sleep(works);
                7
            };
            let interval = Duration::from_millis(1);
            assert_eq!(with_signs_on(&mut terminal, "checking", quiet, interval, work), 7);
            String::from_utf8(terminal).unwrap()
        };
        assert_eq!(told(Duration::ZERO, Duration::from_mins(1)), "");
        let long = told(Duration::from_millis(100), Duration::from_millis(1));
        assert!(long.starts_with("\r\x1b[Kchecking, for 0 s so far\r"), "{long:?}");
        assert!(long.ends_with("so far\r\x1b[K"), "the line is taken away: {long:?}");
    }
}
