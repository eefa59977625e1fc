//! The bans of a daemon: book, journal and kernel, in step. The journal is written first: a daemon that is killed in
//! between starts with the change.

mod by_rules;
mod changes;

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    fs,
    sync::Arc,
    time::SystemTime,
};

use anyhow::{Context as _, Result, anyhow};
use foobar_common::bans::{BANS_MAX, BanCounters};
use ipnet::IpNet;

use crate::{
    bans::{
        Ban, Made, Moment, Origin,
        book::{Book, Counts, Totals},
        journal::{self, Record, What},
        never::Reach,
    },
    control::bans::BanCounts,
    dataplane::bans::{BanMaps, KernelBan, Lengths, now_ns},
    rules::{model::Failsafe, names::prefix_words, rule_id::RuleId},
    state::{bans::BanJournal, store::Store},
};

/// The bans of this daemon.
#[derive(Debug)]
pub struct Bans {
    book: Book,
    journal: BanJournal,
    /// Which start of the machine this is.
    boot: String,
    /// Bans that are over and may still be in the kernel.
    leaving: VecDeque<IpNet>,
    /// The lengths that the kernel was told.
    lengths: Lengths,
    /// Those that limits of the rules in force may ban.
    lengths_of_rules: Lengths,
    /// Ids of rules by counter slot: those of the rules in force, and of earlier ones that had other slots.
    rules: BTreeMap<u32, RuleId>,
    /// What programs had done with bans when the kernel's were last listed.
    seen: BanCounters,
    /// Whether the journal told all that an earlier daemon knew.
    is_complete: bool,
}

impl Bans {
    /// Reads what an earlier daemon left, and lifts what may not be banned any more. Whatever is wrong with that is said
    /// in the log: a filter without some bans is better than none.
    ///
    /// # Errors
    /// None that a kernel that foobar runs on has.
    pub fn read(store: &Store, failsafe: &Failsafe, time: SystemTime) -> Result<Self> {
        let boot =
            fs::read_to_string("/proc/sys/kernel/random/boot_id").context("read the id of this boot")?;
        let boot = boot.trim().to_owned();
        let now = Moment::now(time)?;
        let mut bans = Self {
            book: Book::default(),
            journal: store.ban_journal(),
            boot,
            leaving: VecDeque::new(),
            lengths: Lengths::default(),
            lengths_of_rules: Lengths::default(),
            rules: BTreeMap::new(),
            seen: BanCounters::default(),
            is_complete: false,
        };
        match store.ban_journal_bytes() {
            Ok(None) => {}
            Ok(Some(bytes)) => {
                let journal::Told { book, problems } = journal::replay(&bytes, &bans.boot, now);
                bans.book = book;
                bans.is_complete = problems.is_empty();
                if let Some(first) = problems.first() {
                    keep_aside(
                        store,
                        now,
                        &anyhow!("{} lines cannot be understood: {first}", problems.len()),
                    );
                    tracing::error!("{} bans that the other lines tell of are in force", bans.book.len());
                }
            }
            Err(error) => keep_aside(store, now, &error),
        }
        let Spared { lifted, words } = Spared::of(&bans.book, failsafe);
        for words in words {
            tracing::warn!("{words}");
        }
        for prefix in &lifted {
            bans.book.remove(prefix);
        }
        bans.book.totals.lifted += lifted.len() as u64;
        Ok(bans)
    }

    /// Has the kernel have the same bans. What it has besides is kept if a program made it, or if the journal does not
    /// tell all; else it was lifted when an earlier daemon ended.
    ///
    /// # Errors
    /// Those of the kernel.
    pub fn reconcile(&mut self, maps: &mut BanMaps, failsafe: &Failsafe, now: Moment) -> Result<()> {
        self.seen = maps.counters()?;
        let mut missing: BTreeMap<IpNet, Option<u64>> =
            self.book.iter().map(|(prefix, ban)| (*prefix, ban.until_ns)).collect();
        let mut kept = 0;
        for KernelBan { prefix, until_ns, by_rule, packets: _ } in maps.list()? {
            let is_over = until_ns.is_some_and(|until_ns| until_ns <= now.boot_ns);
            let is_unknown = !missing.contains_key(&prefix);
            let spares = matches!(Reach::of(&prefix, failsafe), Some(Reach::Inside(..)));
            let is_kept = (by_rule.is_some() || !self.is_complete) && !is_over && !spares;
            if missing.get(&prefix) == Some(&until_ns) {
                missing.remove(&prefix);
            } else if is_unknown && is_kept {
                let made = if let Some(slot) = by_rule {
                    self.book.totals.made += 1;
                    self.book.totals.by_rules += 1;
                    self.made_by_rule(slot, now)
                } else {
                    let by = "an earlier daemon, whose journal is lost".to_owned();
                    Made { unix_ms: now.unix_ms, origin: Origin::Command, by, reason: None }
                };
                self.book.set(prefix, until_ns, &Arc::new(made));
                kept += 1;
            } else if is_unknown {
                maps.lift(&prefix)?;
            }
        }
        for (prefix, until_ns) in missing {
            maps.set(&prefix, until_ns)?;
        }
        self.lengths = self.book.lengths().with(self.lengths_of_rules);
        maps.set_lengths(self.lengths)?;
        if kept > 0 {
            tracing::warn!("{kept} bans that the kernel has and the journal has not are kept");
        }
        Ok(())
    }

