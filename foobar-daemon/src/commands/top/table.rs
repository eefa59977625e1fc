//! What passed, as lines that fit a terminal of any size. Pure.

use foobar_common::verdict::Verdict;

use crate::{
    control::bans::BanStopping,
    daemon::summary::bits,
    rates::view::{InterfaceRate, ReasonRate, RuleRate, ServiceRate, SynRate, View},
};

/// Of a section that is shortened, so many rows stay: one, and how many there are more.
const ROWS_LEAST: usize = 2;

/// Rows below a title, with an empty line before.
struct Section {
    title: String,
    rows: Vec<String>,
}

/// All lines, however many and long.
pub(super) fn whole(view: &View) -> Vec<String> {
    lines(view, sections(view))
}

/// Lines for a terminal of this size; of what does not fit, the busiest rules go first, then bans, then drops.
pub(super) fn fitting(view: &View, columns: usize, rows: usize) -> Vec<String> {
    let mut sections = sections(view);
    let height: usize = head(view).len() + sections.iter().map(Section::height).sum::<usize>();
    let mut excess = height.saturating_sub(rows);
    for section in sections.iter_mut().rev() {
        excess -= section.shorten(excess);
    }
    cut(lines(view, sections), columns, rows)
}

/// As much of lines as a terminal of this size has room for.
pub(super) fn cut(lines: Vec<String>, columns: usize, rows: usize) -> Vec<String> {
    // What could control the terminal is of no use in a name.
    let shown = |character: char| if character.is_control() { '?' } else { character };
    lines.into_iter().take(rows).map(|line| line.chars().take(columns).map(shown).collect()).collect()
}

impl Section {
    fn new<T>(title: String, rows: &[T], row: impl Fn(&T) -> String) -> Self {
        Self { title, rows: rows.iter().map(row).collect() }
    }

    fn height(&self) -> usize {
        if self.rows.is_empty() { 0 } else { 2 + self.rows.len() }
    }

    /// Gives up to so many rows away; how many it were.
    fn shorten(&mut self, excess: usize) -> usize {
        let before = self.rows.len();
        let after = before.saturating_sub(excess).max(ROWS_LEAST);
        if after >= before {
            return 0;
        }
        self.rows.truncate(after - 1);
        self.rows.push(format!("  … {} more", before - self.rows.len()));
        before - after
    }
}

fn lines(view: &View, sections: Vec<Section>) -> Vec<String> {
    let mut lines = head(view);
    for Section { title, rows } in sections {
        if !rows.is_empty() {
            lines.extend([String::new(), title]);
            lines.extend(rows);
        }
    }
    lines
}

fn head(view: &View) -> Vec<String> {
    let View { seconds, hash, generation, not_ready, .. } = view;
    let word = if not_ready.is_empty() { "ready" } else { "NOT READY" };
    let short = hash.get(..12).unwrap_or(hash);
    let mut lines =
        vec![format!("foobar {word}, ruleset {short}, generation {generation}; over {seconds:.1} s")];
    lines.extend(not_ready.iter().map(|why| format!("  {why}")));
    lines
}

