//! What the writer does with bans: it makes and lifts them, and forgets those that are over.

use std::sync::Arc;

use anyhow::Result;
use foobar_common::bans::BANS_MAX;
use ipnet::IpNet;

use super::Spared;
use crate::{
    bans::{
        Made, Moment, Origin,
        book::{Planned, Totals},
        journal::{Group, What},
        never::Reach,
        report::BanReport,
        request::Problems,
    },
    control::protocol::{Changed, Refusal},
    daemon::{
        handle::{AskedBans, AskedLifts},
        writer::{Writer, failed},
    },
    dataplane::bans::now_ns,
    rules::{names::prefix_words, sets::edit::Covered},
};

/// Bans that are over and are removed from the kernel at a time: the program does not heed them any more, so there is no
/// hurry, and whoever asks for something else has to wait so long.
const REMOVED_AT_ONCE: usize = 1_000;
/// How many addresses and prefixes of a change the log names.
const NAMED: usize = 5;

impl Writer {
    /// Makes bans, and says in the log how that went. Nothing is banned if anything fails, or if something is refused
    /// and the others were not to be banned without it.
    pub(in crate::daemon) fn ban(&mut self, asked: AskedBans, by: &str) -> Result<Changed, Refusal> {
        let addresses = named(&asked.wanted.list.iter().map(|(prefix, _)| prefix).collect::<Vec<_>>());
        told("ban", &addresses, by, self.make_asked(asked, by))
    }

    /// Lifts bans, and says in the log how that went. All stay if anything fails.
    pub(in crate::daemon) fn lift(&mut self, asked: AskedLifts, by: &str) -> Result<Changed, Refusal> {
        let addresses = match &asked {
            AskedLifts::All => "all".to_owned(),
            AskedLifts::These(wanted) => named(&wanted.list.iter().collect::<Vec<_>>()),
        };
        told("unban", &addresses, by, self.lift_asked(asked))
    }

    fn make_asked(&mut self, asked: AskedBans, by: &str) -> Result<Changed, Refusal> {
        let AskedBans { wanted, partial, reason } = asked;
        let now = self.now_for_bans()?;
        let mut problems = wanted.problems;
        let failsafe = &self.rules.failsafe;
        let (mut allowed, mut spared) = (Vec::new(), 0);
        for (prefix, time) in wanted.list {
            if let Some(reach) = Reach::of(&prefix, failsafe) {
                problems.add(|| {
                    format!(
                        "{}\n   = leave it out, or take it out of the rules first",
                        reach.refusal(&prefix)
                    )
                });
                spared += 1;
                continue;
            }
            let until_ns = time.map(|time| {
                now.boot_ns
                    .saturating_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
                    .min(u64::MAX - 1)
            });
            allowed.push((prefix, until_ns));
        }
        if spared > 0 {
            let totals = Totals { refused: self.bans.book.totals.refused + spared, ..self.bans.book.totals };
            self.bans.write_down(now, totals, What::Refuse).map_err(failed)?;
            self.bans.book.totals = totals;
        }
        if problems.count > 0 && !partial {
            let all = allowed.len() + problems.count;
            return Err(Refusal::invalid(format!(
                "{}\nnothing is banned, as {} of {all} cannot be (--partial bans the others)",
                problems.words(),
                problems.count
            )));
        }
        let planned = self.bans.book.plan(allowed);
        let mut ends: Vec<Option<u64>> = planned.set.values().copied().collect();
        ends.dedup();
        let report = BanReport {
            banned: planned.made,
            extended: planned.set.len() - planned.made,
            unchanged: planned.unchanged.len(),
            until_unix_ms: if let [Some(until_ns)] = ends[..] {
                Some(now.unix_ms_at(until_ns))
            } else {
                None
            },
            ..refusals(problems)
        };
        let made = Made { unix_ms: now.unix_ms, origin: Origin::Command, by: by.to_owned(), reason };
        self.make(&planned, &Arc::new(made), now)?;
        Ok(self.bans_changed(report))
    }

