//! The journal of bans: a record on each line, from which the bans and their totals can be told again.
//!
//! Each record has the totals as they were after it, so that they need no account of their own: what has expired by then
//! is counted in them, and what has expired since is found when the journal is read.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use foobar_common::bans::BANS_MAX;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{
    Ban, Made, Moment,
    book::{Book, Totals},
};

/// Version of the journal; another one is not understood.
const VERSION: u32 = 1;

/// What happened at a time, and the totals after it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// When.
    pub at: Moment,
    /// Then.
    pub totals: Totals,
    /// What.
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum What {
    /// The journal begins.
    Begin {
        /// The version of the form in which the rest is written.
        version: u32,
        /// Which start of the machine its times are counted from.
        boot: String,
    },
    /// These are banned, or for longer.
    Ban(Vec<Group>),
    /// These bans are lifted.
    Lift(Vec<IpNet>),
    /// Nothing; it was refused.
    Refuse,
}

/// Bans that have all in common but their addresses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// Who made them.
    pub made: Made,
    /// When they end, in nanoseconds since the machine started.
    pub until_ns: Option<u64>,
    /// Of what.
    pub addresses: Vec<IpNet>,
}

impl Record {
    /// As a line.
    ///
    /// # Errors
    /// None that these values lead to.
    pub fn line(&self) -> Result<String> {
        let mut line = serde_json::to_string(self).context("put a record of bans into words")?;
        line.push('\n');
        Ok(line)
    }
}

impl Group {
    /// Puts bans together that have all in common.
    pub fn of<'b>(bans: impl IntoIterator<Item = (&'b IpNet, Option<u64>, &'b Arc<Made>)>) -> Vec<Self> {
        let mut groups: BTreeMap<(&Made, Option<u64>), Vec<IpNet>> = BTreeMap::new();
        for (prefix, until_ns, made) in bans {
            groups.entry((made, until_ns)).or_default().push(*prefix);
        }
        let group =
            |((made, until_ns), addresses): ((&Made, _), _)| Self { made: made.clone(), until_ns, addresses };
        groups.into_iter().map(group).collect()
    }
}

/// A journal that says no more than what the book says now.
///
/// # Errors
/// As [`Record::line`].
pub fn snapshot(book: &Book, boot: &str, at: Moment) -> Result<String> {
    let totals = book.totals;
    let begin = What::Begin { version: VERSION, boot: boot.to_owned() };
    let mut text = Record { at, totals, what: begin }.line()?;
    if !book.is_empty() {
        let bans = book.iter().map(|(prefix, Ban { until_ns, made })| (prefix, *until_ns, made));
        text += &Record { at, totals, what: What::Ban(Group::of(bans)) }.line()?;
    }
    Ok(text)
}

/// What a journal tells.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// The bans that are not over.
    pub book: Book,
    /// What could not be understood; the rest was.
    pub problems: Vec<String>,
}

/// Reads a journal, in a machine that was started this time (`boot`) and has this time now. What is behind the last end
/// of a line was being written when the writer ended, and is ignored: nobody was told that it was done.
pub fn replay(bytes: &[u8], boot: &str, now: Moment) -> Told {
    let mut told = Told::default();
    let mut same_boot = false;
    let mut last = now;
    let lines = bytes.split_inclusive(|byte| *byte == b'\n').filter_map(|line| line.strip_suffix(b"\n"));
    for (number, line) in (1..).zip(lines) {
        let read = serde_json::from_slice(line).context("it is no record");
        match read.and_then(|record| apply(&mut told.book, number, record)) {
            Ok(Applied { at, begun }) => {
                same_boot |= begun.is_some_and(|begun| begun == boot);
                last = at;
            }
            Err(error) => told.problems.push(format!("line {number}: {error:#}")),
        }
    }
    if !same_boot {
        told.book = carried_over(&told.book, last, now);
    }
    told.book.expire(now.boot_ns);
    told
}

/// A record that was understood.
struct Applied {
    at: Moment,
    /// Which start of the machine the journal counts from, if the record says so.
    begun: Option<String>,
}

