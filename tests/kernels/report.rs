//! The lines that leave the machine.

use std::io::{self, Write as _};

use anyhow::Result;

/// Counts what it writes.
#[derive(Default)]
pub struct Report {
    checks: usize,
}

impl Report {
    /// What the kernel calls itself.
    pub fn kernel(&mut self, release: &str) {
        line(&format!("K|{release}"));
    }

    /// How one check went, and what was seen. Tells whether it passed.
    pub fn check(&mut self, section: &str, name: &str, seen: Result<String>) -> bool {
        self.checks += 1;
        let (outcome, detail) = match &seen {
            Ok(detail) => ("PASS", detail.clone()),
            Err(error) => ("FAIL", format!("{error:#}")),
        };
        line(&format!("R|{section}|{name}|{outcome}|{}", detail.replace(['\n', '\r'], " / ")));
        seen.is_ok()
    }

    /// How many instructions the verifier walked, where the kernel tells.
    pub fn instructions(&mut self, section: &str, count: Option<u32>) {
        if let Some(count) = count {
            line(&format!("I|{section}|{count}"));
        }
    }

    /// Nothing more is to come.
    pub fn end(self) {
        line(&format!("END|{}", self.checks));
    }
}

fn line(text: &str) {
    let mut out = io::stdout().lock();
    // Without a serial line there is nobody to tell; the missing end is a failure there.
    drop(writeln!(out, "{text}").and_then(|()| out.flush()));
}
