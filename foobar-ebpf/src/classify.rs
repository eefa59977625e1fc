//! From the fields of a packet to the rule that it meets.

use foobar_common::{
    classes::{FAILSAFE_PEER, NO_PORTS_CLASS, NO_SERVICE},
    counters::Transport,
    fields::{AddressField, TableField},
    flow::Flow,
    rule::{RankedRule, uses},
};

use crate::{
    addresses,
    clauses::{Class, Field, Search},
    interface::Interface,
    sets, settings, tables,
};

/// A table has no entry where the compiler of rulesets promises one.
pub(crate) struct Unreadable;

/// The first rule that the packet meets, or [`RankedRule::NONE`]. Fields that no rule asks for are not looked up.
#[inline(always)]
pub(crate) fn rule(
    flow: &Flow,
    interface: &Interface,
    source: &Source,
    ports: &Ports,
) -> Result<RankedRule, Unreadable> {
    if !settings::uses(uses::RULES) {
        return Ok(RankedRule::NONE);
    }
    let mut search = Search::new(ports.class);
    let mut narrow = |field, number: Option<u32>| {
        search.narrow(field, number.and_then(Class::of).ok_or(Unreadable)?);
        Ok(())
    };
    if Field::Destination.is_used() {
        let field = AddressField::destination(flow.family);
        narrow(Field::Destination, addresses::class(field, flow.family, &flow.destination))?;
    }
    if Field::SourceSet.is_used() {
        let class = sets::class(flow.family, &flow.source);
        narrow(Field::SourceSet, class.map(|class| settings::first_source_set().wrapping_add(class)))?;
    }
    if Field::DestinationSet.is_used() {
        let class = sets::class(flow.family, &flow.destination);
        narrow(
            Field::DestinationSet,
            class.map(|class| settings::first_destination_set().wrapping_add(class)),
        )?;
    }
    if Field::SourcePort.is_used() {
        let class = if flow.has_ports() {
            tables::class(TableField::SourcePort, flow.source_port())
        } else {
            Some(NO_PORTS_CLASS)
        };
        narrow(Field::SourcePort, class)?;
    }
    if Field::Transport.is_used() {
        let (field, value) = TableField::for_transport(flow);
        narrow(Field::Transport, tables::class(field, value))?;
    }
    if Field::Vlan.is_used() {
        narrow(Field::Vlan, tables::class(TableField::Vlan, flow.vlan))?;
    }
    if Field::Length.is_used() {
        narrow(Field::Length, tables::class(TableField::Length, flow.length))?;
    }
    if Field::Interface.is_used() {
        narrow(Field::Interface, Some(interface.class))?;
    }
    if let Some(class) = source.class {
        search.narrow(Field::Source, class);
    }
    search.first_rule()
}

/// The class of a source address, if any rule or failsafe peer asks for one.
pub(crate) struct Source {
    class: Option<Class>,
}

impl Source {
    /// Looks up the source address; `None` if the table cannot be read.
    #[inline(always)]
    pub(crate) fn of(flow: &Flow) -> Option<Self> {
        if !Field::Source.is_used() {
            return Some(Self { class: None });
        }
        let number = addresses::class(AddressField::source(flow.family), flow.family, &flow.source)?;
        Some(Self { class: Some(Class::of(number)?) })
    }

    /// Whether all that this address sends is accepted.
    #[inline(always)]
    pub(crate) fn is_failsafe_peer(&self) -> bool {
        self.class.is_some_and(|class| class.head().failsafe & FAILSAFE_PEER != 0)
    }
}

/// The class of the destination port, and what it says.
pub(crate) struct Ports {
    class: Class,
}

impl Ports {
    /// Looks up the destination port; `None` if the table cannot be read.
    #[inline(always)]
    pub(crate) fn of(flow: &Flow) -> Option<Self> {
        let number = if flow.has_ports() {
            tables::class(TableField::DestinationPort, flow.destination_port())?
        } else {
            NO_PORTS_CLASS
        };
        Some(Self { class: Class::of(number)? })
    }

    /// Whether the destination port is a failsafe port of the packet's protocol.
    #[inline(always)]
    pub(crate) fn is_failsafe(&self, flow: &Flow) -> bool {
        flow.has_ports() && self.class.head().failsafe & (1u32 << Transport::of(flow) as u32) != 0
    }

    /// Where the packet is counted: at its service's port or at "other" of its protocol.
    #[inline(always)]
    pub(crate) fn service_slot(&self, flow: &Flow) -> u32 {
        let transport = Transport::of(flow);
        let [tcp, udp, sctp] = self.class.head().service;
        let service = match transport {
            Transport::Tcp => tcp,
            Transport::Udp => udp,
            Transport::Sctp => sctp,
            Transport::Icmp | Transport::Icmpv6 | Transport::Other => NO_SERVICE,
        };
        if service == NO_SERVICE { transport.other_port() } else { u32::from(service) }
    }
}
