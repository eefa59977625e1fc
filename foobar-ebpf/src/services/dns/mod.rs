//! DNS: queries that come in, answers that go out, by datagrams and on TCP connections.

mod connections;
mod pending;
mod reading;

use aya_ebpf::{
    btf_maps::PerCpuArray,
    macros::btf_map,
    programs::{TcContext, XdpContext},
};
use foobar_common::{
    counters::SERVICE_SLOTS,
    dns::{DnsConnection, DnsCounters, DnsSide, Finding, Messages, Role},
    flow::{Direction, protocol},
    service::Loss,
};

pub(super) use self::connections::forget;
use self::reading::{Payload, Reading, read};
use super::{
    datagram::Datagram,
    lock,
    passage::Passage,
    segment::{Belongs, Packet, Place, Segment, WINDOW_MAX},
};
use crate::scratch;

#[btf_map]
static DNS_COUNTERS: PerCpuArray<DnsCounters, { SERVICE_SLOTS as usize }> = PerCpuArray::new();

/// Reads the queries in a packet that comes in.
#[inline(always)]
pub(crate) fn queries(context: &XdpContext) -> Option<()> {
    if is_datagram(Direction::In)? {
        let datagram = Datagram::of(context, Direction::In)?;
        return message(context, &datagram, Direction::In, Role::Client);
    }
    let segment = Segment::of(context, Direction::In)?;
    let counters = counters(Direction::In)?;
    if segment.brings_cookie(|| connections::find(&segment.key).is_some(), context) {
        connections::keep(&segment.key, connections::open(&segment.answered(), Direction::In)?);
    }
    if segment.is_reset() || segment.length == 0 {
        return Some(());
    }
    if segment.is_first() {
        // Nobody can tell what it is part of.
        lose(counters, Direction::In, Loss::SynData, segment.length);
        return Some(());
    }
    let Some(connection) = connections::find(&segment.key) else {
        Passage::lose(Direction::In, segment.length);
        return Some(());
    };
    // SAFETY: the map gave the pointer. This half is written by this direction alone, under its lock.
    let inbound = unsafe { &mut (*connection).inbound };
    follow(&segment, inbound, counters, Direction::In, context)
}

/// Reads the answers in a packet that goes out.
#[inline(always)]
pub(crate) fn answers(context: &TcContext) -> Option<()> {
    if is_datagram(Direction::Out)? {
        let datagram = Datagram::of(context, Direction::Out)?;
        // SAFETY: the context is the one that the kernel gave.
        let each = u64::from(unsafe { (*context.skb.skb).gso_size });
        if each > 0 && datagram.present > each {
            // Several that are still to be cut (UDP_SEGMENT, Linux 4.18). No server of DNS is known to send so.
            lose(counters(Direction::Out)?, Direction::Out, Loss::Internal, datagram.present);
            return Some(());
        }
        return message(context, &datagram, Direction::Out, Role::Server);
    }
    let segment = Segment::of(context, Direction::Out)?;
    let counters = counters(Direction::Out)?;
    if segment.is_reset() {
        return Some(());
    }
    // SAFETY: the map gave the pointer, and the number never changes.
    let first = |found: &*mut DnsConnection| unsafe { (**found).first };
    let connection = match segment.belongs_to(connections::find(&segment.key), first) {
        Belongs::Known(connection) => connection,
        Belongs::Opens => {
            connections::keep(&segment.key, connections::open(&segment, Direction::Out)?);
            return Some(());
        }
        Belongs::Preexisting => {
            let connection = connections::open(&segment, Direction::Out)?;
            connection.inbound.messages.end();
            connection.outbound.messages.end();
            connections::keep(&segment.key, connection);
            counters.lost.count(Direction::In, Loss::Preexisting);
            lose(counters, Direction::Out, Loss::Preexisting, segment.length);
            return Some(());
        }
        Belongs::Nowhere => return Some(()),
    };
    if segment.length == 0 {
        return Some(());
    }
    // SAFETY: the map gave the pointer. This half is written by this direction alone, under its lock.
    let outbound = unsafe { &mut (*connection).outbound };
    follow(&segment, outbound, counters, Direction::Out, context)
}

/// Whether the present packet is one of UDP.
#[inline(always)]
fn is_datagram(direction: Direction) -> Option<bool> {
    Some(scratch::headers(direction)?.flow.protocol == protocol::UDP)
}

/// Reads the message of a datagram. Of one in fragments, the first has the header and the question: if not, those are
/// missing.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "no datagram is 64 KiB long")]
fn message<P: Packet>(packet: &P, datagram: &Datagram, direction: Direction, role: Role) -> Option<()> {
    let counters = counters(direction)?;
    let reading = Reading::of(direction, &datagram.key, protocol::UDP)?;
    let messages = reading::message(direction)?;
    *messages = Messages::of_datagram(role);
    if matches!(messages.begin(datagram.length as u32), Finding::NotDns) {
        lose(counters, direction, Loss::NotDns, datagram.present);
        return Some(());
    }
    let payload = Payload { offset: datagram.offset, length: datagram.present };
    let lost = read(payload, reading, messages, counters, packet);
    let loss = match lost {
        Some((loss, _)) => loss,
        None if messages.is_over() => return Some(()),
        None => Loss::Gap,
    };
    lose(counters, direction, loss, datagram.present);
    Some(())
}

/// Reads what a segment has that was not read before, and moves the cursor on.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "no window is 4 GiB large")]
fn follow<P: Packet>(
    segment: &Segment,
    side: &mut DnsSide,
    counters: &mut DnsCounters,
    direction: Direction,
    packet: &P,
) -> Option<()> {
    if side.messages.is_over() {
        Passage::lose(direction, segment.length);
        return Some(());
    }
    let reading = Reading::of(direction, &segment.key, protocol::TCP)?;
    if !lock::take(&side.lock) {
        lose(counters, direction, Loss::Busy, segment.length);
        return None;
    }
    let (before, missing) = match segment.place(side.next) {
        Place::Next(before) => (before, 0),
        Place::Ahead(missing) => (0, missing),
        Place::Old => (segment.length, 0),
    };
    // What is further ahead is none of this connection.
    if before < segment.length && missing <= u64::from(WINDOW_MAX) {
        side.next = segment.next();
        let lost = if u64::from(side.messages.pass(missing as u32)) < missing {
            side.messages.end();
            Some((Loss::Gap, segment.length))
        } else {
            let payload = Payload {
                offset: segment.offset.wrapping_add(before),
                length: segment.length.wrapping_sub(before),
            };
            read(payload, reading, &mut side.messages, counters, packet)
        };
        if let Some((loss, bytes)) = lost {
            lose(counters, direction, loss, bytes);
        }
    }
    lock::give_back(&side.lock);
    Some(())
}

/// Following one direction of a connection, or reading a datagram, was given up, with so many bytes of the packet.
#[inline(always)]
fn lose(counters: &mut DnsCounters, direction: Direction, loss: Loss, bytes: u64) {
    counters.lost.count(direction, loss);
    Passage::lose(direction, bytes);
}

/// The counters of the packet's service.
#[inline(always)]
fn counters(direction: Direction) -> Option<&'static mut DnsCounters> {
    let place = DNS_COUNTERS.get_ptr_mut(Passage::service(direction)?)?;
    // SAFETY: the map gave the pointer, and an entry of a per-CPU array is this processor's alone while the program
    // runs, but for a program of the other direction that interrupts it and counts elsewhere in it.
    Some(unsafe { &mut *place })
}
