//! Prefixes and exclusions to tables of addresses.

use foobar_common::{
    classes::{FAILSAFE_PEER, NEVER_BAN, NO_GROUP},
    fields::{AddressField, STRIDE},
};
use ipnet::IpNet;

use super::{
    classes::{Class, Field},
    clauses::{Clause, Clauses, Part},
    vectors::{Blocks, Vector},
};
use crate::rules::{
    model::{AddressCondition, AddressMatch, Failsafe},
    prefix::Prefix,
};

/// Entries of a [`foobar_common::fields::Root`].
const ROOT: usize = 65_536;
/// Entries of a [`foobar_common::fields::Stride`].
const STRIDE_ENTRIES: usize = 256;
/// Bits of an address that the root decides.
const ROOT_BITS: u32 = 16;

/// Tables of addresses, as the kernel has them.
#[derive(Clone, Debug)]
pub struct AddressTables {
    /// The entries of a [`foobar_common::fields::Root`] for each [`AddressField`], in its order.
    pub roots: Vec<u32>,
    /// The entries of all [`foobar_common::fields::Stride`]s.
    pub strides: Vec<u32>,
}

impl AddressTables {
    /// All addresses are of class 0 of all classes.
    pub(super) fn new() -> Self {
        Self { roots: vec![0; ROOT * AddressField::ALL.len()], strides: Vec::new() }
    }

    /// Compiles one field.
    pub(super) fn compile(
        &mut self,
        field: AddressField,
        clauses: &Clauses<'_>,
        facts: &PeerFacts<'_>,
        blocks: &mut Blocks,
        classes: &mut Field<'_>,
    ) {
        let Mentions { mut list, always } = Mentions::collect(field, clauses, facts);
        list.sort_unstable();
        let everything = Prefix { bits: 0, length: 0 };
        let mut open = Vec::new();
        let mut root = Node::outermost(everything, blocks.vector(always), blocks.empty());
        let mut rest = &list[..];
        root.take(&mut rest, blocks);
        root.class = classes.number(root.class(blocks));
        self.paint(field, everything, root.class);
        // The prefixes that contain the present one, outermost first, each with all that it inherits.
        open.push(root);
        while let Some(Mention { prefix, .. }) = rest.first() {
            while open.last().is_some_and(|outer: &Node| !outer.prefix.contains(*prefix)) {
                open.pop();
            }
            let Some(outer) = open.last() else { break };
            let mut node = outer.within(*prefix);
            node.take(&mut rest, blocks);
            node.class = classes.number(node.class(blocks));
            // A prefix that changes nothing needs no place.
            if node.class != outer.class {
                self.paint(field, node.prefix, node.class);
            }
            open.push(node);
        }
    }

    /// Gives all addresses of a prefix this class. Prefixes inside of it come later.
    fn paint(&mut self, field: AddressField, prefix: Prefix, class: u32) {
        let Prefix { bits, length } = prefix;
        let bytes = bits.to_be_bytes();
        let first = field as usize * ROOT + usize::from(u16::from_be_bytes([bytes[0], bytes[1]]));
        if u32::from(length) <= ROOT_BITS {
            self.roots[first..first + (1 << (ROOT_BITS - u32::from(length)))].fill(class);
            return;
        }
        let mut place = Place::Root(first);
        for (byte, until) in bytes[2..].iter().zip((ROOT_BITS + 8..).step_by(8)) {
            let from = self.stride(place) * STRIDE_ENTRIES + usize::from(*byte);
            if u32::from(length) <= until {
                self.strides[from..from + (1 << (until - u32::from(length)))].fill(class);
                return;
            }
            place = Place::Stride(from);
        }
    }

    /// The number of the stride that a place refers to; made if there is none, with the class of the place.
    fn stride(&mut self, place: Place) -> usize {
        let next = self.strides.len() / STRIDE_ENTRIES;
        let entry = match place {
            Place::Root(at) => &mut self.roots[at],
            Place::Stride(at) => &mut self.strides[at],
        };
        if *entry & STRIDE != 0 {
            return (*entry & !STRIDE) as usize;
        }
        let class = *entry;
        *entry = STRIDE | u32::try_from(next).unwrap_or(u32::MAX);
        self.strides.resize((next + 1) * STRIDE_ENTRIES, class);
        next
    }
}

/// An entry of a table.
#[derive(Clone, Copy)]
enum Place {
    Root(usize),
    Stride(usize),
}

/// What else there is to know of peers.
pub(super) struct PeerFacts<'a> {
    /// Who is always accepted, and whom no ban reaches.
    pub(super) failsafe: &'a Failsafe,
    /// The prefixes of groups, each with the slot of its group.
    pub(super) groups: Vec<(IpNet, u8)>,
}

