//! What a packet must be like to meet a rule: conditions of the rule language, all of which hold.
//!
//! Chains are flattened by putting the conditions of a jump together with those behind it, so the one thing that
//! matters here is [`Conditions::and`]. It is exact, or says that it cannot be.

use std::{collections::BTreeSet, ops::RangeInclusive};

use foobar_common::{
    flow::{Direction, Family, protocol},
    tracking::State,
};
use ipnet::IpNet;

use super::values::{self, Ranges};
use crate::rules::model::{FlagCondition, IcmpCondition, PortProtocol};

/// Conditions that all hold; by default none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Conditions {
    pub(super) family: Option<Family>,
    pub(super) source: Addresses,
    pub(super) destination: Addresses,
    pub(super) protocols: Option<BTreeSet<u8>>,
    pub(super) source_ports: Option<Ranges>,
    pub(super) destination_ports: Option<Ranges>,
    pub(super) tcp_flags: Option<FlagCondition>,
    pub(super) icmp: Option<Vec<IcmpCondition>>,
    pub(super) fragment: Option<bool>,
    /// Through which packets come in.
    pub(super) interfaces: Option<BTreeSet<String>>,
    /// Through which they go out.
    pub(super) out_interfaces: Option<BTreeSet<String>>,
    pub(super) vlans: Option<BTreeSet<u16>>,
    pub(super) length: Option<RangeInclusive<u16>>,
    pub(super) states: Option<BTreeSet<State>>,
}

/// Which addresses are meant: the included ones without the excluded ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Addresses {
    pub(super) include: Option<Include>,
    pub(super) exclude: Vec<String>,
}

/// Addresses that are listed, or in a set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Include {
    Prefixes(Vec<IpNet>),
    Set { name: String, family: Family },
}

/// Why two lists of conditions cannot be put together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NotBoth {
    /// No packet meets both.
    Never,
    /// The language cannot say it.
    Unsayable(String),
}

impl Conditions {
    pub(super) fn of_family(family: Family) -> Self {
        Self { family: Some(family), ..Self::default() }
    }

    pub(super) fn of_protocol(number: u8) -> Self {
        Self { protocols: Some(BTreeSet::from([number])), ..Self::default() }
    }

    /// Whether every packet meets them.
    pub(super) fn is_any(&self) -> bool {
        *self == Self::default()
    }

    /// What meets these and the others.
    pub(super) fn and(&self, other: &Self) -> Result<Self, NotBoth> {
        let both = Self {
            family: equal(self.family, other.family)?,
            source: self.source.and(&other.source)?,
            destination: self.destination.and(&other.destination)?,
            protocols: common_elements(self.protocols.as_ref(), other.protocols.as_ref())?,
            source_ports: common_ranges(self.source_ports.as_ref(), other.source_ports.as_ref())?,
            destination_ports: common_ranges(
                self.destination_ports.as_ref(),
                other.destination_ports.as_ref(),
            )?,
            tcp_flags: both(self.tcp_flags, other.tcp_flags, flags_of_both)?,
            icmp: both(self.icmp.clone(), other.icmp.clone(), |one, other| messages_of_both(&one, &other))?,
            fragment: equal(self.fragment, other.fragment)?,
            interfaces: common_elements(self.interfaces.as_ref(), other.interfaces.as_ref())?,
            out_interfaces: common_elements(self.out_interfaces.as_ref(), other.out_interfaces.as_ref())?,
            vlans: common_elements(self.vlans.as_ref(), other.vlans.as_ref())?,
            length: both(self.length.clone(), other.length.clone(), |one, other| {
                let range = *one.start().max(other.start())..=*one.end().min(other.end());
                (!range.is_empty()).then_some(range)
            })?,
            states: common_elements(self.states.as_ref(), other.states.as_ref())?,
        };
        both.check_possible()?;
        Ok(both)
    }

    /// How many values they name: what it costs to handle them.
    pub(super) fn size(&self) -> usize {
        let of_ranges = |ranges: &Option<Ranges>| ranges.as_ref().map_or(0, Vec::len);
        1 + self.source.size()
            + self.destination.size()
            + self.protocols.as_ref().map_or(0, BTreeSet::len)
            + of_ranges(&self.source_ports)
            + of_ranges(&self.destination_ports)
            + self.icmp.as_ref().map_or(0, Vec::len)
    }

