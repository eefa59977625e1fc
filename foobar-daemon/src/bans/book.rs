//! The bans that there are, and how many there have been.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{Ban, Made};
use crate::dataplane::bans::Lengths;

/// All bans.
#[derive(Clone, Debug, Default)]
pub struct Book {
    bans: BTreeMap<IpNet, Ban>,
    /// Those that end, the first to end first.
    ends: BTreeSet<(u64, IpNet)>,
    /// How many there are of each kind.
    kinds: BTreeMap<BanKind, usize>,
    /// What became of bans up to now.
    pub totals: Totals,
}

/// Bans that are looked up in the same way: of one family (IPv4 first), with one length of the prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct BanKind {
    is_v6: bool,
    length: u8,
}

impl BanKind {
    fn of(prefix: &IpNet) -> Self {
        Self { is_v6: matches!(prefix, IpNet::V6(_)), length: prefix.prefix_len() }
    }
}

/// What became of bans, since the state folder was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Totals {
    /// Addresses and prefixes that were banned.
    pub made: u64,
    /// How many of these limits of rules made.
    #[serde(default)]
    pub by_rules: u64,
    /// Bans whose time was over.
    pub expired: u64,
    /// Bans that somebody lifted.
    pub lifted: u64,
    /// Bans that were asked for and would have reached who must not be banned.
    pub refused: u64,
}

/// How many bans there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Of single addresses: IPv4, IPv6.
    pub addresses: [u64; 2],
    /// Of prefixes: IPv4, IPv6.
    pub prefixes: [u64; 2],
}

impl Counts {
    /// All together.
    pub fn all(&self) -> u64 {
        self.addresses.iter().chain(&self.prefixes).sum()
    }
}

/// What a request to ban comes to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Planned {
    /// Bans that are new or end later than before, with their ends.
    pub set: BTreeMap<IpNet, Option<u64>>,
    /// How many of these are new.
    pub made: usize,
    /// What was banned for as long already.
    pub unchanged: BTreeSet<IpNet>,
}

impl Book {
    /// How many bans there are.
    pub fn len(&self) -> usize {
        self.bans.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.bans.is_empty()
    }

    /// The ban of this very address or prefix.
    pub fn get(&self, prefix: &IpNet) -> Option<&Ban> {
        self.bans.get(prefix)
    }

    /// All of them, in the order of addresses.
    pub fn iter(&self) -> impl Iterator<Item = (&IpNet, &Ban)> {
        self.bans.iter()
    }

    /// Of which lengths there are bans.
    pub fn lengths(&self) -> Lengths {
        // One ban of each kind is enough.
        let some = self.kinds.keys().filter_map(|BanKind { is_v6, length }| {
            let any = if *is_v6 { [0_u8; 16].into() } else { std::net::IpAddr::from([0_u8; 4]) };
            IpNet::new(any, *length).ok()
        });
        Lengths::of(some)
    }

    /// How many there are of each kind.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for (BanKind { is_v6, length }, count) in &self.kinds {
            let longest = if *is_v6 { 128 } else { 32 };
            let of_kind = if *length == longest { &mut counts.addresses } else { &mut counts.prefixes };
            of_kind[usize::from(*is_v6)] += *count as u64;
        }
        counts
    }

    /// The widest ban of another prefix that reaches all of this.
    pub fn covering(&self, prefix: &IpNet) -> Option<IpNet> {
        let BanKind { is_v6, length } = BanKind::of(prefix);
        let shorter = self.kinds.range(BanKind { is_v6, length: 0 }..BanKind { is_v6, length });
        let wider =
            shorter.filter_map(|(kind, _)| Some(IpNet::new(prefix.addr(), kind.length).ok()?.trunc()));
        wider.into_iter().find(|wider| self.bans.contains_key(wider))
    }

    /// What becomes of these when they are to be banned until then. A ban never gets shorter by another one.
    pub fn plan(&self, wanted: impl IntoIterator<Item = (IpNet, Option<u64>)>) -> Planned {
        let mut planned = Planned::default();
        for (prefix, until_ns) in wanted {
            let before = self.bans.get(&prefix);
            let present = planned.set.get(&prefix).copied().or_else(|| before.map(|ban| ban.until_ns));
            if present.is_some_and(|present| is_at_least(present, until_ns)) {
                if !planned.set.contains_key(&prefix) {
                    planned.unchanged.insert(prefix);
                }
                continue;
            }
            planned.unchanged.remove(&prefix);
            let first = planned.set.insert(prefix, until_ns).is_none();
            planned.made += usize::from(first && before.is_none());
        }
        planned
    }

    /// Bans, or has a ban end at another time.
    pub fn set(&mut self, prefix: IpNet, until_ns: Option<u64>, made: &Arc<Made>) {
        self.remove(&prefix);
        self.ends.extend(until_ns.map(|until_ns| (until_ns, prefix)));
        *self.kinds.entry(BanKind::of(&prefix)).or_default() += 1;
        self.bans.insert(prefix, Ban { until_ns, made: Arc::clone(made) });
    }

    /// Forgets a ban, and gives it.
    pub fn remove(&mut self, prefix: &IpNet) -> Option<Ban> {
        let ban = self.bans.remove(prefix)?;
        if let Some(until_ns) = ban.until_ns {
            self.ends.remove(&(until_ns, *prefix));
        }
        let kind = BanKind::of(prefix);
        if let Some(count) = self.kinds.get_mut(&kind) {
            *count -= 1;
            if *count == 0 {
                self.kinds.remove(&kind);
            }
        }
        Some(ban)
    }

    /// Forgets bans that are over, and gives what they were of. They count as expired.
    pub fn expire(&mut self, now_ns: u64) -> Vec<IpNet> {
        let mut over = Vec::new();
        while let Some((until_ns, prefix)) = self.ends.first().copied()
            && until_ns <= now_ns
        {
            self.remove(&prefix);
            over.push(prefix);
        }
        self.totals.expired += over.len() as u64;
        over
    }
}

