//! From the fields of a packet to the rule that it meets.

use foobar_common::{
    classes::{ClassHead, FAILSAFE_PEER, NO_PORTS_CLASS, NO_SERVICE},
    counters::Transport,
    fields::{AddressField, TableField},
    flow::Flow,
    rule::{RuleRecord, uses},
};

use crate::{
    addresses,
    clauses::{self, Field, Search},
    interface::Interface,
    sets, settings, tables,
};

/// A table has no entry where the compiler of rulesets promises one.
pub(crate) struct Unreadable;

/// The first rule that the packet meets, if any. Fields that no rule asks for are not looked up.
#[inline(always)]
pub(crate) fn rule(
    flow: &Flow,
    interface: &Interface,
    source: &Source,
    ports: &Ports,
) -> Result<Option<RuleRecord>, Unreadable> {
    if !settings::uses(uses::RULES) {
        return Ok(None);
    }
    let mut search = Search::new(ports.class, ports.head);
    if let Some((class, head)) = source.class {
        search.narrow_by(Field::Source, class, head);
    }
    if Field::Destination.is_used() {
        let class = addresses::class(AddressField::destination(flow.family), flow.family, &flow.destination);
        search.narrow(Field::Destination, class.ok_or(Unreadable)?)?;
    }
    if Field::SourceSet.is_used() {
        let class = sets::class(flow.family, &flow.source).ok_or(Unreadable)?;
        search.narrow(Field::SourceSet, settings::first_source_set().wrapping_add(class))?;
    }
    if Field::DestinationSet.is_used() {
        let class = sets::class(flow.family, &flow.destination).ok_or(Unreadable)?;
        search.narrow(Field::DestinationSet, settings::first_destination_set().wrapping_add(class))?;
    }
    if Field::SourcePort.is_used() {
        let class = if flow.has_ports() {
            tables::class(TableField::SourcePort, flow.source_port()).ok_or(Unreadable)?
        } else {
            NO_PORTS_CLASS
        };
        search.narrow(Field::SourcePort, class)?;
    }
    if Field::Transport.is_used() {
        let (field, value) = TableField::for_transport(flow);
        search.narrow(Field::Transport, tables::class(field, value).ok_or(Unreadable)?)?;
    }
    if Field::Vlan.is_used() {
        search.narrow(Field::Vlan, tables::class(TableField::Vlan, flow.vlan).ok_or(Unreadable)?)?;
    }
    if Field::Length.is_used() {
        search.narrow(Field::Length, tables::class(TableField::Length, flow.length).ok_or(Unreadable)?)?;
    }
    if Field::Interface.is_used() {
        search.narrow(Field::Interface, interface.class)?;
    }
    search.first_rule()
}

/// The class of a source address, if any rule or failsafe peer asks for one.
pub(crate) struct Source {
    class: Option<(u32, &'static ClassHead)>,
}

impl Source {
    /// Looks up the source address; `None` if the table cannot be read.
    #[inline(always)]
    pub(crate) fn of(flow: &Flow) -> Option<Self> {
        if !Field::Source.is_used() {
            return Some(Self { class: None });
        }
        let class = addresses::class(AddressField::source(flow.family), flow.family, &flow.source)?;
        Some(Self { class: Some((class, clauses::head(class)?)) })
    }

    /// Whether all that this address sends is accepted.
    #[inline(always)]
    pub(crate) fn is_failsafe_peer(&self) -> bool {
        self.class.is_some_and(|(_, head)| head.failsafe & FAILSAFE_PEER != 0)
    }
}

/// The class of the destination port, and what it says.
pub(crate) struct Ports {
    class: u32,
    head: &'static ClassHead,
}

impl Ports {
    /// Looks up the destination port; `None` if the table cannot be read.
    #[inline(always)]
    pub(crate) fn of(flow: &Flow) -> Option<Self> {
        let class = if flow.has_ports() {
            tables::class(TableField::DestinationPort, flow.destination_port())?
        } else {
            NO_PORTS_CLASS
        };
        Some(Self { class, head: clauses::head(class)? })
    }

    /// Whether the destination port is a failsafe port of the packet's protocol.
    #[inline(always)]
    pub(crate) fn is_failsafe(&self, flow: &Flow) -> bool {
        flow.has_ports() && self.head.failsafe & (1u32 << Transport::of(flow) as u32) != 0
    }

    /// Where the packet is counted: at its service's port or at "other" of its protocol.
    #[inline(always)]
    pub(crate) fn service_slot(&self, flow: &Flow) -> u32 {
        let transport = Transport::of(flow);
        let [tcp, udp, sctp] = self.head.service;
        let service = match transport {
            Transport::Tcp => tcp,
            Transport::Udp => udp,
            Transport::Sctp => sctp,
            Transport::Icmp | Transport::Icmpv6 | Transport::Other => NO_SERVICE,
        };
        if service == NO_SERVICE { transport.other_port() } else { u32::from(service) }
    }
}