    fn make(&mut self, planned: &Planned, made: &Arc<Made>, now: Moment) -> Result<(), Refusal> {
        let Planned { set, made: count, unchanged: _ } = planned;
        let (bans, room) = (&mut self.bans, BANS_MAX as usize);
        if bans.book.len() + count > room {
            return Err(Refusal::conflict(format!(
                "there is room for {room} bans: {} are in force, and {count} more are too many; nothing is banned. Ban the \
                 prefixes that they are in, or have them in a set that a rule drops (`foobar set replace`)",
                bans.book.len()
            )));
        }
        if set.is_empty() {
            return Ok(());
        }
        let maps = &mut self.filter.bans;
        if bans.book.len() + bans.leaving.len() + count > room {
            bans.remove_leaving(maps, bans.leaving.len()).map_err(failed)?;
        }
        let totals = Totals { made: bans.book.totals.made + *count as u64, ..bans.book.totals };
        let groups = Group::of(set.iter().map(|(prefix, until_ns)| (prefix, *until_ns, made)));
        bans.write_down(now, totals, What::Ban(groups)).map_err(failed)?;
        let told = set.iter().try_for_each(|(prefix, until_ns)| maps.set(prefix, *until_ns));
        if let Err(error) = told {
            bans.put_back(maps, &set.keys().copied().collect::<Vec<_>>(), now);
            return Err(failed(error.context("nothing is banned")));
        }
        for (prefix, until_ns) in set {
            bans.book.set(*prefix, *until_ns, made);
        }
        bans.book.totals = totals;
        bans.tell_lengths(maps).map_err(failed)
    }

    fn lift_asked(&mut self, asked: AskedLifts) -> Result<Changed, Refusal> {
        let now = self.now_for_bans()?;
        let book = &self.bans.book;
        let mut report = BanReport::default();
        let lifted: Vec<IpNet> = match asked {
            AskedLifts::All => book.iter().map(|(prefix, _)| *prefix).collect(),
            AskedLifts::These(wanted) => {
                if wanted.problems.count > 0 {
                    return Err(Refusal::invalid(format!("{}\nnothing is lifted", wanted.problems.words())));
                }
                let mut unique = wanted.list;
                unique.sort_unstable();
                unique.dedup();
                let (banned, absent): (Vec<_>, Vec<_>) =
                    unique.into_iter().partition(|prefix| book.get(prefix).is_some());
                report.absent = absent.iter().map(prefix_words).collect();
                banned
            }
        };
        report.lifted = lifted.len();
        self.unmake(&lifted, now).map_err(|error| failed(error.context("no ban is lifted")))?;
        let covered = lifted.iter().filter_map(|prefix| {
            let by = self.bans.book.covering(prefix)?;
            Some(Covered { entry: prefix_words(prefix), by: prefix_words(&by) })
        });
        report.covered = covered.collect();
        Ok(self.bans_changed(report))
    }

    fn unmake(&mut self, lifted: &[IpNet], now: Moment) -> Result<()> {
        if lifted.is_empty() {
            return Ok(());
        }
        let (bans, maps) = (&mut self.bans, &mut self.filter.bans);
        let totals = Totals { lifted: bans.book.totals.lifted + lifted.len() as u64, ..bans.book.totals };
        bans.write_down(now, totals, What::Lift(lifted.to_vec()))?;
        if let Err(error) = lifted.iter().try_for_each(|prefix| maps.lift(prefix)) {
            bans.put_back(maps, lifted, now);
            return Err(error);
        }
        for prefix in lifted {
            bans.book.remove(prefix);
        }
        bans.book.totals = totals;
        bans.tell_lengths(maps)
    }

