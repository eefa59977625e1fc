//! From the fields of a packet to the rule that it meets.

use foobar_common::{
    address::Address,
    classes::{FAILSAFE_PEER, NEVER_BAN, NO_GROUP, NO_PORTS_CLASS, NO_SERVICE},
    counters::Transport,
    fields::{AddressField, TableField},
    flow::{Direction, Family, Flow},
    rule::{RankedRule, uses},
    service::Protocol,
    tracking::Standing,
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
    direction: Direction,
    peer: &Peer,
    ports: &Ports,
    standing: Standing,
) -> Result<RankedRule, Unreadable> {
    let (rules, [class_in, class_out]) = (rules_for(direction), interface.classes);
    if !settings::uses(rules) {
        return Ok(RankedRule::NONE);
    }
    let mut search = Search::new(ports.destination);
    let mut narrow = |field, number: Option<u32>| {
        search.narrow(field, number.and_then(Class::of).ok_or(Unreadable)?);
        Ok(())
    };
    // The other address is the peer's.
    match direction {
        Direction::In if Field::Destination.is_used() => {
            let field = AddressField::destination(flow.family);
            narrow(Field::Destination, addresses::class(field, flow.family, &flow.destination))?;
        }
        Direction::Out if Field::Source.is_used() => {
            let field = AddressField::source(flow.family);
            narrow(Field::Source, addresses::class(field, flow.family, &flow.source))?;
        }
        Direction::In | Direction::Out => {}
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
    if ports.source.is_none() && Field::SourcePort.is_used() {
        narrow(Field::SourcePort, source_port(flow))?;
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
        let class = match direction {
            Direction::In => class_in,
            Direction::Out => class_out,
        };
        narrow(Field::Interface, Some(class.wrapping_add(standing.state())))?;
    }
    if let Some(class) = ports.source {
        search.narrow(Field::SourcePort, class);
    }
    if let Some(class) = peer.class {
        search.narrow(peer.field, class);
    }
    search.first_rule()
}

/// The bit of [`uses`] that says whether there are rules for a direction.
#[inline(always)]
const fn rules_for(direction: Direction) -> u32 {
    match direction {
        Direction::In => uses::RULES_IN,
        Direction::Out => uses::RULES_OUT,
    }
}

/// The address at the other end: where a packet comes from, or goes to.
pub(crate) struct Peer {
    field: Field,
    /// Its class, if any rule, failsafe peer or group asks for one.
    class: Option<Class>,
}

impl Peer {
    /// Looks it up; `None` if the table cannot be read.
    #[inline(always)]
    pub(crate) fn of(flow: &Flow, direction: Direction) -> Option<Self> {
        let (field, table, address) = match direction {
            Direction::In => (Field::Source, AddressField::source(flow.family), &flow.source),
            Direction::Out => (Field::Destination, AddressField::destination(flow.family), &flow.destination),
        };
        let class = if field.is_used() || settings::uses(uses::PEERS) {
            Some(Class::of(addresses::class(table, flow.family, address)?)?)
        } else {
            None
        };
        Some(Self { field, class })
    }

    /// Whether all that this address sends, and that is sent to it, is accepted.
    #[inline(always)]
    pub(crate) fn is_failsafe(&self) -> bool {
        self.class.is_some_and(|class| class.head().failsafe & FAILSAFE_PEER != 0)
    }

    /// Whether no ban and no limit of a rule reaches the address that a packet comes from. That is asked of few, so it is
    /// looked up only then, unless the rules ask for it anyway.
    #[inline(always)]
    pub(crate) fn is_never_banned(&self, flow: &Flow) -> bool {
        if !settings::uses(uses::NEVER_BAN) {
            return false;
        }
        let class = self.class.or_else(|| source_class(flow.family, &flow.source));
        class.is_some_and(|class| class.head().failsafe & NEVER_BAN != 0)
    }

    /// The same of bans alone, if it can be told without a look; `None` if not.
    #[inline(always)]
    pub(crate) fn is_known_never_banned(&self) -> Option<bool> {
        if !settings::uses(uses::NEVER_BAN) {
            return Some(false);
        }
        self.class.map(|class| class.head().failsafe & NEVER_BAN != 0)
    }

    /// The slot of the group that it is in, or [`NO_GROUP`].
    #[inline(always)]
    pub(crate) fn group(&self) -> u32 {
        match self.class {
            Some(class) if settings::uses(uses::GROUPS) => u32::from(class.head().group),
            _ => u32::from(NO_GROUP),
        }
    }
}

/// Whether no ban and no limit of a rule reaches an address, from which a proxy says that something comes.
#[inline(always)]
pub(crate) fn is_never_banned(family: Family, address: &Address) -> bool {
    settings::uses(uses::NEVER_BAN | uses::PEERS)
        && source_class(family, address)
            .is_some_and(|class| class.head().failsafe & (NEVER_BAN | FAILSAFE_PEER) != 0)
}

/// The class of a source address.
#[inline(always)]
fn source_class(family: Family, address: &Address) -> Option<Class> {
    Class::of(addresses::class(AddressField::source(family), family, address)?)
}

/// The classes of ports that are asked for in any case.
pub(crate) struct Ports {
    destination: Class,
    /// Of a packet that goes out: there, the source port is this server's.
    source: Option<Class>,
}

impl Ports {
    /// Looks them up; `None` if a table cannot be read.
    #[inline(always)]
    pub(crate) fn of(flow: &Flow, direction: Direction) -> Option<Self> {
        let number = if flow.has_ports() {
            tables::class(TableField::DestinationPort, flow.destination_port())?
        } else {
            NO_PORTS_CLASS
        };
        let source = match direction {
            Direction::In => None,
            Direction::Out => Some(Class::of(source_port(flow)?)?),
        };
        Some(Self { destination: Class::of(number)?, source })
    }

    /// The class of this server's port.
    #[inline(always)]
    fn local(&self) -> Class {
        self.source.unwrap_or(self.destination)
    }

    /// Whether this server's port is a failsafe port of the packet's protocol.
    #[inline(always)]
    pub(crate) fn is_failsafe(&self, flow: &Flow) -> bool {
        flow.has_ports() && self.local().head().failsafe & (1u32 << Transport::of(flow) as u32) != 0
    }

    /// The service that this server's port belongs to.
    #[inline(always)]
    pub(crate) fn service(&self, flow: &Flow) -> Service {
        let transport = Transport::of(flow);
        let head = self.local().head();
        let ([tcp, udp, sctp], [of_tcp, of_udp, of_sctp]) = (head.service, head.protocol);
        let (service, protocol) = match transport {
            Transport::Tcp => (tcp, of_tcp),
            Transport::Udp => (udp, of_udp),
            Transport::Sctp => (sctp, of_sctp),
            Transport::Icmp | Transport::Icmpv6 | Transport::Other => return Service::none(transport),
        };
        if service == NO_SERVICE {
            Service::none(transport)
        } else {
            Service { port: u32::from(service), protocol: u32::from(protocol) }
        }
    }
}

/// The service of a packet.
pub(crate) struct Service {
    /// Where the packet is counted: at its service's port or at "other" of its protocol.
    pub(crate) port: u32,
    /// What is spoken there: [`Protocol`] as a number, with [`Protocol::REQUESTS_ONLY`] in it, or [`Protocol::NONE`].
    pub(crate) protocol: u32,
}

impl Service {
    /// Of a packet that belongs to none.
    #[inline(always)]
    pub(crate) const fn none(transport: Transport) -> Self {
        Self { port: transport.other_port(), protocol: Protocol::NONE }
    }
}

/// The class of the source port.
#[inline(always)]
fn source_port(flow: &Flow) -> Option<u32> {
    if flow.has_ports() {
        tables::class(TableField::SourcePort, flow.source_port())
    } else {
        Some(NO_PORTS_CLASS)
    }
}