fn apply(book: &mut Book, line: usize, record: Record) -> Result<Applied> {
    let Record { at, totals, what } = record;
    let mut begun = None;
    match what {
        What::Begin { version, boot } => {
            ensure!(line == 1, "a journal begins inside of another one");
            ensure!(version == VERSION, "it is of version {version}, and this foobar reads {VERSION}");
            begun = Some(boot);
        }
        What::Ban(groups) => {
            groups.iter().try_for_each(|group| check(&group.addresses))?;
            // Whoever wrote this had forgotten first what was over.
            book.expire(at.boot_ns);
            for Group { made, until_ns, addresses } in groups {
                let made = Arc::new(made);
                for prefix in addresses {
                    if book.len() >= BANS_MAX as usize && book.get(&prefix).is_none() {
                        bail!("there is room for {BANS_MAX} bans, and it has more");
                    }
                    book.set(prefix, until_ns, &made);
                }
            }
        }
        What::Lift(addresses) => {
            check(&addresses)?;
            book.expire(at.boot_ns);
            for prefix in addresses {
                book.remove(&prefix);
            }
        }
        What::Refuse => drop(book.expire(at.boot_ns)),
    }
    book.totals = totals;
    Ok(Applied { at, begun })
}

fn check(prefixes: &[IpNet]) -> Result<()> {
    for prefix in prefixes {
        ensure!(
            prefix.trunc() == *prefix && prefix.prefix_len() > 0,
            "{prefix} is nothing that can be banned"
        );
    }
    Ok(())
}

