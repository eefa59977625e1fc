//! When certificates expire.

use std::{
    io::Write,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::Result;

use crate::certificates::CertificateFacts;

pub(super) fn write(out: &mut dyn Write, certificates: &[CertificateFacts], now: SystemTime) -> Result<()> {
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    for CertificateFacts { name, address, not_after, problem } in certificates {
        let end = not_after.map(|end| match end.checked_sub(now) {
            Some(left) => format!("expires in {} days", left / 86_400),
            None => "HAS EXPIRED".to_owned(),
        });
        let seen = problem.as_ref().map(|problem| format!("NOT SEEN: {problem}"));
        let words: Vec<String> = seen.into_iter().chain(end).collect();
        writeln!(out, "certificate {name}@{address}  {}", words.join("; "))?;
    }
    Ok(())
}
