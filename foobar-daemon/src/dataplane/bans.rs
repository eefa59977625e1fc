//! The bans in the kernel.

use anyhow::{Context as _, Result};
use aya::maps::{Array, HashMap, Map, MapData, MapError, PerCpuArray};
use foobar_common::{
    address::Address,
    bans::{Ban, BanCounters, BanKey, BanLengths, FOREVER},
    flow::Family,
    limit::Limit,
    maps,
    rule::NO_RULE,
};
use ipnet::IpNet;
use nix::{
    libc,
    time::{ClockId, clock_gettime},
};

use super::{batches, features, load::LoadedRuleset};

/// Of `include/uapi/linux/bpf.h`: enters nothing where something is.
const BPF_NOEXIST: u64 = 1;

/// Both families, in the order of the map of lengths.
const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

/// The maps of bans, which every ruleset of the same pins shares.
pub struct BanMaps {
    bans: HashMap<MapData, BanKey, Ban>,
    /// The same, to be looked through.
    all: Map,
    lengths: Array<MapData, BanLengths>,
    counters: PerCpuArray<MapData, BanCounters>,
}

/// A ban as the kernel has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelBan {
    /// Of what.
    pub prefix: IpNet,
    /// When it ends, in nanoseconds since the machine started; `None`: it does not.
    pub until_ns: Option<u64>,
    /// Counter slot of the rule whose limit made it, if a program did.
    pub by_rule: Option<u32>,
    /// Packets that it stopped.
    pub packets: u64,
}

impl KernelBan {
    /// What an entry of the map says. Whoever else writes to the map may have written anything.
    fn of(key: &BanKey, ban: &Ban) -> Option<Self> {
        let Ban { until_ns, rule, padding: _, packets } = *ban;
        Some(Self {
            prefix: prefix(key)?,
            until_ns: (until_ns != FOREVER).then_some(until_ns),
            by_rule: (rule != NO_RULE).then_some(rule),
            packets,
        })
    }
}

impl BanMaps {
    /// Opens those of a loaded ruleset.
    pub(super) fn of(loaded: &LoadedRuleset) -> Result<Self> {
        Ok(Self {
            all: loaded.second_handle(maps::BANS)?,
            bans: HashMap::try_from(loaded.second_handle(maps::BANS)?).context("open the map of bans")?,
            lengths: Array::try_from(loaded.second_handle(maps::BAN_LENGTHS)?)
                .context("open the lengths of bans")?,
            counters: PerCpuArray::try_from(loaded.second_handle(maps::BAN_COUNTERS)?)
                .context("open the counters of bans")?,
        })
    }

    /// Bans an address or a prefix, or has its ban end at another time. Packets are asked for it once the
    /// [lengths](Self::set_lengths) say so. A ban that is there goes on with what it has counted; packets that it stops
    /// between the look at that and the change are not counted.
    ///
    /// # Errors
    /// When there is no room, or no memory: the ban of this address, if there was one, stays.
    pub fn set(&mut self, prefix: &IpNet, until_ns: Option<u64>) -> Result<()> {
        let (key, ban) = (key(prefix), Ban::new(until_ns.unwrap_or(FOREVER), NO_RULE));
        let set = match self.bans.insert(key, ban, BPF_NOEXIST) {
            Err(error) if is_there(&error) => {
                // A program removes none, so that the ban is there still, unless somebody else writes to the map.
                let packets = self.bans.get(&key, 0).map_or(0, |before| before.packets);
                self.bans.insert(key, Ban { packets, ..ban }, 0)
            }
            set => set,
        };
        set.with_context(|| format!("have the kernel ban {prefix}"))
    }

    /// Lifts a ban, if there is one.
    pub fn lift(&mut self, prefix: &IpNet) -> Result<()> {
        match self.bans.remove(&key(prefix)) {
            Ok(()) | Err(MapError::KeyNotFound) => Ok(()),
            Err(error) => Err(error).with_context(|| format!("have the kernel lift the ban of {prefix}")),
        }
    }

    /// Lifts a ban that is over, if there is one; one that a program has made anew stays.
    pub fn lift_if_over(&mut self, prefix: &IpNet, now_ns: u64) -> Result<()> {
        match self.bans.get(&key(prefix), 0) {
            Ok(ban) if ban.holds(now_ns) => Ok(()),
            Ok(_) => self.lift(prefix),
            Err(MapError::KeyNotFound) => Ok(()),
            Err(error) => Err(error).with_context(|| format!("look up the ban of {prefix}")),
        }
    }

    /// What programs did with bans, on all processors. Whatever is counted here is among those that are
    /// [listed](Self::list) later.
    pub fn counters(&self) -> Result<BanCounters> {
        let mut sum = BanCounters::default();
        let counters = self.counters.get(&0, 0).context("read the counters of bans")?;
        for BanCounters { made, no_room } in counters.iter() {
            sum.made = sum.made.wrapping_add(*made);
            sum.no_room = sum.no_room.wrapping_add(*no_room);
        }
        Ok(sum)
    }

    /// Adds lengths to those that there may be bans of.
    pub(super) fn add_lengths(&mut self, lengths: Lengths) -> Result<()> {
        let mut all = lengths;
        for (family, lengths) in FAMILIES.into_iter().zip(&mut all.0) {
            let present = self.lengths.get(&BanLengths::entry(family as u32), 0);
            *lengths = lengths.with(present.context("read of which lengths there are bans")?);
        }
        self.set_lengths(all)
    }

