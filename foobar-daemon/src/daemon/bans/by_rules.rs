//! Bans that limits of rules have made in the kernel, entered into the book and the journal.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use anyhow::Result;
use ipnet::IpNet;

use super::Bans;
use crate::{
    bans::{
        Made, Moment, Origin,
        book::Totals,
        journal::{Group, What},
    },
    dataplane::bans::{BanMaps, Lengths},
    rules::{compile::CompiledRuleset, rule_id::RuleId},
};

impl Bans {
    /// Goes on with rules that come into force, whose limits may ban: packets are asked for lengths that they name for as long
    /// as they are.
    pub fn follow(&mut self, compiled: &CompiledRuleset) {
        self.lengths_of_rules = Lengths::of_limits(&compiled.limits);
        // A packet that was on its way may have been judged by a rule that there is no more.
        self.rules.extend(compiled.slots.rules.iter().map(|(id, owned)| (owned.slot, id.clone())));
    }

    /// Enters bans that limits of rules have made since the last look. Where there are none, this is one look at how many
    /// there were.
    ///
    /// # Errors
    /// Those of the kernel and of the journal; the next look tries again.
    pub(super) fn note_by_rules(&mut self, maps: &BanMaps, now: Moment) -> Result<()> {
        let counters = maps.counters()?;
        if counters.made == self.seen.made {
            self.seen = counters;
            return Ok(());
        }
        // What is over and not entered by now was made and ended between two looks.
        self.expire(now.boot_ns);
        let leaving: BTreeSet<IpNet> = self.leaving.iter().copied().collect();
        let mut makers: BTreeMap<u32, Arc<Made>> = BTreeMap::new();
        let mut found: BTreeMap<IpNet, (Option<u64>, Arc<Made>)> = BTreeMap::new();
        for ban in maps.list()? {
            let Some(slot) = ban.by_rule else { continue };
            let is_over = ban.until_ns.is_some_and(|until_ns| until_ns <= now.boot_ns);
            if self.book.get(&ban.prefix).is_some() || (is_over && leaving.contains(&ban.prefix)) {
                continue;
            }
            let made = makers.entry(slot).or_insert_with(|| Arc::new(self.made_by_rule(slot, now)));
            found.insert(ban.prefix, (ban.until_ns, Arc::clone(made)));
        }
        if !found.is_empty() {
            let count = found.len() as u64;
            let Totals { made, by_rules, .. } = self.book.totals;
            let totals = Totals { made: made + count, by_rules: by_rules + count, ..self.book.totals };
            let bans = found.iter().map(|(prefix, (until_ns, made))| (prefix, *until_ns, made));
            self.write_down(now, totals, What::Ban(Group::of(bans)))?;
            for (prefix, (until_ns, made)) in &found {
                self.book.set(*prefix, *until_ns, made);
            }
            self.book.totals = totals;
            for made in makers.values() {
                let banned = found.values().filter(|(_, by)| Arc::ptr_eq(by, made)).count();
                let rule = &made.by;
                tracing::info!(event = "ban", rule, "the limit of rule {rule} banned {banned}");
            }
        }
        self.seen = counters;
        Ok(())
    }

    /// Who made a ban that has the counter slot of a rule.
    pub(super) fn made_by_rule(&self, slot: u32, now: Moment) -> Made {
        let by = self.rules.get(&slot).map_or("a rule that is no more", RuleId::as_str).to_owned();
        Made { unix_ms: now.unix_ms, origin: Origin::Kernel, by, reason: None }
    }
}
