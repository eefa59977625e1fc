//! What is imported decides what the chains decided: both are asked about the same packets.
//!
//! The chains are interpreted here as iptables and nftables do it, one statement after the other.

use std::{fmt::Write as _, net::IpAddr};

use foobar_common::{
    address::Address,
    flow::{Direction, Family, Flow, Fragment, UNTAGGED},
    verdict::Verdict,
};
use proptest::{prelude::*, sample::select};

use super::*;
use crate::rules::evaluate::{Known, evaluate};

/// Chains that lead to each other only downwards.
#[derive(Clone, Debug)]
struct Chains {
    family: Family,
    /// The chains on the hook, with their policies.
    bases: Vec<(Verdict, Vec<Line>)>,
    others: Vec<Vec<Line>>,
}

#[derive(Clone, Debug)]
struct Line {
    /// Which prefix of the pool; negated.
    source: Option<(usize, bool)>,
    destination: Option<(usize, bool)>,
    interface: Option<&'static str>,
    length: Option<(u16, u16, bool)>,
    transport: Transport,
    action: Act,
}

#[derive(Clone, Debug)]
enum Transport {
    Any,
    Protocol(u8),
    Ports { tcp: bool, source: Option<u16>, destination: Vec<(u16, u16)>, negated: bool },
    Flags { mask: u8, set: u8, negated: bool },
    Icmp { kind: u8, negated: bool },
}

#[derive(Clone, Copy, Debug)]
enum Act {
    Accept,
    Drop,
    Reject,
    Return,
    Jump(usize),
    Goto(usize),
}

const PREFIXES_V4: [&str; 5] = ["0.0.0.0/0", "10.0.0.0/8", "10.1.0.0/16", "192.0.2.0/24", "192.0.2.7/32"];
const PREFIXES_V6: [&str; 5] = ["::/0", "2001:db8::/32", "2001:db8:1::/48", "fe80::/10", "fe80::7/128"];
const ADDRESSES_V4: [&str; 5] = ["203.0.113.1", "10.0.0.1", "10.1.2.3", "192.0.2.8", "192.0.2.7"];
const ADDRESSES_V6: [&str; 5] = ["2001:db9::1", "2001:db8::1", "2001:db8:1::3", "fe80::8", "fe80::7"];
const FLAGS: [(&str, u8); 3] = [("syn", 0x02), ("rst", 0x04), ("ack", 0x10)];

impl Chains {
    /// The first refusal of a chain, or that there is none.
    fn judge(&self, flow: &Flow, interface: &str) -> Verdict {
        self.bases
            .iter()
            .map(|(policy, lines)| self.walk(lines, flow, interface).unwrap_or(*policy))
            .find(|verdict| verdict.is_refusal())
            .unwrap_or(Verdict::Accept)
    }

    /// The verdict of a chain, if it comes to one.
    fn walk(&self, lines: &[Line], flow: &Flow, interface: &str) -> Option<Verdict> {
        for line in lines.iter().filter(|line| line.matches(self.family, flow, interface)) {
            match line.action {
                Act::Accept => return Some(Verdict::Accept),
                Act::Drop => return Some(Verdict::Drop),
                Act::Reject => return Some(Verdict::Reject),
                Act::Return => return None,
                Act::Goto(chain) => return self.walk(&self.others[chain], flow, interface),
                Act::Jump(chain) => {
                    let verdict = self.walk(&self.others[chain], flow, interface);
                    if verdict.is_some() {
                        return verdict;
                    }
                }
            }
        }
        None
    }

    fn iptables(&self) -> String {
        let (policy, lines) = &self.bases[0];
        let mut text =
            format!("# ip{}tables-save\n*filter\n", if self.family == Family::V6 { "6" } else { "" });
        writeln!(text, ":INPUT {} [0:0]", policy.label().to_uppercase()).unwrap();
        for number in 0..self.others.len() {
            writeln!(text, ":c{number} - [0:0]").unwrap();
        }
        for line in lines {
            writeln!(text, "-A INPUT{}", line.iptables(self.family)).unwrap();
        }
        for (number, lines) in self.others.iter().enumerate() {
            for line in lines {
                writeln!(text, "-A c{number}{}", line.iptables(self.family)).unwrap();
            }
        }
        text + "COMMIT\n"
    }

    fn nftables(&self) -> String {
        let mut text = format!("table {} filter {{\n", ip(self.family));
        for (number, (policy, lines)) in self.bases.iter().enumerate() {
            writeln!(
                text,
                "chain b{number} {{\ntype filter hook input priority {number}; policy {};",
                policy.label()
            )
            .unwrap();
            for line in lines {
                writeln!(text, "{}", line.nftables(self.family)).unwrap();
            }
            text += "}\n";
        }
        for (number, lines) in self.others.iter().enumerate() {
            writeln!(text, "chain c{number} {{").unwrap();
            for line in lines {
                writeln!(text, "{}", line.nftables(self.family)).unwrap();
            }
            text += "}\n";
        }
        text + "}\n"
    }
}