    /// In the form in which a rule file says them: what the conditions imply of each other is written out where
    /// the language wants it, and left out where it refuses it. `None` if no packet meets them.
    pub(super) fn settled(mut self) -> Option<Self> {
        let families = self.families();
        let [only] = families[..] else {
            self.protocols = self.possible_protocols();
            return (!families.is_empty()).then_some(self);
        };
        let mut named = false;
        for addresses in [&mut self.source, &mut self.destination] {
            named |= addresses.include.is_some();
            if let Some(Include::Prefixes(prefixes)) = &mut addresses.include {
                prefixes.retain(|prefix| values::family(prefix) == only);
            }
        }
        if !named {
            let everything = match only {
                Family::V4 => IpNet::V4(ipnet::Ipv4Net::default()),
                Family::V6 => IpNet::V6(ipnet::Ipv6Net::default()),
            };
            self.source.include = Some(Include::Prefixes(vec![everything]));
        }
        self.protocols = self.possible_protocols();
        Some(self)
    }

    /// Whether packets of this direction may meet them: none that comes in has an interface to go out through, and none
    /// that this server sends came in.
    pub(super) fn are_possible(&self, direction: Direction) -> bool {
        match direction {
            Direction::In => self.out_interfaces.is_none(),
            Direction::Out => self.interfaces.is_none(),
        }
    }

    fn check_possible(&self) -> Result<(), NotBoth> {
        let families = self.families();
        let protocols = self.possible_protocols();
        let only = |number| protocols.as_ref().is_some_and(|set| set.len() == 1 && set.contains(&number));
        let impossible = families.is_empty()
            || protocols.as_ref().is_some_and(BTreeSet::is_empty)
            || (only(protocol::ICMP) && families == [Family::V6])
            || (only(protocol::ICMPV6) && families == [Family::V4])
            || (self.fragment == Some(true) && self.asks_for_transport());
        if impossible { Err(NotBoth::Never) } else { Ok(()) }
    }

    /// The IP versions that a packet can have.
    fn families(&self) -> Vec<Family> {
        let allowed = |family: &Family| {
            self.family.is_none_or(|only| only == *family)
                && self.source.allow(*family)
                && self.destination.allow(*family)
        };
        [Family::V4, Family::V6].into_iter().filter(allowed).collect()
    }

    fn asks_for_transport(&self) -> bool {
        let ports = self.source_ports.is_some() || self.destination_ports.is_some();
        ports || self.tcp_flags.is_some() || self.icmp.is_some()
    }

    /// The protocols, without those that have no ports, flags or messages where these are asked for.
    fn possible_protocols(&self) -> Option<BTreeSet<u8>> {
        let mut protocols = self.protocols.clone()?;
        if self.source_ports.is_some() || self.destination_ports.is_some() {
            protocols.retain(|number| PortProtocol::ALL.iter().any(|one| one.number() == *number));
        }
        if self.tcp_flags.is_some() {
            protocols.retain(|number| *number == protocol::TCP);
        }
        if let Some(messages) = &self.icmp {
            protocols.retain(|number| messages.iter().any(|message| message.protocol == *number));
        }
        Some(protocols)
    }
}

impl Addresses {
    /// The addresses in these prefixes.
    pub(super) fn of(prefixes: Vec<IpNet>) -> Self {
        Self { include: Some(Include::Prefixes(prefixes)), exclude: Vec::new() }
    }

    /// The addresses in none of these prefixes.
    pub(super) fn outside(prefixes: &[IpNet]) -> Self {
        Self { include: None, exclude: prefixes.iter().map(shown).collect() }
    }

    /// The addresses in this set.
    pub(super) fn in_set(name: &str, family: Family) -> Self {
        Self { include: Some(Include::Set { name: name.to_owned(), family }), exclude: Vec::new() }
    }

    /// The addresses that are not in this set.
    pub(super) fn not_in_set(name: &str) -> Self {
        Self { include: None, exclude: vec![format!("@{name}")] }
    }

    fn size(&self) -> usize {
        let included = match &self.include {
            Some(Include::Prefixes(prefixes)) => prefixes.len(),
            Some(Include::Set { .. }) | None => 0,
        };
        included + self.exclude.len()
    }

    fn allow(&self, family: Family) -> bool {
        match &self.include {
            None => true,
            Some(Include::Prefixes(prefixes)) => prefixes.iter().any(|one| values::family(one) == family),
            Some(Include::Set { family: only, .. }) => *only == family,
        }
    }