    /// Writes the journal anew. A failure is said in the log, and every ban that is asked for tries again.
    pub fn settle(&mut self, now: Moment) {
        if let Err(error) = self.write_anew(now) {
            tracing::error!("{error:#}; bans are in force, and can be changed once that succeeds");
        } else if !self.book.is_empty() {
            tracing::info!("{} bans are in force", self.book.len());
        }
    }

    /// How many there are, and what became of others.
    pub fn counts(&self) -> BanCounts {
        let Counts { addresses, prefixes } = self.book.counts();
        let Totals { made, by_rules, expired, lifted, refused } = self.book.totals;
        let room = u64::from(BANS_MAX);
        let no_room = self.seen.no_room;
        BanCounts { addresses, prefixes, room, made, by_rules, no_room, expired, lifted, refused }
    }

    /// How many the kernel has, those included that are over and not removed yet.
    pub fn in_kernel(&self) -> usize {
        self.book.len() + self.leaving.len()
    }

    /// Every one, in the order of addresses.
    pub fn list(&self) -> Vec<(IpNet, Ban)> {
        self.book.iter().map(|(prefix, ban)| (*prefix, ban.clone())).collect()
    }

    /// Those of these.
    pub fn of(&self, prefixes: &[IpNet]) -> HashMap<IpNet, Ban> {
        prefixes.iter().filter_map(|prefix| Some((*prefix, self.book.get(prefix)?.clone()))).collect()
    }

    fn write_anew(&mut self, now: Moment) -> Result<()> {
        self.journal.write_anew(&journal::snapshot(&self.book, &self.boot, now)?)
    }

    /// Writes down what happens, with the totals that there are then.
    fn write_down(&mut self, now: Moment, totals: Totals, what: What) -> Result<()> {
        if !self.journal.is_open() {
            self.write_anew(now)?;
        }
        self.journal.append(&Record { at: now, totals, what }.line()?)
    }

    /// Forgets what is over.
    fn expire(&mut self, now_ns: u64) {
        self.leaving.extend(self.book.expire(now_ns));
    }

    /// Removes some bans that are over from the kernel.
    fn remove_leaving(&mut self, maps: &mut BanMaps, count: usize) -> Result<()> {
        if self.leaving.is_empty() {
            return Ok(());
        }
        let now_ns = now_ns()?;
        for _ in 0..count {
            // One that cannot be removed is over all the same, and goes with the next start.
            let Some(prefix) = self.leaving.pop_front() else { break };
            if self.book.get(&prefix).is_none() {
                maps.lift_if_over(&prefix, now_ns)?;
            }
        }
        Ok(())
    }

    /// Tells the kernel of which lengths there are bans, if that is news.
    fn tell_lengths(&mut self, maps: &mut BanMaps) -> Result<()> {
        let lengths = self.book.lengths().with(self.lengths_of_rules);
        if lengths != self.lengths {
            maps.set_lengths(lengths)?;
            self.lengths = lengths;
        }
        Ok(())
    }

    /// After a failure: has the kernel have these as the book has them, which was not changed, and the journal too.
    fn put_back(&mut self, maps: &mut BanMaps, changed: &[IpNet], now: Moment) {
        for prefix in changed {
            let back = match self.book.get(prefix) {
                Some(ban) => maps.set(prefix, ban.until_ns),
                None => maps.lift(prefix),
            };
            if let Err(error) = back {
                tracing::error!("have bans be as they were: {error:#}; a restart of the daemon does");
                break;
            }
        }
        if let Err(error) = self.write_anew(now) {
            tracing::error!("remember that bans are as they were: {error:#}");
        }
    }
}

/// Bans that reach somebody who must not be banned.
struct Spared {
    /// Those that are to be lifted: they reach nobody else.
    lifted: Vec<IpNet>,
    /// What there is to say of all of them.
    words: Vec<String>,
}

impl Spared {
    fn of(book: &Book, failsafe: &Failsafe) -> Self {
        let mut spared = Self { lifted: Vec::new(), words: Vec::new() };
        for (prefix, _) in book.iter() {
            let name = || prefix_words(prefix);
            match Reach::of(prefix, failsafe) {
                None => {}
                Some(Reach::Inside(_, key)) => {
                    spared.words.push(format!("the ban of {} is lifted, as {key} names it", name()));
                    spared.lifted.push(*prefix);
                }
                Some(Reach::Around(inside, key)) => {
                    let inside = prefix_words(&inside);
                    spared
                        .words
                        .push(format!("the ban of {} does not reach {inside}, which {key} names", name()));
                }
            }
        }
        spared
    }
}

fn keep_aside(store: &Store, now: Moment, why: &anyhow::Error) {
    match store.keep_ban_journal_aside(now.unix_ms) {
        Ok(aside) => tracing::error!("read the journal of bans: {why:#}; it is kept as {}", aside.display()),
        Err(error) => tracing::error!("read the journal of bans: {why:#}; it is lost: {error:#}"),
    }
}
