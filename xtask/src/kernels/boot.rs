//! Booting a kernel, and what the guest reports over its serial line.

use std::{
    fs,
    path::Path,
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use crate::{
    kernels::debian::{Kernel, Qemu},
    workspace,
};

/// How long a guest may take. Seen: two to four minutes with a processor for itself, and so much more if it has to share one.
const LIMIT: Duration = Duration::from_mins(15);

/// What a guest reported, to its end.
pub(crate) struct Report {
    /// What the kernel calls itself.
    pub(crate) release: String,
    /// Everything it checked, in order.
    pub(crate) checks: Vec<Check>,
    /// From the start of qemu to its end.
    pub(crate) seconds: u64,
    /// Section and number of instructions that the verifier walked.
    instructions: Vec<(String, String)>,
}

/// One thing that the guest checked.
pub(crate) struct Check {
    /// What it belongs to.
    pub(crate) section: String,
    /// What it is.
    pub(crate) name: String,
    /// Whether it was so.
    pub(crate) passed: bool,
    /// What was seen.
    pub(crate) detail: String,
}

/// Boots a kernel and waits for its report.
///
/// # Errors
/// The guest did not come to its end; says what its last words were.
pub(crate) fn boot(qemu: &Qemu, kernel: &Kernel, initramfs: &Path) -> Result<Report> {
    let start = Instant::now();
    let log = workspace::private("kernels/logs")?.join(format!("{}.txt", kernel.series));
    let serial = fs::File::create(&log).with_context(|| format!("create {}", log.display()))?;
    let mut child = qemu
        .command()
        .args(["-accel", "tcg,thread=multi", "-cpu", "max", "-M", "q35", "-m", "1024", "-smp", "1"])
        .args(["-nodefaults", "-nographic", "-serial", "stdio", "-no-reboot", "-nic", "none"])
        .arg("-kernel")
        .arg(&kernel.image)
        .arg("-initrd")
        .arg(initramfs)
        .args(["-append", "console=ttyS0 quiet panic=-1 mitigations=off"])
        .stdin(Stdio::null())
        .stdout(serial.try_clone().context("share the log")?)
        .stderr(serial)
        .spawn()
        .context("start qemu")?;
    let ended = loop {
        if let Some(status) = child.try_wait().context("wait for qemu")? {
            break Some(status);
        }
        if start.elapsed() > LIMIT {
            child.kill().context("end qemu")?;
            child.wait().context("wait for qemu")?;
            break None;
        }
        thread::sleep(Duration::from_millis(100));
    };
    let text = fs::read(&log).with_context(|| format!("read {}", log.display()))?;
    let text = String::from_utf8_lossy(&text);
    let Some(mut report) = Report::parse(&text)? else {
        let how = match ended {
            Some(status) => format!("qemu ended ({status})"),
            None => format!("nothing for {} s", LIMIT.as_secs()),
        };
        let last: Vec<&str> = text.lines().rev().filter(|line| !line.trim().is_empty()).take(3).collect();
        bail!("the guest did not come to its end: {how}; its last words: {}", last.join(" / "));
    };
    report.seconds = start.elapsed().as_secs();
    Ok(report)
}

impl Report {
    /// Reads what the guest wrote: `K|release`, `R|section|name|PASS or FAIL|detail`, `I|section|instructions`, and at
    /// the end `END|number of checks`. `None` if the end is missing.
    fn parse(text: &str) -> Result<Option<Self>> {
        let mut report =
            Self { release: String::new(), checks: Vec::new(), seconds: 0, instructions: Vec::new() };
        let mut end = None;
        for line in text.lines() {
            // Carriage returns, and whatever the firmware wrote before.
            let words: Vec<&str> = line.trim_end().splitn(5, '|').collect();
            match words.as_slice() {
                [first, release] if first.ends_with('K') => (*release).clone_into(&mut report.release),
                ["R", section, name, outcome, detail] => report.checks.push(Check {
                    section: (*section).to_owned(),
                    name: (*name).to_owned(),
                    passed: *outcome == "PASS",
                    detail: (*detail).to_owned(),
                }),
                ["I", section, count] => {
                    report.instructions.push(((*section).to_owned(), (*count).to_owned()));
                }
                ["END", count] => end = Some(count.parse::<usize>().context("the guest's count of checks")?),
                _ => {}
            }
        }
        let Some(count) = end else { return Ok(None) };
        if count == 0 || count != report.checks.len() {
            bail!("the guest made {count} checks, and {} of them were reported", report.checks.len());
        }
        Ok(Some(report))
    }

    /// What the table says of a section.
    pub(crate) fn cell(&self, section: &str) -> String {
        let checks = self.checks.iter().filter(|check| check.section == section);
        let (all, passed) =
            checks.fold((0, 0), |(all, passed), check| (all + 1, passed + u32::from(check.passed)));
        let instructions = self.instructions.iter().find(|(name, _)| name == section);
        match instructions {
            Some((_, count)) => format!("{passed}/{all} ({count})"),
            None => format!("{passed}/{all}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_without_its_end_is_none() {
        let text = "SeaBIOS\u{1b}[2JK|6.1.0\r\nR|load|plain|PASS|\r\n";
        assert!(Report::parse(text).expect("no contradiction").is_none());
    }

    #[test]
    fn a_report_is_read_to_its_end() {
        let text = "noise\nK|6.1.0\r\nR|load|plain|PASS|12 maps\r\nR|load|all|FAIL|E|2BIG\r\nI|load|4711\r\nEND|2\r\n";
        let report = Report::parse(text).expect("no contradiction").expect("an end");
        assert_eq!(report.release, "6.1.0");
        assert_eq!(report.cell("load"), "1/2 (4711)");
        assert_eq!(report.checks[1].detail, "E|2BIG");
    }

    #[test]
    fn a_report_of_nothing_or_with_lines_missing_is_an_error() {
        assert!(Report::parse("K|6.1.0\nEND|0\n").is_err());
        assert!(Report::parse("K|6.1.0\nR|load|plain|PASS|\nEND|2\n").is_err());
    }
}