/// The bans of an earlier start of the machine, which was `last` seen running. Between the two, the clock that nobody
/// sets began anew, so the time of day has to tell how long that was. Should it have been set back, no time has passed: a
/// ban is never longer than it was.
fn carried_over(before: &Book, last: Moment, now: Moment) -> Book {
    let between = Duration::from_millis(now.unix_ms.saturating_sub(last.unix_ms));
    let mut book = Book::default();
    book.totals = before.totals;
    for (prefix, Ban { until_ns, made }) in before.iter() {
        let until_ns = until_ns.map(|until_ns| {
            let left = Duration::from_nanos(until_ns.saturating_sub(last.boot_ns)).saturating_sub(between);
            // Over is over, also in a machine that has only just started.
            let left = u64::try_from(left.as_nanos()).unwrap_or(u64::MAX);
            if left == 0 { 0 } else { now.boot_ns.saturating_add(left) }
        });
        book.set(*prefix, until_ns, made);
    }
    book
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bans::Origin;

    const SECOND: u64 = 1_000_000_000;

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    fn at(seconds: u64) -> Moment {
        Moment { unix_ms: 1_000_000 + seconds * 1_000, boot_ns: 500 + seconds * SECOND }
    }

    fn made() -> Made {
        Made { unix_ms: 1, origin: Origin::Command, by: "a test".to_owned(), reason: Some("why".to_owned()) }
    }

    fn totals(made: u64, expired: u64, lifted: u64, refused: u64) -> Totals {
        Totals { made, by_rules: 0, expired, lifted, refused }
    }

    fn ban(seconds: u64, totals: Totals, addresses: &[&str], until: Option<u64>) -> String {
        let addresses = addresses.iter().map(|text| net(text)).collect();
        let until_ns = until.map(|until| at(until).boot_ns);
        let group = Group { made: made(), until_ns, addresses };
        Record { at: at(seconds), totals, what: What::Ban(vec![group]) }.line().unwrap()
    }

    fn begin() -> String {
        snapshot(&Book::default(), "b1", at(0)).unwrap()
    }

    /// Bans with the seconds until they end, counted as in [`at`].
    fn ends(book: &Book) -> Vec<(String, Option<u64>)> {
        let seconds = |until_ns: u64| (until_ns - 500) / SECOND;
        book.iter().map(|(prefix, ban)| (prefix.to_string(), ban.until_ns.map(seconds))).collect()
    }

    #[test]
    fn what_was_written_is_told_again() {
        let mut text = begin();
        text += &ban(1, totals(2, 0, 0, 0), &["203.0.113.1/32", "2001:db8::/64"], Some(10));
        text += &ban(2, totals(3, 0, 0, 0), &["203.0.113.2/32"], None);
        text +=
            &Record { at: at(3), totals: totals(3, 0, 1, 0), what: What::Lift(vec![net("2001:db8::/64")]) }
                .line()
                .unwrap();
        text += &Record { at: at(4), totals: totals(3, 0, 1, 5), what: What::Refuse }.line().unwrap();
        let told = replay(text.as_bytes(), "b1", at(9));
        assert_eq!(told.problems, [""; 0]);
        let expected = [("203.0.113.1/32", Some(10)), ("203.0.113.2/32", None)];
        assert_eq!(ends(&told.book), expected.map(|(prefix, until)| (prefix.to_owned(), until)));
        assert_eq!(told.book.totals, totals(3, 0, 1, 5));
        assert_eq!(told.book.get(&net("203.0.113.2/32")).unwrap().made.reason.as_deref(), Some("why"));

        let short = snapshot(&told.book, "b1", at(9)).unwrap();
        let again = replay(short.as_bytes(), "b1", at(9));
        assert_eq!((ends(&again.book), again.book.totals), (ends(&told.book), told.book.totals));
    }

    #[test]
    fn what_has_expired_is_counted_once() {
        let mut text = begin();
        text += &ban(1, totals(2, 0, 0, 0), &["203.0.113.1/32", "203.0.113.2/32"], Some(10));
        // The first of them was over and is banned anew; its writer had counted both as expired.
        text += &ban(11, totals(3, 2, 0, 0), &["203.0.113.1/32"], Some(20));
        assert_eq!(replay(text.as_bytes(), "b1", at(12)).book.totals, totals(3, 2, 0, 0));
        assert_eq!(replay(text.as_bytes(), "b1", at(20)).book.totals, totals(3, 3, 0, 0));
    }

    #[test]
    fn a_line_that_was_being_written_is_ignored_and_others_are_told() {
        let whole = begin() + &ban(1, totals(1, 0, 0, 0), &["203.0.113.1/32"], None);
        let more = ban(2, totals(2, 0, 0, 0), &["203.0.113.2/32"], None);
        for cut in 0..more.len() {
            let told = replay(&[whole.as_bytes(), &more.as_bytes()[..cut]].concat(), "b1", at(3));
            assert_eq!((told.book.len(), told.problems.len()), (1, 0), "{cut}");
        }
        for noise in [
            "{}\n",
            "\0\0\n",
            "\n",
            &whole,
            "{\"at\":1}\n",
            &more.replace("2/32", "2/8"),
            &more.replace("2/32", "2/0"),
        ] {
            let text = whole.clone() + noise + &more;
            let told = replay(text.as_bytes(), "b1", at(3));
            assert_eq!((told.book.len(), told.problems.is_empty()), (2, false), "{noise}");
            assert!(told.problems[0].starts_with("line 3: "), "{:?}", told.problems);
        }
    }

    #[test]
    fn another_start_of_the_machine_goes_by_the_time_of_day() {
        let mut text = begin();
        text += &ban(100, totals(3, 0, 0, 0), &["203.0.113.1/32"], Some(110));
        text += &ban(101, totals(3, 0, 0, 0), &["203.0.113.2/32"], Some(200));
        text += &ban(102, totals(3, 0, 0, 0), &["203.0.113.3/32"], None);
        let started =
            |unix_seconds: u64| Moment { unix_ms: at(unix_seconds).unix_ms, boot_ns: 500 + 5 * SECOND };
        let told = |now| ends(&replay(text.as_bytes(), "b2", now).book);
        let expected = |list: &[(&str, Option<u64>)]| -> Vec<(String, Option<u64>)> {
            list.iter().map(|(prefix, until)| ((*prefix).to_owned(), *until)).collect()
        };
        // 48 seconds later: ten were 58 before, and of 98 are 50 left.
        assert_eq!(told(started(150)), expected(&[("203.0.113.2/32", Some(55)), ("203.0.113.3/32", None)]));
        // In a machine whose clock was set back by a day, no time has passed.
        let left = told(Moment { unix_ms: 0, ..started(0) });
        assert_eq!(
            left,
            expected(&[
                ("203.0.113.1/32", Some(13)),
                ("203.0.113.2/32", Some(103)),
                ("203.0.113.3/32", None)
            ])
        );
        assert_eq!(replay(text.as_bytes(), "b2", started(150)).book.totals.expired, 1);
    }
}