fn ip(family: Family) -> &'static str {
    match family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    }
}

fn prefixes(family: Family) -> [&'static str; 5] {
    match family {
        Family::V4 => PREFIXES_V4,
        Family::V6 => PREFIXES_V6,
    }
}

fn icmp(family: Family) -> u8 {
    match family {
        Family::V4 => 1,
        Family::V6 => 58,
    }
}

impl Line {
    fn matches(&self, family: Family, flow: &Flow, interface: &str) -> bool {
        let is_in = |(prefix, negated): (usize, bool), address: Address| {
            let prefix: ipnet::IpNet = prefixes(family)[prefix].parse().unwrap();
            prefix.contains(&address.ip(family)) != negated
        };
        let whole = flow.fragment != Fragment::Later;
        let in_range = |(low, high): (u16, u16), number| low <= number && number <= high;
        self.source.is_none_or(|one| is_in(one, flow.source))
            && self.destination.is_none_or(|one| is_in(one, flow.destination))
            && self.interface.is_none_or(|one| one == interface)
            && self.length.is_none_or(|(low, high, negated)| in_range((low, high), flow.length) != negated)
            && match &self.transport {
                Transport::Any => true,
                Transport::Protocol(number) => flow.protocol == *number,
                Transport::Ports { tcp, source, destination, negated } => {
                    let listed = destination.iter().any(|range| in_range(*range, flow.destination_port()));
                    flow.protocol == if *tcp { 6 } else { 17 }
                        && whole
                        && source.is_none_or(|port| port == flow.source_port())
                        && listed != *negated
                }
                Transport::Flags { mask, set, negated } => {
                    flow.protocol == 6 && whole && (flow.tcp_flags & mask == *set) != *negated
                }
                Transport::Icmp { kind, negated } => {
                    flow.protocol == icmp(family) && whole && (flow.icmp_type == *kind) != *negated
                }
            }
    }

    fn iptables(&self, family: Family) -> String {
        let mut text = String::new();
        let not = |negated: bool| if negated { " !" } else { "" };
        for (option, one) in [("-s", self.source), ("-d", self.destination)] {
            if let Some((prefix, negated)) = one {
                write!(text, "{} {option} {}", not(negated), prefixes(family)[prefix]).unwrap();
            }
        }
        if let Some(name) = self.interface {
            write!(text, " -i {name}").unwrap();
        }
        match &self.transport {
            Transport::Any => {}
            Transport::Protocol(number) => write!(text, " -p {number}").unwrap(),
            Transport::Ports { tcp, source, destination, negated } => {
                write!(text, " -p {}", if *tcp { "tcp" } else { "udp" }).unwrap();
                if let Some(port) = source {
                    write!(text, " --sport {port}").unwrap();
                }
                let list: Vec<String> =
                    destination.iter().map(|(low, high)| format!("{low}:{high}")).collect();
                write!(text, " -m multiport{} --dports {}", not(*negated), list.join(",")).unwrap();
            }
            Transport::Flags { mask, set, negated } => {
                let (mask, set) = (flags(*mask, ","), flags(*set, ","));
                write!(text, " -p tcp{} --tcp-flags {mask} {set}", not(*negated)).unwrap();
            }
            Transport::Icmp { kind, negated } => {
                let name = if family == Family::V4 { "icmp" } else { "icmpv6" };
                write!(text, " -p {name}{} --{name}-type {kind}", not(*negated)).unwrap();
            }
        }
        if let Some((low, high, negated)) = self.length {
            write!(text, " -m length{} --length {low}:{high}", not(negated)).unwrap();
        }
        match self.action {
            Act::Accept => text + " -j ACCEPT",
            Act::Drop => text + " -j DROP",
            Act::Reject => text + " -j REJECT",
            Act::Return => text + " -j RETURN",
            Act::Jump(chain) => format!("{text} -j c{chain}"),
            Act::Goto(chain) => format!("{text} -g c{chain}"),
        }
    }

