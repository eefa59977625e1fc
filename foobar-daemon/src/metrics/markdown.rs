//! METRICS.md, from the catalogue.

use std::fmt;

use foobar_common::{service::Loss, verdict::Reason};

use super::{catalogue, labels::LABELS};

/// METRICS.md: every metric, label and reason.
pub fn markdown() -> String {
    let mut text = String::from(
        "# Metrics\n\n\
         Written by `cargo xtask generate` from the catalogue in `foobar-daemon/src/metrics/catalogue.rs`; do not \
         edit.\n\n\
         foobar serves them on `http://127.0.0.1:9477/metrics` (`--listen`; https by `--web-config`), beside `/` (the live page), `/healthz` (the daemon lives) and \
         `/readyz` (rules are in force on every interface). Labels are bounded by configuration, never by traffic. \
         Counters never go back over reloads, restarts and crashes of the daemon; they start at zero when the filter \
         was detached or the machine started.\n\n\
         | metric | type | unit | labels | meaning |\n| --- | --- | --- | --- | --- |\n",
    );
    for entry in catalogue::ALL {
        let labels: Vec<String> = entry.labels().iter().map(|label| format!("`{label}`")).collect();
        line(
            &mut text,
            format_args!(
                "| `{}` | {} | {} | {} | {} |",
                entry.name(),
                entry.kind().word(),
                entry.unit().word(),
                labels.join(", "),
                entry.help()
            ),
        );
    }
    text.push_str("\n## Labels\n\n| label | values |\n| --- | --- |\n");
    for (label, values) in LABELS {
        line(&mut text, format_args!("| `{label}` | {values} |"));
    }
    text.push_str(
        "\n## Reasons\n\nEvery packet has exactly one.\n\n| reason | the packet |\n| --- | --- |\n",
    );
    for reason in Reason::ALL {
        line(&mut text, format_args!("| `{}` | {} |", reason.label(), reason.describe()));
    }
    text.push_str(
        "\n## What could not be followed\n\nNothing is guessed: where a connection cannot be read for certain, it is no \
         longer counted, and `foobar_l7_framing_lost_total` says why.\n\n| reason | what came |\n| --- | --- |\n",
    );
    for loss in Loss::ALL {
        line(&mut text, format_args!("| `{}` | {} |", loss.label(), loss.describe()));
    }
    text
}

fn line(text: &mut String, line: fmt::Arguments<'_>) {
    text.push_str(&line.to_string());
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_label_is_explained_once() {
        let used: BTreeSet<&str> =
            catalogue::ALL.iter().flat_map(catalogue::Entry::labels).copied().collect();
        let explained: Vec<&str> = LABELS.iter().map(|(label, _)| *label).collect();
        assert_eq!(explained, used.into_iter().collect::<Vec<_>>());
    }

    #[test]
    fn metrics_md_is_the_catalogue() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../METRICS.md");
        let written = std::fs::read_to_string(path).unwrap_or_default();
        assert!(written == markdown(), "METRICS.md is old; renew it with `cargo xtask generate`");
    }
}
