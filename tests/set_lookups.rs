//! The kernel finds in each set just the addresses that a plain search finds there: at both ends of each entry, one
//! address beside them, and elsewhere; as source and as destination.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    env,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Instant,
};

use foobar_common::{flow::Direction, verdict::Verdict};
use foobar_daemon::{
    dataplane::{load::LoadedRuleset, test_runs::TestRuns},
    rules::{
        compile::compile,
        model::{AddressCondition, AddressMatch, AddressSet, Rule, Ruleset},
    },
    slots::Slots,
};
use foobar_tests::{edges::around, figures::say, packets, random::Random, rulesets::INTERFACE};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// The sets of every ruleset here.
const SETS: [&str; 3] = ["one", "other", "third"];
/// A packet to this port plus the number of a set is accepted if its source is in the set.
const BY_SOURCE: u16 = 1_000;
/// The same for its destination.
const BY_DESTINATION: u16 = 2_000;

/// How many entries of a ruleset are looked at.
fn entries_looked_at() -> usize {
    if env::var_os("FOOBAR_LONG").is_some() { 20_000 } else { 400 }
}

#[test]
fn nothing_and_everything() {
    check("no entries", &Vec::new());
    check("all of IPv4", &of("one", ["0.0.0.0/0"]));
    check("all of both", &of("other", ["0.0.0.0/0", "::/0"]));
    check(
        "a set within all",
        &[of("one", ["0.0.0.0/0", "::/0"]), of("other", ["192.0.2.7/32", "::/128"])].concat(),
    );
    let ends = ["0.0.0.0/32", "255.255.255.255/32", "::/128", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128"];
    check("the ends of both", &of("third", ends));
    check("halves", &[of("one", ["0.0.0.0/1", "8000::/1"]), of("other", ["128.0.0.0/1", "::/1"])].concat());
    // Sets that are equal, and one that has the same in pieces.
    let pieces = of("third", ["198.51.100.0/25", "198.51.100.128/25"]);
    check("pieces", &[of("one", ["198.51.100.0/24"]), of("other", ["198.51.100.0/24"]), pieces].concat());
}

#[test]
fn prefixes_inside_each_other() {
    let mut random = Random::new(1);
    let mut entries = Vec::new();
    for _ in 0..40 {
        let (v4, v6) = (random.wide(), random.wide());
        // Of every length around an address, each in one of the sets or in several.
        for length in 0..=128 {
            let net =
                if length <= 32 && random.percent(80) { net_v4(v4, length) } else { net_v6(v6, length) };
            entries.extend(some_sets(&mut random).map(|set| (set, net)));
        }
    }
    check("chains", &entries);
}

#[test]
fn neighbours_without_gaps() {
    let mut random = Random::new(2);
    let mut entries = Vec::new();
    for number in 0..20_000_u128 {
        let nets = [net_v4((10 << 120) + (number << 96), 32), net_v6((0x2001_0db8 << 96) + number, 128)];
        let set = random.pick(&SETS);
        // A third of all addresses is in no set.
        entries.extend(nets.into_iter().filter(|_| number % 3 > 0).map(|net| (set, net)));
    }
    check("neighbours", &entries);
}

#[test]
fn as_many_as_block_lists_have() {
    for count in [10, 1_023, 1_024, 30_000, 300_000] {
        let mut random = Random::new(3);
        let mut entries = Vec::with_capacity(count);
        while entries.len() < count {
            let bits = random.wide();
            let net = match random.below(20) {
                0..9 => net_v4(bits, 32),
                9..12 => net_v4(bits, random.pick(&[8, 16, 22, 23, 24, 25, 31])),
                12..15 => net_v6(bits, 128),
                15..19 => net_v6(bits, random.pick(&[24, 32, 47, 48, 56, 64, 96, 127])),
                // Inside of what is there.
                _ => match entries.get(random.index(entries.len() + 1)) {
                    Some((_, IpNet::V4(net))) => net_v4(u128::from(net.network().to_bits()) << 96, 30),
                    Some((_, IpNet::V6(net))) => net_v6(net.network().to_bits(), 126),
                    None => net_v4(bits, 30),
                },
            };
            entries.extend(some_sets(&mut random).map(|set| (set, net)));
        }
        check(&format!("{count} entries"), &entries);
    }
}

fn of<const N: usize>(set: &'static str, entries: [&str; N]) -> Vec<(&'static str, IpNet)> {
    entries.map(|text| (set, text.parse().unwrap())).to_vec()
}

/// One of the sets most often, and sometimes two or all.
fn some_sets(random: &mut Random) -> impl Iterator<Item = &'static str> + use<> {
    let chosen = random.pick(&[1_u8, 1, 2, 2, 4, 4, 3, 5, 6, 7]);
    SETS.into_iter().enumerate().filter(move |(bit, _)| chosen >> bit & 1 == 1).map(|(_, set)| set)
}