    fn nftables(&self, family: Family) -> String {
        let mut text = String::new();
        let not = |negated: bool| if negated { "!= " } else { "" };
        for (field, one) in [("saddr", self.source), ("daddr", self.destination)] {
            if let Some((prefix, negated)) = one {
                write!(text, "{} {field} {}{} ", ip(family), not(negated), prefixes(family)[prefix]).unwrap();
            }
        }
        if let Some(name) = self.interface {
            write!(text, "iifname \"{name}\" ").unwrap();
        }
        match &self.transport {
            Transport::Any => {}
            Transport::Protocol(number) => write!(text, "meta l4proto {number} ").unwrap(),
            Transport::Ports { tcp, source, destination, negated } => {
                let name = if *tcp { "tcp" } else { "udp" };
                if let Some(port) = source {
                    write!(text, "{name} sport {port} ").unwrap();
                }
                let list: Vec<String> =
                    destination.iter().map(|(low, high)| format!("{low}-{high}")).collect();
                write!(text, "{name} dport {}{{ {} }} ", not(*negated), list.join(", ")).unwrap();
            }
            Transport::Flags { mask, set, negated } => {
                let sign = if *negated { "!=" } else { "==" };
                let (mask, set) = (flags(*mask, " | "), flags(*set, " | "));
                let set = if set == "NONE" { "0x0".to_owned() } else { set };
                write!(text, "tcp flags & ({}) {sign} {} ", mask.to_lowercase(), set.to_lowercase()).unwrap();
            }
            Transport::Icmp { kind, negated } => {
                let name = if family == Family::V4 { "icmp" } else { "icmpv6" };
                write!(text, "{name} type {}{kind} ", not(*negated)).unwrap();
            }
        }
        if let Some((low, high, negated)) = self.length {
            write!(text, "meta length {}{low}-{high} ", not(negated)).unwrap();
        }
        match self.action {
            Act::Accept => text + "accept",
            Act::Drop => text + "drop",
            Act::Reject => text + "reject",
            Act::Return => text + "return",
            Act::Jump(chain) => format!("{text}jump c{chain}"),
            Act::Goto(chain) => format!("{text}goto c{chain}"),
        }
    }
}

fn flags(byte: u8, between: &str) -> String {
    let names: Vec<String> =
        FLAGS.iter().filter(|(_, bit)| byte & bit != 0).map(|(name, _)| name.to_uppercase()).collect();
    if names.is_empty() { "NONE".to_owned() } else { names.join(between) }
}

const PORTS: [u16; 5] = [22, 53, 80, 90, 65_535];

fn flag_byte() -> impl Strategy<Value = u8> {
    select(vec![0x02, 0x04, 0x10, 0x12, 0x14, 0x16])
}

fn transport() -> impl Strategy<Value = Transport> {
    let range =
        (select(&PORTS[..]), select(&PORTS[..])).prop_map(|(one, other)| (one.min(other), one.max(other)));
    let ports = (
        any::<bool>(),
        prop::option::of(select(&PORTS[..])),
        prop::collection::vec(range, 1..3),
        any::<bool>(),
    );
    prop_oneof![
        3 => Just(Transport::Any),
        1 => select(vec![6u8, 17, 47, 50]).prop_map(Transport::Protocol),
        3 => ports.prop_map(|(tcp, source, destination, negated)| Transport::Ports { tcp, source, destination, negated }),
        2 => (flag_byte(), flag_byte(), any::<bool>())
            .prop_map(|(mask, set, negated)| Transport::Flags { mask, set: set & mask, negated }),
        1 => (select(vec![0u8, 3, 8, 128]), any::<bool>()).prop_map(|(kind, negated)| Transport::Icmp { kind, negated }),
    ]
}

/// A line of a chain that may lead to those from `first` on.
fn line(first: usize, chains: usize) -> impl Strategy<Value = Line> {
    let address = || prop::option::weighted(0.4, (0..5usize, any::<bool>()));
    let ends = prop_oneof![3 => Just(Act::Accept), 3 => Just(Act::Drop), 1 => Just(Act::Reject), 2 => Just(Act::Return)];
    let action = if first < chains {
        prop_oneof![
            3 => ends,
            2 => (first..chains).prop_map(Act::Jump),
            1 => (first..chains).prop_map(Act::Goto),
        ]
        .boxed()
    } else {
        ends.boxed()
    };
    let length = prop::option::weighted(0.1, (select(vec![20u16, 40, 100]), 0..100u16, any::<bool>()));
    let interface = prop::option::weighted(0.2, select(vec!["eth0", "eth1"]));
    (address(), address(), interface, length, transport(), action).prop_map(
        |(source, destination, interface, length, transport, action)| Line {
            source,
            destination,
            interface,
            length: length.map(|(low, more, negated)| (low, low + more, negated)),
            transport,
            action,
        },
    )
}