/// That a clause, `[failsafe]` or a group of peers names a prefix. Sorted, each prefix stands before all that it contains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Mention {
    prefix: Prefix,
    by: By,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum By {
    /// This clause accepts it.
    Included(u32),
    /// This clause does not.
    Excluded(u32),
    /// This is said of its addresses: [`FAILSAFE_PEER`] or [`NEVER_BAN`].
    Failsafe(u32),
    /// The group with this slot has it.
    Group(u8),
}

/// All that is said about one field.
struct Mentions {
    list: Vec<Mention>,
    /// The clauses that accept any address which they do not exclude.
    always: Vec<u32>,
}

impl Mentions {
    fn collect(field: AddressField, clauses: &Clauses<'_>, facts: &PeerFacts<'_>) -> Self {
        let is_source = matches!(field, AddressField::SourceV4 | AddressField::SourceV6);
        let is_v4 = matches!(field, AddressField::SourceV4 | AddressField::DestinationV4);
        let of_family = |net: &&IpNet| matches!(net, IpNet::V4(_)) == is_v4;
        let mut mentions = Self { list: Vec::new(), always: Vec::new() };
        for (bit, clause) in (0..).zip(&clauses.list) {
            let Clause { number: _, rule, source, destination } = clause;
            let (condition, part) =
                if is_source { (&rule.source, source) } else { (&rule.destination, destination) };
            if *part != Part::Prefixes {
                mentions.always.push(bit);
            }
            let Some(AddressCondition { include, exclude }) = condition else { continue };
            if *part == Part::Prefixes {
                let included = prefixes(include).filter(of_family);
                mentions
                    .list
                    .extend(included.map(|net| Mention { prefix: Prefix::of(net), by: By::Included(bit) }));
            }
            let excluded = prefixes(exclude).filter(of_family);
            mentions
                .list
                .extend(excluded.map(|net| Mention { prefix: Prefix::of(net), by: By::Excluded(bit) }));
        }
        let PeerFacts { failsafe, groups } = facts;
        // Bans are asked of what comes in, so by its source.
        let never_ban = if is_source { &failsafe.never_ban[..] } else { &[] };
        for (said, prefixes) in [(FAILSAFE_PEER, &failsafe.peers[..]), (NEVER_BAN, never_ban)] {
            let prefixes = prefixes.iter().filter(of_family).map(Prefix::of);
            mentions.list.extend(prefixes.map(|prefix| Mention { prefix, by: By::Failsafe(said) }));
        }
        let groups = groups.iter().filter(|(net, _)| of_family(&net));
        mentions
            .list
            .extend(groups.map(|(net, slot)| Mention { prefix: Prefix::of(net), by: By::Group(*slot) }));
        mentions
    }
}

fn prefixes(list: &[AddressMatch]) -> impl Iterator<Item = &IpNet> {
    list.iter().filter_map(|entry| match entry {
        AddressMatch::Prefix(net) => Some(net),
        AddressMatch::Set(_) => None,
    })
}

/// A prefix with all that holds for the addresses whose longest prefix it is.
struct Node {
    prefix: Prefix,
    included: Vector,
    excluded: Vector,
    failsafe: u32,
    group: u8,
    class: u32,
}

impl Node {
    fn outermost(prefix: Prefix, included: Vector, excluded: Vector) -> Self {
        Self { prefix, included, excluded, failsafe: 0, group: NO_GROUP, class: 0 }
    }

    /// A prefix inside of this one.
    fn within(&self, prefix: Prefix) -> Self {
        let Self { prefix: _, included, excluded, failsafe, group, class } = self;
        let (included, excluded) = (included.clone(), excluded.clone());
        Self { prefix, included, excluded, failsafe: *failsafe, group: *group, class: *class }
    }

    /// Takes what is said about this very prefix from the beginning of the list.
    fn take(&mut self, rest: &mut &[Mention], blocks: &mut Blocks) {
        let count = rest.partition_point(|mention| mention.prefix <= self.prefix);
        let (own, others) = rest.split_at(count);
        *rest = others;
        let mut included = Vec::new();
        let mut excluded = Vec::new();
        for mention in own {
            match mention.by {
                By::Included(bit) => included.push(bit),
                By::Excluded(bit) => excluded.push(bit),
                By::Failsafe(said) => self.failsafe |= said,
                By::Group(slot) => self.group = slot,
            }
        }
        blocks.set(&mut self.included, &mut included);
        blocks.set(&mut self.excluded, &mut excluded);
    }

    fn class(&self, blocks: &mut Blocks) -> Class {
        Class {
            failsafe: self.failsafe,
            group: self.group,
            ..Class::of(blocks.without(&self.included, &self.excluded))
        }
    }
}
