//! Flow to rule; owns the tables of the ruleset.

use aya_ebpf::{
    btf_maps::{Array, LpmTrie, lpm_trie::Key},
    macros::btf_map,
};
use foobar_common::{
    counters::Transport,
    flow::{Family, Flow},
    frame::without_history,
    rule::{
        Class, FAILSAFE_PEER, InterfaceRecord, NO_PORTS_CLASS, NO_SERVICE, RULES_MAX, RuleRecord, Settings,
        Table, TableField, uses,
    },
};

// Capacities are set to what the ruleset needs when the object is loaded.
#[btf_map]
static SOURCES_V4: LpmTrie<[u8; 4], u32, 1> = LpmTrie::new();
#[btf_map]
static SOURCES_V6: LpmTrie<[u8; 16], u32, 1> = LpmTrie::new();
#[btf_map]
static DESTINATIONS_V4: LpmTrie<[u8; 4], u32, 1> = LpmTrie::new();
#[btf_map]
static DESTINATIONS_V6: LpmTrie<[u8; 16], u32, 1> = LpmTrie::new();
#[btf_map]
static TABLES: Array<Table, { TableField::COUNT as usize }> = Array::new();
#[btf_map]
static CLASSES: Array<Class, 1> = Array::new();
#[btf_map]
static RULES: Array<RuleRecord, RULES_MAX> = Array::new();

/// A table has no entry where the compiler of rulesets promises one.
pub(crate) struct Unreadable;

/// The first rule that the packet meets, if any.
#[inline(always)]
pub(crate) fn rule(
    flow: &Flow,
    interface: &InterfaceRecord,
    source: &Source,
    ports: &Ports,
    settings: &Settings,
) -> Result<Option<RuleRecord>, Unreadable> {
    if settings.uses & uses::RULES == 0 {
        return Ok(None);
    }
    let mut rules = ports.destination.rules;
    if let Some(class) = source.class {
        rules = rules.and(&class.rules);
    }
    if settings.uses & uses::DESTINATION != 0 {
        rules = rules.and(&destination(flow).ok_or(Unreadable)?.rules);
    }
    if settings.uses & uses::SOURCE_PORT != 0 && flow.has_ports() {
        let class = table(TableField::SourcePort, flow.source_port()).ok_or(Unreadable)?;
        rules = rules.and(&class.rules);
    }
    if settings.uses & uses::TRANSPORT != 0 {
        let (field, value) = TableField::for_transport(flow);
        rules = rules.and(&table(field, value).ok_or(Unreadable)?.rules);
    }
    if settings.uses & uses::VLAN != 0 {
        rules = rules.and(&table(TableField::Vlan, flow.vlan).ok_or(Unreadable)?.rules);
    }
    if settings.uses & uses::LENGTH != 0 {
        rules = rules.and(&table(TableField::Length, flow.length).ok_or(Unreadable)?.rules);
    }
    if settings.uses & uses::INTERFACE != 0 {
        rules = rules.and(&class(interface.class).ok_or(Unreadable)?.rules);
    }
    match rules.first() {
        Some(number) => Ok(Some(*RULES.get(number).ok_or(Unreadable)?)),
        None => Ok(None),
    }
}

/// The class of a source address, if any rule or failsafe peer asks for one.
pub(crate) struct Source {
    class: Option<&'static Class>,
}

impl Source {
    /// Whether all that this address sends is accepted.
    #[inline(always)]
    pub(crate) fn is_failsafe_peer(&self) -> bool {
        self.class.is_some_and(|class| class.failsafe & FAILSAFE_PEER != 0)
    }
}

/// Looks up the source address; `None` if the table cannot be read.
#[inline(always)]
pub(crate) fn source(flow: &Flow, settings: &Settings) -> Option<Source> {
    if settings.uses & uses::SOURCE == 0 {
        return Some(Source { class: None });
    }
    let number = match flow.family {
        Family::V4 => SOURCES_V4.get(&Key::new(32, first_four(&flow.source))),
        Family::V6 => SOURCES_V6.get(&Key::new(128, flow.source)),
    }?;
    Some(Source { class: Some(class(*number)?) })
}

/// The class of the destination port, and what it says.
pub(crate) struct Ports {
    destination: &'static Class,
}

impl Ports {
    /// Looks up the destination port; `None` if the table cannot be read.
    #[inline(always)]
    pub(crate) fn of(flow: &Flow) -> Option<Self> {
        let destination = if flow.has_ports() {
            table(TableField::DestinationPort, flow.destination_port())?
        } else {
            class(NO_PORTS_CLASS)?
        };
        Some(Self { destination })
    }

    /// Whether the destination port is a failsafe port of the packet's protocol.
    #[inline(always)]
    pub(crate) fn is_failsafe(&self, flow: &Flow) -> bool {
        flow.has_ports() && self.destination.failsafe & (1u32 << Transport::of(flow) as u32) != 0
    }

    /// Where the packet is counted: at its service's port or at "other" of its protocol.
    #[inline(always)]
    pub(crate) fn service_slot(&self, flow: &Flow) -> u32 {
        let transport = Transport::of(flow);
        let [tcp, udp, sctp] = self.destination.service;
        let service = match transport {
            Transport::Tcp => tcp,
            Transport::Udp => udp,
            Transport::Sctp => sctp,
            Transport::Icmp | Transport::Icmpv6 | Transport::Other => NO_SERVICE,
        };
        if service == NO_SERVICE { transport.other_port() } else { u32::from(service) }
    }
}

#[inline(always)]
fn destination(flow: &Flow) -> Option<&'static Class> {
    let number = match flow.family {
        Family::V4 => DESTINATIONS_V4.get(&Key::new(32, first_four(&flow.destination))),
        Family::V6 => DESTINATIONS_V6.get(&Key::new(128, flow.destination)),
    }?;
    class(*number)
}

#[inline(always)]
fn table(field: TableField, value: u16) -> Option<&'static Class> {
    let table = TABLES.get(field as u32)?;
    // The compiler knows that a port whose bytes were swapped fits 16 bits, and leaves out every check of that;
    // verifiers up to at least Linux 6.12 know nothing of a number after a swap of its bytes ("R0 max value is
    // outside of the allowed memory range").
    let value = without_history::<0xffff>(u32::from(value));
    let number = table.classes.get(value as usize)?;
    class(u32::from(*number))
}

#[inline(always)]
fn class(number: u32) -> Option<&'static Class> {
    CLASSES.get(number)
}

#[inline(always)]
fn first_four(address: &[u8; 16]) -> [u8; 4] {
    let [a, b, c, d, ..] = *address;
    [a, b, c, d]
}