fn chains(bases: std::ops::Range<usize>) -> impl Strategy<Value = Chains> {
    let policy = || select(vec![Verdict::Accept, Verdict::Drop]);
    let base = (policy(), prop::collection::vec(line(0, 3), 0..4));
    let other = |number: usize| prop::collection::vec(line(number + 1, 3), 0..4);
    (any::<bool>(), prop::collection::vec(base, bases), other(0), other(1), other(2)).prop_map(
        |(v6, bases, one, two, three)| Chains {
            family: if v6 { Family::V6 } else { Family::V4 },
            bases,
            others: vec![one, two, three],
        },
    )
}

/// A packet of this IP version; addresses by their place in the pool.
fn packet() -> impl Strategy<Value = (Flow, usize, usize, &'static str)> {
    let numbers = (select(vec![6u8, 17, 1, 58, 47]), flag_byte(), select(vec![0u8, 3, 8, 128]), any::<u8>());
    let ports = (select(&PORTS[..]), prop_oneof![select(&PORTS[..]), Just(85)]);
    let rest =
        (select(vec![20u16, 40, 99, 100, 1500]), prop::bool::weighted(0.1), select(vec!["eth0", "eth1"]));
    (numbers, ports, rest, 0..5usize, 0..5usize).prop_map(
        |((protocol, tcp_flags, kind, code), (from, to), (length, later, interface), source, destination)| {
            let has_ports = !later && matches!(protocol, 6 | 17);
            let is_icmp = !later && matches!(protocol, 1 | 58);
            let flow = Flow {
                family: Family::V4,
                protocol,
                fragment: if later { Fragment::Later } else { Fragment::Whole },
                tcp_flags: if protocol == 6 && !later { tcp_flags } else { 0 },
                icmp_type: if is_icmp { kind } else { 0 },
                icmp_code: if is_icmp { code } else { 0 },
                hop_limit: 64,
                source: Address::NONE,
                destination: Address::NONE,
                source_port: if has_ports { from.to_be_bytes() } else { [0; 2] },
                destination_port: if has_ports { to.to_be_bytes() } else { [0; 2] },
                vlan: UNTAGGED,
                length,
            };
            (flow, source, destination, interface)
        },
    )
}

fn with_addresses(mut flow: Flow, family: Family, source: usize, destination: usize) -> Flow {
    let addresses = match family {
        Family::V4 => ADDRESSES_V4,
        Family::V6 => ADDRESSES_V6,
    };
    let address = |index: usize| addresses[index].parse::<IpAddr>().unwrap().into();
    flow.family = family;
    flow.source = address(source);
    flow.destination = address(destination);
    flow
}

/// The same chains on the hook for packets of this direction.
fn on_hook(direction: Direction, text: &str) -> String {
    let words =
        [("INPUT", "OUTPUT"), (" -i ", " -o "), ("hook input", "hook output"), ("iifname", "oifname")];
    match direction {
        Direction::In => text.to_owned(),
        Direction::Out => words.iter().fold(text.to_owned(), |text, (word, other)| text.replace(word, other)),
    }
}

fn check_meaning(
    format: Format,
    direction: Direction,
    text: &str,
    chains: &Chains,
    packets: &[(Flow, usize, usize, &'static str)],
) -> Result<(), TestCaseError> {
    let text = &on_hook(direction, text);
    let import = import(format, text).map_err(|problem| TestCaseError::fail(format!("{problem}\n{text}")))?;
    prop_assert_eq!(&import.refused, &[], "{}", text);
    let Ok(ruleset) = Bundle::of_text("imported.toml", &import.toml).parse() else {
        let rules = rule_lines(&import.toml).len();
        prop_assert!(rules > foobar_common::rule::RULES_MAX, "{}\n{}", text, import.toml);
        return Ok(());
    };
    for (flow, source, destination, interface) in packets {
        let flow = with_addresses(*flow, chains.family, *source, *destination);
        let of = |direction| evaluate(&ruleset, &Ok(flow), direction, interface, Known::NEW).verdict;
        let verdict = of(direction);
        let other = Direction::ALL.into_iter().find(|one| *one != direction).map(of);
        prop_assert_eq!(other, Some(Verdict::Accept), "{:?}\n{}\n{}", flow, text, import.toml);
        let judged = chains.judge(&flow, interface);
        prop_assert_eq!(verdict, judged, "{:?}\n{}\n{}", flow, text, import.toml);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(384))]

    #[test]
    fn iptables_means_the_same(chains in chains(1..2), packets in prop::collection::vec(packet(), 64)) {
        for direction in Direction::ALL {
            check_meaning(Format::Iptables, direction, &chains.iptables(), &chains, &packets)?;
        }
    }

    #[test]
    fn nftables_means_the_same(chains in chains(1..3), packets in prop::collection::vec(packet(), 64)) {
        for direction in Direction::ALL {
            check_meaning(Format::Nftables, direction, &chains.nftables(), &chains, &packets)?;
        }
    }
}