    fn and(&self, other: &Self) -> Result<Self, NotBoth> {
        let include = match (&self.include, &other.include) {
            (None, include) | (include, None) => include.clone(),
            (Some(one), Some(other)) => Some(one.and(other)?),
        };
        let mut exclude = self.exclude.clone();
        exclude.extend(other.exclude.iter().filter(|one| !self.exclude.contains(one)).cloned());
        Ok(Self { include, exclude })
    }
}

impl Include {
    fn and(&self, other: &Self) -> Result<Self, NotBoth> {
        match (self, other) {
            (Self::Prefixes(ours), Self::Prefixes(theirs)) => {
                // Of two prefixes one contains the other, or they have nothing in common.
                let inner = ours.iter().flat_map(|one| {
                    theirs.iter().filter_map(move |other| {
                        if one.contains(other) { Some(*other) } else { other.contains(one).then_some(*one) }
                    })
                });
                let prefixes: Vec<IpNet> = inner.collect();
                if prefixes.is_empty() { Err(NotBoth::Never) } else { Ok(Self::Prefixes(prefixes)) }
            }
            (set @ Self::Set { name, family }, Self::Prefixes(prefixes))
            | (Self::Prefixes(prefixes), set @ Self::Set { name, family }) => {
                if prefixes.iter().any(|one| one.prefix_len() == 0 && values::family(one) == *family) {
                    return Ok(set.clone());
                }
                let listed = prefixes.iter().take(3).map(shown).collect::<Vec<_>>().join(", ");
                Err(NotBoth::Unsayable(format!(
                    "the address would have to be in @{name} and in {listed}, and a list of the language is met \
                     by any of its elements"
                )))
            }
            (one @ Self::Set { name: ours, .. }, Self::Set { name: theirs, .. }) => {
                if ours == theirs {
                    return Ok(one.clone());
                }
                Err(NotBoth::Unsayable(format!(
                    "the address would have to be in @{ours} and in @{theirs}, and a list of the language is met \
                     by any of its elements"
                )))
            }
        }
    }
}

/// A prefix as rule files have it: an address alone stands for itself.
pub(super) fn shown(prefix: &IpNet) -> String {
    if prefix.prefix_len() == prefix.max_prefix_len() {
        prefix.addr().to_string()
    } else {
        prefix.to_string()
    }
}

/// Both conditions by a function that gives `None` when nothing meets both.
fn both<T>(one: Option<T>, other: Option<T>, of: impl Fn(T, T) -> Option<T>) -> Result<Option<T>, NotBoth> {
    match (one, other) {
        (None, condition) | (condition, None) => Ok(condition),
        (Some(one), Some(other)) => of(one, other).map(Some).ok_or(NotBoth::Never),
    }
}

fn equal<T: PartialEq>(one: Option<T>, other: Option<T>) -> Result<Option<T>, NotBoth> {
    both(one, other, |one, other| (one == other).then_some(one))
}

fn common_elements<T: Ord + Clone>(
    one: Option<&BTreeSet<T>>,
    other: Option<&BTreeSet<T>>,
) -> Result<Option<BTreeSet<T>>, NotBoth> {
    both(one.cloned(), other.cloned(), |one, other| {
        let common: BTreeSet<T> = one.intersection(&other).cloned().collect();
        (!common.is_empty()).then_some(common)
    })
}

fn common_ranges(one: Option<&Ranges>, other: Option<&Ranges>) -> Result<Option<Ranges>, NotBoth> {
    both(one.cloned(), other.cloned(), |one, other| {
        let common = values::common(&one, &other);
        (!common.is_empty()).then_some(common)
    })
}

fn flags_of_both(one: FlagCondition, other: FlagCondition) -> Option<FlagCondition> {
    let both = FlagCondition { set: one.set | other.set, clear: one.clear | other.clear };
    (both.set & both.clear == 0).then_some(both)
}

fn messages_of_both(one: &[IcmpCondition], other: &[IcmpCondition]) -> Option<Vec<IcmpCondition>> {
    let pairs = one.iter().flat_map(|one| other.iter().map(move |other| (one, other)));
    let common: BTreeSet<IcmpCondition> = pairs
        .filter(|(one, other)| one.protocol == other.protocol && one.kind == other.kind)
        .filter_map(|(one, other)| match (one.code, other.code) {
            (None, _) => Some(*other),
            (_, None) => Some(*one),
            (ours, theirs) => (ours == theirs).then_some(*one),
        })
        .collect();
    (!common.is_empty()).then(|| common.into_iter().collect())
}