    /// Lifts bans of those whom rules that have come into force name as not to be banned. (The program spares them
    /// already.) Gives what there is to say of it, for the end of a sentence.
    pub(in crate::daemon) fn spare(&mut self) -> String {
        const TOLD_MAX: usize = 5;
        let Spared { lifted, words } = Spared::of(&self.bans.book, &self.rules.failsafe);
        for words in &words {
            tracing::warn!("{words}");
        }
        let done = Moment::now((self.now)()).and_then(|now| self.unmake(&lifted, now));
        if let Err(error) = done {
            tracing::error!(
                "lift bans of who must not be banned: {error:#}; what they send is not dropped all the same"
            );
        }
        let sentence = words.iter().take(TOLD_MAX).fold(String::new(), |all, words| all + "; " + words);
        match words.len().checked_sub(TOLD_MAX) {
            Some(more @ 1..) => format!("{sentence}; {more} more like these are in the log"),
            _ => sentence,
        }
    }

    /// Forgets bans that are over.
    pub(in crate::daemon) fn tend_bans(&mut self) {
        let tended = now_ns().and_then(|now_ns| {
            let (bans, maps) = (&mut self.bans, &mut self.filter.bans);
            bans.expire(now_ns);
            bans.remove_leaving(maps, REMOVED_AT_ONCE)?;
            bans.tell_lengths(maps)
        });
        if let Err(error) = tended {
            tracing::warn!("remove bans that are over: {error:#}");
        }
    }

    /// Has the journal outlive a power cut, and written anew where it has grown.
    pub(in crate::daemon) fn tend_ban_journal(&mut self) {
        let tended = Moment::now((self.now)()).and_then(|now| {
            let bans = &mut self.bans;
            if bans.journal.has_grown() { bans.write_anew(now) } else { bans.journal.sync() }
        });
        if let Err(error) = tended {
            tracing::warn!("{error:#}");
        }
    }

    /// Whether bans that are over are still in the kernel.
    pub(in crate::daemon) fn has_leaving_bans(&self) -> bool {
        !self.bans.leaving.is_empty()
    }

    /// Enters what limits of rules have banned since the last look. A failure is said in the log, and the next look tries
    /// again: the kernel has the bans.
    pub(in crate::daemon) fn note_bans_by_rules(&mut self) {
        if let Err(error) = self.try_to_note_bans_by_rules() {
            tracing::warn!("enter bans that rules have made: {error:#}");
        }
    }

    fn try_to_note_bans_by_rules(&mut self) -> Result<()> {
        let now = Moment::now((self.now)())?;
        self.bans.note_by_rules(&self.filter.bans, now)
    }

    /// This moment, with what is over forgotten, and what rules have banned entered.
    fn now_for_bans(&mut self) -> Result<Moment, Refusal> {
        self.try_to_note_bans_by_rules().map_err(failed)?;
        let now = Moment::now((self.now)()).map_err(failed)?;
        self.bans.expire(now.boot_ns);
        Ok(now)
    }

    fn bans_changed(&self, mut report: BanReport) -> Changed {
        report.in_force = self.bans.book.len();
        Changed { bans: Some(report.clone()), ..self.changed(report.to_string()) }
    }
}

/// A report of what cannot be banned.
fn refusals(problems: Problems) -> BanReport {
    let Problems { count, told } = problems;
    BanReport { refused: count, why_refused: told, ..BanReport::default() }
}

/// The first of some prefixes, for the log.
fn named(prefixes: &[&IpNet]) -> String {
    let more = prefixes.len().saturating_sub(NAMED);
    let mut names: Vec<String> = prefixes.iter().take(NAMED).map(|prefix| prefix_words(prefix)).collect();
    if more > 0 {
        names.push(format!("{more} others"));
    }
    if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
}

/// A change of bans is none of the rules, so `status` goes on telling how the last one of these went.
fn told(
    event: &str,
    addresses: &str,
    by: &str,
    result: Result<Changed, Refusal>,
) -> Result<Changed, Refusal> {
    match &result {
        Ok(changed) => {
            tracing::info!(event, addresses, by, "{event} of {addresses} by {by}: {}", changed.message);
        }
        Err(refusal) => {
            tracing::error!(event, addresses, by, "{event} of {addresses} by {by} failed: {}", refusal.error);
        }
    }
    result
}