fn sections(view: &View) -> Vec<Section> {
    let View { interfaces, services, syn_cookies, drops, bans, rules, .. } = view;
    // The widest has 78 columns, but for who made a ban and why.
    vec![
        Section::new(
            format!("{:<36}{:>12}{:>14}", "interfaces", "packets/s", "bits/s"),
            interfaces,
            |interface| {
                let InterfaceRate { interface, direction, packets_per_second, bytes_per_second, .. } =
                    interface;
                let (name, bits) = (name(&[interface, direction]), bits(8.0 * bytes_per_second));
                format!("{name:<36}{packets_per_second:>12.0}{bits:>14}")
            },
        ),
        Section::new(
            format!("{:<36}{:>12}{:>10}{:>10}{:>10}", "services", "in all", "over 1 s", "10 s", "60 s"),
            services,
            |service| {
                let ServiceRate { service, port, protocol, what, total, per_second, framing_lost, .. } =
                    service;
                let [one, ten, sixty] =
                    per_second.map(|rate| rate.map_or_else(|| "-".to_owned(), |rate| format!("{rate:.1}")));
                let lost =
                    if *framing_lost > 0 { format!("  {framing_lost} times lost") } else { String::new() };
                let name = name(&[service, port, protocol, what]);
                format!("{name:<36}{total:>12}{one:>10}{ten:>10}{sixty:>10}{lost}")
            },
        ),
        Section::new(
            format!(
                "{:<30}{:>12}{:>12}{:>12}{:>12}",
                "SYN cookies", "answered/s", "back/s", "answered", "back"
            ),
            syn_cookies,
            |syn| {
                let SynRate {
                    service,
                    port,
                    active,
                    answered,
                    answered_per_second,
                    returned,
                    returned_per_second,
                } = syn;
                let idle = if *active { "" } else { "  none now" };
                let name = name(&[service, port]);
                format!(
                    "{name:<30}{answered_per_second:>12.0}{returned_per_second:>12.0}{answered:>12}{returned:>12}{idle}"
                )
            },
        ),
        Section::new(format!("{:<36}{:>12}{:>14}", "drops", "packets/s", "in all"), drops, |drop| {
            let ReasonRate { direction, action, reason, packets, packets_per_second } = drop;
            let words = if action == Verdict::Reject.label() { "rejected" } else { "" };
            let name = name(&[reason, direction, words]);
            format!("{:<36}{packets_per_second:>12.0}{packets:>14}", name.trim_end())
        }),
        Section::new(
            format!("{:<36}{:>12}{:>14}  {}", "busiest bans", "packets/s", "in all", "by"),
            bans,
            |ban| {
                let BanStopping { address, packets, packets_per_second, made } = ban;
                format!("{:<36}{packets_per_second:>12.0}{packets:>14}  {}", name(&[address]), made.words())
            },
        ),
        Section::new(format!("{:<36}{:>12}{:>14}", "busiest rules", "packets/s", "in all"), rules, |rule| {
            let RuleRate { rule, packets, packets_per_second } = rule;
            format!("{:<36}{packets_per_second:>12.0}{packets:>14}", name(&[rule.as_str()]))
        }),
    ]
}

fn name(words: &[&str]) -> String {
    format!("  {}", words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rates::view::tests::traffic;

    fn view() -> View {
        View::between(&traffic(5_000, 100), &traffic(7_000, 300), 9).unwrap()
    }

    #[test]
    fn everything_is_in_the_table() {
        assert_eq!(
            whole(&view()).join("\n"),
            "foobar ready, ruleset 0123456789ab, generation 3; over 2.0 s\n\
             \n\
             interfaces                             packets/s        bits/s\n\
             \x20 eth0 in                                    100   80.0 kbit/s\n\
             \x20 eth0 out                                   100   80.0 kbit/s\n\
             \n\
             services                                  in all  over 1 s      10 s      60 s\n\
             \x20 www tcp/80 http1 requests                  300      12.0       3.5         -\n\
             \n\
             SYN cookies                     answered/s      back/s    answered        back\n\
             \x20 www tcp/80                          1000          10        3000          30\n\
             \n\
             drops                                  packets/s        in all\n\
             \x20 policy in                                  100           300\n\
             \x20 fragments in                                 0             7\n\
             \x20 policy in rejected                           0             3\n\
             \n\
             busiest bans                           packets/s        in all  by\n\
             \x20 203.0.113.7                                 70           300  the limit of rule flood\n\
             \n\
             busiest rules                          packets/s        in all\n\
             \x20 b                                          200           600\n\
             \x20 a                                          100           300"
        );
    }

    #[test]
    fn a_table_fits_any_terminal() {
        let mut view = view();
        let rule = view.rules[0].clone();
        view.rules = (0..50)
            .map(|number| RuleRate { rule: format!("rule {number}").into(), ..rule.clone() })
            .collect();
        view.not_ready = vec!["eth0: a name with \x1b[31m in it".to_owned()];
        for rows in 0..80 {
            for columns in [0, 1, 10, 80, 300] {
                let lines = fitting(&view, columns, rows);
                assert!(lines.len() <= rows, "{rows}: {lines:?}");
                for line in &lines {
                    assert!(line.chars().count() <= columns && !line.contains('\x1b'), "{line:?}");
                }
            }
        }
        let lines = fitting(&view, 80, 24);
        assert_eq!(lines.len(), 24);
        assert_eq!(lines[0].split(',').next(), Some("foobar NOT READY"));
        assert!(lines[23].ends_with("more"), "{lines:?}");
        assert!(lines.iter().any(|line| line.contains("fragments in")), "{lines:?}");
        // Very low: each section has a row still, and rules were shortened before drops.
        let lines = fitting(&view, 80, 23);
        assert!(lines.iter().any(|line| line.contains("49 more")), "{lines:?}");
    }
}