fn check(name: &str, entries: &[(&'static str, IpNet)]) {
    let start = Instant::now();
    let mut random = Random::new(4);
    let mut looked_at: Vec<IpAddr> = (0..20)
        .flat_map(|_| {
            let bits = random.wide();
            [IpAddr::V6(Ipv6Addr::from_bits(bits)), net_v4(bits, 32).network()]
        })
        .collect();
    for _ in 0..entries_looked_at().min(entries.len()) {
        looked_at.extend(around(entries[random.index(entries.len())].1, &mut random));
    }
    let plain = Plain::of(entries);
    let mut runs = load(entries);
    let loaded = start.elapsed();
    let mut members = 0;
    for address in &looked_at {
        for (number, set) in (0..).zip(SETS) {
            let expected = plain.is_in(set, *address);
            members += usize::from(expected);
            let other = if address.is_ipv4() { "198.18.0.1" } else { "2001:db8:ffff::1" };
            let address = address.to_string();
            for (source, destination, port) in
                [(address.as_str(), other, BY_SOURCE), (other, &address, BY_DESTINATION)]
            {
                let frame = packets::udp((source, 40_000), (destination, port + number), 0).frame();
                let judgement = runs.judge(&frame, Direction::In).unwrap();
                let found = judgement.verdict == Verdict::Accept;
                assert_eq!(found, expected, "{name}: {source} to {destination}, set '{set}': {judgement:?}");
            }
        }
    }
    say(&format!(
        "{name}: {} addresses, {members} times in a set of {} entries; loaded in {loaded:?}, all in {:?}",
        looked_at.len(),
        entries.len(),
        start.elapsed()
    ));
}

/// A hash of the networks of each length: slow, and hard to get wrong.
struct Plain {
    sets: HashMap<&'static str, BTreeMap<u8, HashSet<IpNet>>>,
}

impl Plain {
    fn of(entries: &[(&'static str, IpNet)]) -> Self {
        let mut sets: HashMap<&'static str, BTreeMap<u8, HashSet<IpNet>>> = HashMap::new();
        for (set, net) in entries {
            sets.entry(set).or_default().entry(net.prefix_len()).or_default().insert(net.trunc());
        }
        Self { sets }
    }

    fn is_in(&self, set: &str, address: IpAddr) -> bool {
        let lengths = self.sets.get(set).into_iter().flatten();
        let mut around = lengths
            .filter_map(|(length, nets)| Some(nets.contains(&IpNet::new(address, *length).ok()?.trunc())));
        around.any(|is_in| is_in)
    }
}

fn load(entries: &[(&'static str, IpNet)]) -> TestRuns {
    let mut ruleset = Ruleset::default();
    ruleset.policy.inbound = Verdict::Drop;
    ruleset.policy.infrastructure = false;
    for (number, name) in (0..).zip(SETS) {
        let set = || {
            let include = vec![AddressMatch::Set(name.to_owned())];
            Some(AddressCondition { include, exclude: Vec::new() })
        };
        let port = |base: u16| Some(vec![base + number..=base + number]);
        let rule = |side: &str| Rule::new(&format!("{name}-{side}"), Verdict::Accept);
        ruleset.rules.extend([
            Rule { source: set(), destination_port: port(BY_SOURCE), ..rule("source") },
            Rule { destination: set(), destination_port: port(BY_DESTINATION), ..rule("destination") },
        ]);
        let entries = entries.iter().filter(|(of, _)| *of == name).map(|(_, net)| *net).collect();
        ruleset.sets.insert(name.to_owned(), AddressSet { entries, ..AddressSet::default() });
    }
    let slots = Slots::for_once(&ruleset, &[INTERFACE.to_owned()]).unwrap();
    LoadedRuleset::for_test_runs(&compile(&ruleset, &slots).unwrap(), INTERFACE).unwrap()
}

/// The prefix of an address in the upper bits.
fn net_v4(bits: u128, length: u8) -> IpNet {
    let address = u32::try_from(bits >> 96).unwrap();
    Ipv4Net::new_assert(Ipv4Addr::from_bits(address), length).trunc().into()
}

fn net_v6(bits: u128, length: u8) -> IpNet {
    Ipv6Net::new_assert(Ipv6Addr::from_bits(bits), length).trunc().into()
}
