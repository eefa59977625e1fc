//! The lines that leave the machine.

use std::{
    collections::VecDeque,
    io::{self, Write},
    sync::{Mutex, PoisonError},
};

use anyhow::Result;

/// Counts what it writes.
#[derive(Default)]
pub(crate) struct Report {
    checks: usize,
}

impl Report {
    /// What the kernel calls itself.
    pub(crate) fn kernel(release: &str) {
        line(&format!("K|{release}"));
    }

    /// How one check went, and what was seen. Tells whether it passed.
    pub(crate) fn check(&mut self, section: &str, name: &str, seen: &Result<String>) -> bool {
        self.checks += 1;
        let (outcome, detail) = match seen {
            Ok(detail) => ("PASS", detail.clone()),
            Err(error) => ("FAIL", format!("{error:#}")),
        };
        let log = log_tail();
        if seen.is_err() {
            line(&log);
        }
        line(&format!("R|{section}|{name}|{outcome}|{}", detail.replace(['\n', '\r'], " / ")));
        seen.is_ok()
    }

    /// How many instructions the verifier walked, where the kernel tells.
    pub(crate) fn instructions(section: &str, count: Option<u32>) {
        if let Some(count) = count {
            line(&format!("I|{section}|{count}"));
        }
    }

    /// Nothing more is to come.
    pub(crate) fn end(self) {
        line(&format!("END|{}", self.checks));
    }
}

fn line(text: &str) {
    let mut out = io::stdout().lock();
    // Without a serial line there is nobody to tell; the missing end is a failure there.
    drop(writeln!(out, "{text}").and_then(|()| out.flush()));
}

/// The last that foobar logged, above all the end of what the verifier said of a program that it refused.
static LOG: Mutex<VecDeque<u8>> = Mutex::new(VecDeque::new());
/// How many bytes of it are of interest; a serial line is slow.
const LOG_BYTES: usize = 6000;

/// Takes what was logged since the last call.
fn log_tail() -> String {
    let mut log = LOG.lock().unwrap_or_else(PoisonError::into_inner);
    let bytes: Vec<u8> = log.drain(..).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Where foobar logs to.
pub(crate) struct LogTail;

impl Write for LogTail {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut log = LOG.lock().unwrap_or_else(PoisonError::into_inner);
        log.extend(bytes);
        let excess = log.len().saturating_sub(LOG_BYTES);
        log.drain(..excess);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
