//! Prefixes of several sets, inside each other, to prefixes of which the longest tells all.

use std::collections::BTreeMap;

use ipnet::IpNet;

use super::Combinations;
use crate::rules::{model::AddressSet, prefix::Prefix};

/// A prefix, and the combination of sets that those addresses are in for which it is the longest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) prefix: Prefix,
    pub(super) class: u32,
}

/// The prefixes of one family that have to be stored. One that changes nothing does not.
pub(super) fn stored(
    sets: &BTreeMap<&str, &AddressSet>,
    is_v4: bool,
    combinations: &mut Combinations,
) -> Vec<Stored> {
    let named = if is_v4 { named_v4(sets) } else { named_v6(sets) };
    let mut stored = Vec::new();
    // The prefixes that contain the present one, outermost first, with the sets of all of them.
    let mut open: Vec<Stored> = Vec::new();
    let mut rest = &named[..];
    while let Some((prefix, _)) = rest.first().copied() {
        while open.last().is_some_and(|outer| !outer.prefix.contains(prefix)) {
            open.pop();
        }
        let outer = open.last().map_or(foobar_common::sets::NO_SET, |outer| outer.class);
        let mut class = outer;
        while let Some(((next, set), others)) = rest.split_first()
            && *next == prefix
        {
            class = combinations.with(class, *set);
            rest = others;
        }
        if class != outer {
            stored.push(Stored { prefix, class });
            open.push(Stored { prefix, class });
        }
    }
    stored
}

/// Each prefix of IPv4 with the number of its set, by address, shorter ones first.
fn named_v4(sets: &BTreeMap<&str, &AddressSet>) -> Vec<(Prefix, u32)> {
    const SET_BITS: u32 = 26;
    // Packed into one number each, for the sake of sorting a million of them.
    let mut packed: Vec<u64> = Vec::new();
    for (number, set) in (0_u64..).zip(sets.values()) {
        packed.extend(set.entries.iter().filter_map(|net| match net {
            IpNet::V4(net) => {
                let (bits, length) = (u64::from(net.network().to_bits()), u64::from(net.prefix_len()));
                Some(bits << 32 | length << SET_BITS | number)
            }
            IpNet::V6(_) => None,
        }));
    }
    packed.sort_unstable();
    let unpacked = |packed: u64| {
        let [.., length_high, _, _, _] = packed.to_be_bytes();
        let prefix = Prefix { bits: u128::from(packed >> 32) << 96, length: length_high >> 2 };
        (prefix, (packed & ((1 << SET_BITS) - 1)) as u32)
    };
    packed.into_iter().map(unpacked).collect()
}

/// The same for IPv6.
fn named_v6(sets: &BTreeMap<&str, &AddressSet>) -> Vec<(Prefix, u32)> {
    let mut named: Vec<(Prefix, u32)> = Vec::new();
    for (number, set) in (0..).zip(sets.values()) {
        let of_family = set.entries.iter().filter(|net| matches!(net, IpNet::V6(_)));
        named.extend(of_family.map(|net| (Prefix::of(net), number)));
    }
    named.sort_unstable();
    named
}
