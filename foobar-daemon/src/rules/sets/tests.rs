//! The table against a plain search.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::{
    collection::vec,
    prelude::{Strategy, any, prop_assert_eq, prop_oneof, proptest},
};

use super::*;

fn set(entries: impl IntoIterator<Item = IpNet>) -> AddressSet {
    AddressSet { entries: entries.into_iter().collect(), ..AddressSet::default() }
}

fn table(sets: &BTreeMap<&str, &AddressSet>) -> SetTable {
    SetTable::of(sets, Combinations::of(sets.keys().map(ToString::to_string).collect()), digest(sets))
        .unwrap()
}

/// The names of the sets that an address is in, by the table.
fn found(table: &SetTable, address: IpAddr) -> BTreeSet<&str> {
    let class = table.class(address).unwrap();
    table.facts.combinations.names().nth(class as usize).unwrap()
}

fn expected<'s>(sets: &BTreeMap<&'s str, &AddressSet>, address: IpAddr) -> BTreeSet<&'s str> {
    let is_in = |set: &AddressSet| set.entries.iter().any(|entry| entry.contains(&address));
    sets.iter().filter(|(_, set)| is_in(set)).map(|(name, _)| *name).collect()
}

/// First and last address of each entry, and their neighbours outside.
fn edges(sets: &BTreeMap<&str, &AddressSet>) -> Vec<IpAddr> {
    let around = |entry: &IpNet| -> Vec<IpAddr> {
        match entry {
            IpNet::V4(net) => {
                let (first, last) = (net.network().to_bits(), net.broadcast().to_bits());
                [first, last, first.wrapping_sub(1), last.wrapping_add(1)]
                    .map(|bits| IpAddr::V4(Ipv4Addr::from_bits(bits)))
                    .to_vec()
            }
            IpNet::V6(net) => {
                let (first, last) = (net.network().to_bits(), net.broadcast().to_bits());
                [first, last, first.wrapping_sub(1), last.wrapping_add(1)]
                    .map(|bits| IpAddr::V6(Ipv6Addr::from_bits(bits)))
                    .to_vec()
            }
        }
    };
    sets.values().flat_map(|set| &set.entries).flat_map(around).collect()
}

fn entry() -> impl Strategy<Value = IpNet> {
    let v4 = (any::<u32>(), 0_u8..=32, any::<bool>()).prop_map(|(bits, length, close)| {
        let bits = if close { 0xc000_0200 | bits & 0xff } else { bits };
        IpNet::new(Ipv4Addr::from_bits(bits).into(), length).unwrap().trunc()
    });
    let v6 = (any::<u128>(), 0_u8..=128, any::<bool>()).prop_map(|(bits, length, close)| {
        let bits = if close { 0x2001_0db8 << 96 | bits & 0xffff } else { bits };
        IpNet::new(Ipv6Addr::from_bits(bits).into(), length).unwrap().trunc()
    });
    prop_oneof![v4, v6]
}

proptest! {
    #[test]
    fn every_address_is_in_the_sets_that_a_plain_search_says(
        one in vec(entry(), 0..60), two in vec(entry(), 0..60), three in vec(entry(), 0..4),
    ) {
        let (one, two, three) = (set(one), set(two), set(three));
        let sets = BTreeMap::from([("one", &one), ("two", &two), ("three", &three)]);
        let table = table(&sets);
        for address in edges(&sets) {
            prop_assert_eq!(found(&table, address), expected(&sets, address), "{}", address);
        }
    }
}

#[test]
fn many_prefixes_of_every_length_are_all_found() {
    let spread = |number: u128| number.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c834);
    let v4 = (0..20_000_u128).map(|number| {
        let length = 8 + (number % 25) as u8;
        IpNet::new(Ipv4Addr::from_bits((spread(number) >> 96) as u32).into(), length).unwrap().trunc()
    });
    let v6 = (0..20_000_u128).map(|number| {
        let length = 16 + (number % 113) as u8;
        IpNet::new(Ipv6Addr::from_bits(spread(number)).into(), length).unwrap().trunc()
    });
    let (v4, v6) = (set(v4), set(v6));
    let sets = BTreeMap::from([("v4", &v4), ("v6", &v6)]);
    let table = table(&sets);
    assert!(table.facts.stored > 20_000, "{}", table.facts.stored);
    // A plain search that is fast enough: by length.
    let mut by_length: BTreeMap<(bool, u8), BTreeSet<IpNet>> = BTreeMap::new();
    for entry in v4.entries.iter().chain(&v6.entries) {
        by_length.entry((entry.network().is_ipv4(), entry.prefix_len())).or_default().insert(*entry);
    }
    for address in edges(&sets) {
        let is_in = by_length.iter().any(|((is_v4, length), entries)| {
            address.is_ipv4() == *is_v4 && entries.contains(&IpNet::new(address, *length).unwrap().trunc())
        });
        let name = if address.is_ipv4() { "v4" } else { "v6" };
        let expected = if is_in { BTreeSet::from([name]) } else { BTreeSet::new() };
        assert_eq!(found(&table, address), expected, "{address}");
    }
}

#[test]
fn no_sets_at_all_are_a_table_too() {
    let table = table(&BTreeMap::new());
    for address in ["0.0.0.0", "255.255.255.255", "::", "2001:db8::1"] {
        assert_eq!(table.class(address.parse().unwrap()), Some(0));
    }
    assert!(table.lines.len() < 16, "{}", table.lines.len());
}

#[test]
fn entries_that_repeat_or_nest_are_stored_once() {
    let entries = ["192.0.2.0/24", "192.0.2.0/24", "192.0.2.7/32", "2001:db8::/32", "2001:db8:1::/48"];
    let set = set(entries.map(|text| text.parse().unwrap()));
    let table = table(&BTreeMap::from([("set", &set)]));
    assert_eq!((table.facts.entries, table.facts.stored), (5, 2));
}