/// Whether an end is not before another one.
fn is_at_least(one: Option<u64>, other: Option<u64>) -> bool {
    one.unwrap_or(u64::MAX) >= other.unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bans::Origin;

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    fn made() -> Arc<Made> {
        Arc::new(Made { unix_ms: 1, origin: Origin::Command, by: "a test".to_owned(), reason: None })
    }

    fn book(bans: &[(&str, Option<u64>)]) -> Book {
        let mut book = Book::default();
        for (prefix, until_ns) in bans {
            book.set(net(prefix), *until_ns, &made());
        }
        book
    }

    #[test]
    fn a_ban_never_gets_shorter_by_another_one() {
        let book = book(&[("203.0.113.1/32", Some(10)), ("203.0.113.2/32", None)]);
        let wanted = [
            ("203.0.113.1/32", Some(9)),
            ("203.0.113.1/32", Some(11)),
            ("203.0.113.1/32", Some(10)),
            ("203.0.113.2/32", Some(99)),
            ("203.0.113.3/32", Some(5)),
            ("203.0.113.3/32", None),
            ("203.0.113.3/32", Some(7)),
        ];
        let planned = book.plan(wanted.map(|(prefix, until_ns)| (net(prefix), until_ns)));
        let set = BTreeMap::from([(net("203.0.113.1/32"), Some(11)), (net("203.0.113.3/32"), None)]);
        assert_eq!(planned, Planned { set, made: 1, unchanged: [net("203.0.113.2/32")].into() });
    }

    #[test]
    fn bans_end_in_their_order_and_only_once() {
        let mut book =
            book(&[("203.0.113.1/32", Some(10)), ("2001:db8::/64", Some(5)), ("203.0.113.2/32", None)]);
        book.set(net("2001:db8::/64"), Some(7), &made());
        assert_eq!(book.expire(6), []);
        assert_eq!(book.expire(7), [net("2001:db8::/64")]);
        assert_eq!(book.expire(u64::MAX), [net("203.0.113.1/32")]);
        assert_eq!((book.len(), book.totals.expired), (1, 2));
        assert_eq!(book.remove(&net("203.0.113.1/32")), None);
    }

    #[test]
    fn kinds_are_counted_up_and_down() {
        let mut book = book(&[
            ("203.0.113.1/32", None),
            ("203.0.113.2/32", None),
            ("203.0.113.0/24", None),
            ("2001:db8::/64", None),
            ("2001:db8::1/128", None),
        ]);
        assert_eq!(book.counts(), Counts { addresses: [2, 1], prefixes: [1, 1] });
        assert_eq!(book.lengths(), Lengths::of(book.iter().map(|(prefix, _)| *prefix)));
        assert_eq!(book.covering(&net("203.0.113.1/32")), Some(net("203.0.113.0/24")));
        assert_eq!(book.covering(&net("203.0.113.0/24")), None);
        assert_eq!(book.covering(&net("2001:db8:0:1::/64")), None);
        for prefix in ["203.0.113.1/32", "203.0.113.0/24", "2001:db8::1/128"] {
            book.remove(&net(prefix));
        }
        assert_eq!(book.counts(), Counts { addresses: [1, 0], prefixes: [0, 1] });
        assert_eq!(book.counts().all(), 2);
        assert_eq!(book.lengths(), Lengths::of([net("203.0.113.2/32"), net("2001:db8::/64")]));
    }
}
