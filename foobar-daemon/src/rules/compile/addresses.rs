//! Address lists, sets and exclusions to longest-prefix tables.

use std::cmp::Ordering;

use foobar_common::{
    flow::Family,
    rule::{Class, FAILSAFE_PEER, RuleVector},
};
use ipnet::IpNet;

use super::{class_of_rules, set};
use crate::rules::model::{AddressCondition, AddressMatch, Ruleset};

/// Prefixes of one family and the class of each; the longest one that contains an address decides. Bytes are in
/// network order, and a prefix of IPv4 uses the first four.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PrefixTable {
    /// Shorter prefixes stand before those that they contain; the first is of length 0.
    pub entries: Vec<PrefixEntry>,
}

/// One line of a [`PrefixTable`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrefixEntry {
    /// The address.
    pub address: [u8; 16],
    /// How many bits of it count.
    pub length: u8,
    /// The class of addresses for which this is the longest prefix.
    pub class: u32,
}

/// Which address of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Source,
    Destination,
}

/// Compiles one side and family; `number` gives the number of a class.
pub(super) fn table(
    ruleset: &Ruleset,
    side: Side,
    family: Family,
    number: &mut impl FnMut(Class) -> u32,
) -> PrefixTable {
    let Conditions { mut nodes, always } = Conditions::collect(ruleset, side, family);
    nodes.sort_by(Node::compare);
    nodes.dedup_by(|later, earlier| earlier.absorb(later));

    // The prefixes that contain the present one, outermost first, each with all that it inherits.
    let mut containing: Vec<(Node, u32)> = Vec::new();
    let mut entries = Vec::new();
    for mut node in nodes {
        while containing.last().is_some_and(|(outer, _)| !outer.contains(&node)) {
            containing.pop();
        }
        let outer = containing.last();
        if let Some((outer, _)) = outer {
            node.inherit(outer);
        }
        let class = number(node.class(&always));
        // A prefix that changes nothing needs no entry.
        if outer.is_none_or(|(_, outer_class)| *outer_class != class) {
            entries.push(PrefixEntry { address: node.address, length: node.length, class });
        }
        containing.push((node, class));
    }
    PrefixTable { entries }
}

/// A prefix that some rule names, and the rules that do.
#[derive(Clone, Debug)]
struct Node {
    address: [u8; 16],
    length: u8,
    included_by: RuleVector,
    excluded_by: RuleVector,
    failsafe: u32,
}

impl Node {
    fn new(net: &IpNet) -> Self {
        let mut address = [0; 16];
        match net.network() {
            std::net::IpAddr::V4(v4) => {
                for (to, from) in address.iter_mut().zip(v4.octets()) {
                    *to = from;
                }
            }
            std::net::IpAddr::V6(v6) => address = v6.octets(),
        }
        Self {
            address,
            length: net.prefix_len(),
            included_by: RuleVector::default(),
            excluded_by: RuleVector::default(),
            failsafe: 0,
        }
    }

    /// By address, then shorter first: so each prefix stands before all that it contains.
    fn compare(&self, other: &Self) -> Ordering {
        (self.address, self.length).cmp(&(other.address, other.length))
    }

    /// Takes over what an equal prefix says; false if `other` is another prefix.
    fn absorb(&mut self, other: &Self) -> bool {
        let same = self.compare(other) == Ordering::Equal;
        if same {
            self.inherit(other);
        }
        same
    }

    fn inherit(&mut self, from: &Self) {
        self.included_by = or(&self.included_by, &from.included_by);
        self.excluded_by = or(&self.excluded_by, &from.excluded_by);
        self.failsafe |= from.failsafe;
    }

    fn contains(&self, other: &Self) -> bool {
        let mask = u128::MAX.checked_shl(128 - u32::from(self.length)).unwrap_or(0);
        let [own, others] = [self.address, other.address].map(u128::from_be_bytes);
        self.length <= other.length && (own ^ others) & mask == 0
    }

    /// The class of the addresses whose longest prefix this is; `always` are the rules that accept any address
    /// which they do not exclude.
    fn class(&self, always: &RuleVector) -> Class {
        let accepted = or(&self.included_by, always);
        Class { failsafe: self.failsafe, ..class_of_rules(and_not(&accepted, &self.excluded_by)) }
    }
}

/// All that the rules say about one side and family.
struct Conditions {
    nodes: Vec<Node>,
    always: RuleVector,
}

impl Conditions {
    fn collect(ruleset: &Ruleset, side: Side, family: Family) -> Self {
        let all: IpNet = match family {
            Family::V4 => ipnet::Ipv4Net::default().into(),
            Family::V6 => ipnet::Ipv6Net::default().into(),
        };
        let mut conditions = Self { nodes: vec![Node::new(&all)], always: RuleVector::default() };
        let of_family = |net: &&IpNet| matches!(net, IpNet::V4(_)) == matches!(family, Family::V4);
        for (number, rule) in ruleset.rules.iter().enumerate() {
            let condition = match side {
                Side::Source => &rule.source,
                Side::Destination => &rule.destination,
            };
            let Some(AddressCondition { include, exclude }) = condition else {
                set(&mut conditions.always, number);
                continue;
            };
            if include.is_empty() {
                set(&mut conditions.always, number);
            }
            for net in prefixes(ruleset, include).filter(of_family) {
                let mut node = Node::new(net);
                set(&mut node.included_by, number);
                conditions.nodes.push(node);
            }
            for net in prefixes(ruleset, exclude).filter(of_family) {
                let mut node = Node::new(net);
                set(&mut node.excluded_by, number);
                conditions.nodes.push(node);
            }
        }
        if side == Side::Source {
            for net in ruleset.failsafe.peers.iter().filter(of_family) {
                conditions.nodes.push(Node { failsafe: FAILSAFE_PEER, ..Node::new(net) });
            }
        }
        conditions
    }
}

/// The prefixes of a list, with its sets spelt out. The reader of rule files has checked that each set exists.
fn prefixes<'a>(ruleset: &'a Ruleset, list: &'a [AddressMatch]) -> impl Iterator<Item = &'a IpNet> {
    list.iter().flat_map(|entry| match entry {
        AddressMatch::Prefix(net) => std::slice::from_ref(net),
        AddressMatch::Set(name) => ruleset.sets.get(name).map_or(&[][..], |set| &set.entries),
    })
}

fn or(one: &RuleVector, other: &RuleVector) -> RuleVector {
    combine(one, other, |a, b| a | b)
}

fn and_not(one: &RuleVector, other: &RuleVector) -> RuleVector {
    combine(one, other, |a, b| a & !b)
}

fn combine(one: &RuleVector, other: &RuleVector, bits: fn(u64, u64) -> u64) -> RuleVector {
    let mut result = *one;
    for (word, other) in result.words.iter_mut().zip(other.words) {
        *word = bits(*word, other);
    }
    result
}
