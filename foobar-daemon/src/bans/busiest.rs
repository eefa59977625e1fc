//! Which bans stop most.

use std::{
    cmp::Reverse,
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use anyhow::Result;
use ipnet::IpNet;

use crate::{dataplane::bans::KernelBan, rates::per_second};

/// Between looks that come faster, nothing can be said of a rate.
const SPAN_LEAST: Duration = Duration::from_millis(50);

/// Those in force at this moment, as bans are measured by it, that have stopped most, and how many packets, the most first; at most `count`.
pub fn most(bans: Vec<KernelBan>, now: Duration, count: usize) -> Vec<(IpNet, u64)> {
    let have = bans.into_iter().filter(|ban| ban.packets > 0 && holds(ban, boot_ns(now)));
    first(have.map(|ban| (ban.prefix, ban.packets)).collect(), count, |(prefix, packets)| {
        (Reverse(*packets), *prefix)
    })
}

/// What a ban stops.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stopping {
    /// Of what it is.
    pub prefix: IpNet,
    /// All that it has stopped.
    pub packets: u64,
    /// Packets of late.
    pub recent: u64,
    /// The same per second.
    pub per_second: f64,
}

/// The last look at what bans have stopped, whoever looked: rates are those since then.
#[derive(Debug, Default)]
pub struct Looks(Mutex<Option<Look>>);

#[derive(Debug)]
struct Look {
    at: Duration,
    /// Of those that have stopped something.
    packets: HashMap<IpNet, u64>,
    /// What was said then.
    said: Vec<Stopping>,
}

impl Looks {
    /// Those in force that have stopped most since the last look, the most first; at most `count`. None at the first one. Who
    /// looks again at once is told what was told before.
    ///
    /// # Errors
    /// Those of reading the bans in the kernel, which nobody else does here meanwhile.
    pub fn look(
        &self,
        now: Duration,
        count: usize,
        read: impl FnOnce() -> Result<Vec<KernelBan>>,
    ) -> Result<Vec<Stopping>> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let span = last.as_ref().map(|last| now.saturating_sub(last.at));
        if let Some(last) = &*last
            && span < Some(SPAN_LEAST)
        {
            return Ok(last.said.clone());
        }
        let mut packets = HashMap::new();
        let mut moved = Vec::new();
        for ban in read()?.into_iter().filter(|ban| ban.packets > 0 && holds(ban, boot_ns(now))) {
            packets.insert(ban.prefix, ban.packets);
            let Some((last, span)) = last.as_ref().zip(span) else { continue };
            // One that was lifted and made anew counts anew.
            let before = last.packets.get(&ban.prefix).filter(|before| **before <= ban.packets);
            let before = before.copied().unwrap_or(0);
            if before < ban.packets {
                moved.push(Stopping {
                    prefix: ban.prefix,
                    packets: ban.packets,
                    recent: ban.packets - before,
                    per_second: per_second(before, ban.packets, span.as_secs_f64()),
                });
            }
        }
        let said = first(moved, count, |ban| (Reverse((ban.recent, ban.packets)), ban.prefix));
        *last = Some(Look { at: now, packets, said: said.clone() });
        Ok(said)
    }
}

fn boot_ns(now: Duration) -> u64 {
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}

fn holds(ban: &KernelBan, now_ns: u64) -> bool {
    ban.until_ns.is_none_or(|until_ns| now_ns < until_ns)
}

/// The first of them in the order of a key. Of very many, only these are put in order.
fn first<T, K: Ord>(mut all: Vec<T>, count: usize, key: impl Fn(&T) -> K) -> Vec<T> {
    if count < all.len() {
        all.select_nth_unstable_by_key(count, &key);
        all.truncate(count);
    }
    all.sort_by_key(key);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ban(last: u8, packets: u64) -> KernelBan {
        let prefix = IpNet::new([203, 0, 113, last].into(), 32).unwrap();
        KernelBan { prefix, until_ns: (last == 9).then_some(50_000_000), by_rule: None, packets }
    }

    #[test]
    fn those_that_have_stopped_most_come_first() {
        let bans = || vec![ban(1, 5), ban(2, 0), ban(3, 7), ban(4, 5), ban(5, 1), ban(9, 99)];
        let names = |milliseconds, count| {
            let told = |(prefix, packets): &(IpNet, u64)| format!("{} {packets}", prefix.addr());
            most(bans(), Duration::from_millis(milliseconds), count).iter().map(told).collect::<Vec<_>>()
        };
        assert_eq!(names(50, 3), ["203.0.113.3 7", "203.0.113.1 5", "203.0.113.4 5"]);
        assert_eq!(names(49, 2), ["203.0.113.9 99", "203.0.113.3 7"]);
        assert_eq!(names(50, 10).len(), 4);
        assert_eq!(names(50, 0).len(), 0);
    }

    #[test]
    fn rates_are_those_since_the_last_look() {
        let looks = Looks::default();
        let look = |milliseconds, bans: &[KernelBan]| -> Vec<(IpNet, u64, f64)> {
            let told = looks.look(Duration::from_millis(milliseconds), 2, || Ok(bans.to_vec()));
            told.unwrap().into_iter().map(|ban| (ban.prefix, ban.packets, ban.per_second)).collect()
        };
        let prefix = |last| ban(last, 0).prefix;
        assert_eq!(look(1_000, &[ban(1, 100), ban(2, 5)]), []);
        let told = [(prefix(3), 40, 20.0), (prefix(1), 120, 10.0)];
        assert_eq!(look(3_000, &[ban(1, 120), ban(2, 5), ban(3, 40), ban(4, 1), ban(9, 999)]), told);
        // At once, the same; it does not begin anew by that.
        assert_eq!(look(3_049, &[ban(1, 999)]), told);
        // One that was made anew, and one that is gone.
        assert_eq!(look(4_000, &[ban(1, 30), ban(2, 5)]), [(prefix(1), 30, 30.0)]);
        assert_eq!(look(5_000, &[ban(1, 30), ban(2, 5)]), []);
    }
}