    /// Says of which lengths there are bans: packets are asked for no others.
    pub fn set_lengths(&mut self, lengths: Lengths) -> Result<()> {
        for (family, lengths) in FAMILIES.into_iter().zip(lengths.0) {
            let entry = BanLengths::entry(family as u32);
            self.lengths.set(entry, lengths, 0).context("tell the kernel of which lengths there are bans")?;
        }
        Ok(())
    }

    /// All of them, also those that are over.
    pub fn list(&self) -> Result<Vec<KernelBan>> {
        self.list_those(|_| true)
    }

    /// Those that have stopped something, also if they are over.
    pub fn list_stopping(&self) -> Result<Vec<KernelBan>> {
        self.list_those(|ban| ban.packets > 0)
    }

    fn list_those(&self, are_wanted: impl Fn(&Ban) -> bool) -> Result<Vec<KernelBan>> {
        let mut list = Vec::new();
        batches::each(features::map_data(&self.all)?, |key: &BanKey, ban: &Ban| {
            if are_wanted(ban) {
                list.extend(KernelBan::of(key, ban));
            }
            Ok(())
        })
        .context("read the bans in the kernel")?;
        Ok(list)
    }
}

/// Of which lengths there are bans of each family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lengths([BanLengths; 2]);

impl Lengths {
    /// Those of these bans.
    pub fn of(prefixes: impl IntoIterator<Item = IpNet>) -> Self {
        let mut lengths = Self::default();
        for prefix in prefixes {
            lengths.add(&prefix);
        }
        lengths
    }

    /// Those that limits of rules may ban.
    pub fn of_limits(limits: &[(u32, Limit)]) -> Self {
        let mut all = Self::default();
        for (_, limit) in limits.iter().filter(|(_, limit)| limit.ban_ns != 0) {
            for ((family, lengths), length) in FAMILIES.into_iter().zip(&mut all.0).zip(limit.lengths) {
                lengths.add(&BanKey { address: Address::NONE, length, family: family as u32 });
            }
        }
        all
    }

    /// All that these or the others have.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        let ([v4, v6], [other_v4, other_v6]) = (self.0, other.0);
        Self([v4.with(other_v4), v6.with(other_v6)])
    }

    /// Adds the length of a prefix.
    pub fn add(&mut self, prefix: &IpNet) {
        let [v4, v6] = &mut self.0;
        match prefix {
            IpNet::V4(_) => v4.add(&key(prefix)),
            IpNet::V6(_) => v6.add(&key(prefix)),
        }
    }
}

/// The time that bans are measured by, in nanoseconds since the machine started, time asleep included.
///
/// # Errors
/// None that a kernel that foobar runs on has.
pub fn now_ns() -> Result<u64> {
    let now = clock_gettime(ClockId::CLOCK_BOOTTIME).context("read the time since the machine started")?;
    Ok(u64::try_from(std::time::Duration::from(now).as_nanos()).unwrap_or(u64::MAX))
}

/// Whether the kernel did not enter something as there was an entry.
fn is_there(error: &MapError) -> bool {
    matches!(error, MapError::SyscallError(error) if error.io_error.raw_os_error() == Some(libc::EEXIST))
}

fn key(prefix: &IpNet) -> BanKey {
    let family = match prefix {
        IpNet::V4(_) => Family::V4,
        IpNet::V6(_) => Family::V6,
    };
    let (address, length) = (Address::from(prefix.network()), u32::from(prefix.prefix_len()));
    BanKey { address, length, family: family as u32 }
}

fn prefix(key: &BanKey) -> Option<IpNet> {
    let BanKey { address, length, family } = *key;
    let family = FAMILIES.into_iter().find(|one| *one as u32 == family)?;
    let prefix = IpNet::new(address.ip(family), u8::try_from(length).ok()?).ok()?;
    (self::key(&prefix) == *key).then_some(prefix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_prefixes_are_the_same_thing() {
        for text in [
            "203.0.113.7/32",
            "203.0.112.0/20",
            "128.0.0.0/1",
            "2001:db8::1/128",
            "2001:db8::/32",
            "8000::/1",
        ] {
            let known: IpNet = text.parse().unwrap();
            assert_eq!(prefix(&key(&known)), Some(known), "{text}");
            let of_packet = match known {
                IpNet::V4(net) if net.prefix_len() == 32 => BanKey::whole(Family::V4, known.addr().into()),
                IpNet::V6(net) if net.prefix_len() == 128 => BanKey::whole(Family::V6, known.addr().into()),
                IpNet::V4(_) | IpNet::V6(_) => {
                    BanKey::prefix(key(&known).family, known.broadcast().into(), known.prefix_len().into())
                }
            };
            assert_eq!(
                of_packet,
                key(&known),
                "what the kernel makes of a packet from {}",
                known.broadcast()
            );
        }
        let one = key(&"203.0.113.7/32".parse().unwrap());
        for wrong in [BanKey { length: 33, ..one }, BanKey { length: 24, ..one }, BanKey { family: 5, ..one }]
        {
            assert_eq!(prefix(&wrong), None);
        }
    }

    #[test]
    fn lengths_are_those_of_some_ban() {
        let nets = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<IpNet>>();
        let Lengths([v4, v6]) =
            Lengths::of(nets(&["203.0.113.7/32", "203.0.113.0/24", "2001:db8::/32", "::/127"]));
        assert_eq!(v4, BanLengths { whole: 1, prefixes: [1 << 24, 0] });
        assert_eq!(v6, BanLengths { whole: 0, prefixes: [1 << 32, 1 << 63] });
        let Lengths([v4, v6]) = Lengths::of(nets(&["2001:db8::1/128", "2001:db8::/64"]));
        assert_eq!((v4.is_empty(), v6), (true, BanLengths { whole: 1, prefixes: [0, 1] }));
    }
}
