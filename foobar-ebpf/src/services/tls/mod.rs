//! TLS: what clients offer and what servers choose, and what becomes of clients that offer nothing.

mod connections;
mod reading;

use aya_ebpf::{
    btf_maps::PerCpuArray,
    helpers::bpf_ktime_get_ns,
    macros::btf_map,
    programs::{TcContext, XdpContext},
};
use foobar_common::{
    connection::{TlsConnection, TlsSide},
    counters::SERVICE_SLOTS,
    flow::Direction,
    frame::within,
    service::{FirstBytes, Loss, ServiceSettings, Ticks, TlsCounters, VERSIONS_ROOM},
    tls::{Alpn, Finding, TlsVersion},
    verdict::Reason,
};

pub(super) use self::connections::forget;
use self::reading::{Findings, read};
use super::{
    configured, lock,
    passage::Passage,
    peers,
    proxy::{self, Begins},
    segment::{Belongs, Place, Segment},
};

#[btf_map]
static TLS_COUNTERS: PerCpuArray<TlsCounters, { SERVICE_SLOTS as usize }> = PerCpuArray::new();

/// What is known of the service of a packet.
struct Service {
    slot: u32,
    settings: ServiceSettings,
    counters: &'static mut TlsCounters,
}

impl Service {
    #[inline(always)]
    fn of(direction: Direction) -> Option<Self> {
        let slot = Passage::service(direction)?;
        let place = TLS_COUNTERS.get_ptr_mut(slot)?;
        // SAFETY: the map gave the pointer, and an entry of a per-CPU array is this processor's alone while the program
        // runs, but for a program of the other direction that interrupts it and counts elsewhere in it.
        let counters = unsafe { &mut *place };
        Some(Self { slot, settings: configured::of(slot)?, counters })
    }

    /// Whether clients may not send what they like.
    #[inline(always)]
    fn is_strict(&self) -> bool {
        self.settings.tls_required != 0 || self.settings.oldest_tls != 0
    }

    #[inline(always)]
    fn lose(&mut self, direction: Direction, loss: Loss, segment: &Segment) {
        self.counters.lost.count(direction, loss);
        Passage::lose(direction, segment.length);
    }
}

/// Reads what a client offers in a segment that comes in.
#[inline(always)]
pub(crate) fn offers(context: &XdpContext) -> Option<()> {
    let segment = Segment::of(context, Direction::In)?;
    let mut service = Service::of(Direction::In)?;
    if segment.brings_cookie(|| connections::find(&segment.key).is_some(), context) {
        connections::keep(&segment.key, connections::open(&segment.answered(), Direction::In)?);
    }
    if segment.is_reset() || segment.length == 0 {
        return Some(());
    }
    if segment.is_first() {
        // Nobody can tell what it is part of.
        service.lose(Direction::In, Loss::SynData, &segment);
        if service.is_strict() {
            Passage::refuse(Direction::In, Reason::TlsOrder);
        }
        return Some(());
    }
    let Some(connection) = connections::find(&segment.key) else {
        Passage::lose(Direction::In, segment.length);
        return Some(());
    };
    // SAFETY: the map gave the pointer, and the number never changes.
    let first = unsafe { (*connection).first };
    // SAFETY: the map gave the pointer. This is written by this direction alone, under its lock; the other copies at
    // most what the client offers.
    let refused = unsafe { &mut (*connection).refused };
    // SAFETY: as above.
    let inbound = unsafe { &mut (*connection).inbound };
    // SAFETY: as above.
    let name = unsafe { &mut (*connection).name };
    if let Some(reason) = refusal(*refused) {
        Passage::refuse(Direction::In, reason);
        return Some(());
    }
    // SAFETY: the map gave the pointer, and all of it are cells whose bytes are valid at any time.
    let turns = unsafe { &(*connection).turns };
    if turns.asks(segment.next()) {
        turns.begin(now());
    }
    if inbound.hello.is_over() {
        return Some(());
    }
    if !lock::take(&inbound.lock) {
        service.lose(Direction::In, Loss::Busy, &segment);
        return None;
    }
    match proxy::client_begins(&segment, service.slot, inbound.next, first, context) {
        Begins::At(next) => inbound.next = next,
        Begins::Untold => {
            inbound.hello.end();
            service.lose(Direction::In, Loss::Proxy, &segment);
            if service.is_strict() {
                *refused = Reason::NotTls.number();
                Passage::refuse(Direction::In, Reason::NotTls);
            }
        }
        Begins::Refused => {
            lock::give_back(&inbound.lock);
            return None;
        }
    }
    match segment.place(inbound.next) {
        Place::Old => {}
        _ if inbound.hello.is_over() => {}
        Place::Ahead(_) if inbound.hello.is_complete() => inbound.hello.end(),
        Place::Ahead(_) if service.is_strict() => Passage::refuse(Direction::In, Reason::TlsOrder),
        Place::Ahead(_) => {
            inbound.hello.end();
            service.lose(Direction::In, Loss::Gap, &segment);
        }
        Place::Next(before) => {
            let is_first = !inbound.hello.has_begun();
            inbound.next = segment.next();
            turns.offered(segment.next());
            let findings = read(&segment, before, Direction::In, inbound, name, context);
            if let Some(reason) = conclude(findings, is_first, inbound, &mut service) {
                *refused = reason.number();
                Passage::refuse(Direction::In, reason);
            }
            if findings.has(Finding::Complete) {
                connections::count_name(name, service.slot);
            }
        }
    }
    lock::give_back(&inbound.lock);
    Some(())
}

/// Counts what a client has said, and tells why it may not say more.
#[inline(always)]
fn conclude(findings: Findings, is_first: bool, inbound: &TlsSide, service: &mut Service) -> Option<Reason> {
    let Service { slot: _, settings: ServiceSettings { tls_required, oldest_tls, .. }, counters } = service;
    let version = inbound.hello.offer().version();
    let place = place(version);
    if findings.has(Finding::Complete) {
        count(counters.offered.get_mut(place));
        begun(FirstBytes::Tls, counters);
        if version.number() < *oldest_tls {
            return Some(Reason::OldTls);
        }
    }
    if findings.has(Finding::Alert) {
        count(counters.failures.get_mut(place));
    }
    if findings.has(Finding::NotTls) {
        let class = if is_first && findings.begins_as_http() { FirstBytes::Http1 } else { FirstBytes::Other };
        begun(class, counters);
        if *tls_required != 0 {
            return Some(Reason::NotTls);
        }
    }
    None
}

/// Reads what a server chooses in a segment that goes out.
#[inline(always)]
pub(crate) fn choices(context: &TcContext) -> Option<()> {
    let segment = Segment::of(context, Direction::Out)?;
    let mut service = Service::of(Direction::Out)?;
    if segment.is_reset() {
        return Some(());
    }
    // SAFETY: the map gave the pointer, and the number never changes.
    let first = |found: &*mut TlsConnection| unsafe { (**found).first };
    let connection = match segment.belongs_to(connections::find(&segment.key), first) {
        Belongs::Known(connection) => connection,
        Belongs::Opens => {
            proxy::forget_client(&segment);
            connections::keep(&segment.key, connections::open(&segment, Direction::Out)?);
            return Some(());
        }
        Belongs::Preexisting => {
            let connection = connections::open(&segment, Direction::Out)?;
            connection.inbound.hello.end();
            connection.outbound.hello.end();
            connections::keep(&segment.key, connection);
            service.counters.lost.count(Direction::In, Loss::Preexisting);
            service.lose(Direction::Out, Loss::Preexisting, &segment);
            return Some(());
        }
        Belongs::Nowhere => return Some(()),
    };
    // SAFETY: the map gave the pointer. This half is written by this direction alone, under its lock.
    let outbound = unsafe { &mut (*connection).outbound };
    // SAFETY: the map gave the pointer, and all of it are cells whose bytes are valid at any time.
    let turns = unsafe { &(*connection).turns };
    if segment.length > 0
        && turns.answers(segment.next())
        && let Some(duration) = turns.end(now())
    {
        service.counters.turns.observe(duration);
    }
    if segment.length == 0 || outbound.hello.is_over() {
        return Some(());
    }
    let scratch = connections::scratch(Direction::Out)?;
    if !lock::take(&outbound.lock) {
        service.lose(Direction::Out, Loss::Busy, &segment);
        return None;
    }
    match segment.place(outbound.next) {
        Place::Old => {}
        Place::Ahead(_) => {
            if !outbound.hello.is_complete() {
                service.lose(Direction::Out, Loss::Gap, &segment);
            }
            outbound.hello.end();
        }
        Place::Next(before) => {
            outbound.next = segment.next();
            let findings = read(&segment, before, Direction::Out, outbound, &mut scratch.name, context);
            // SAFETY: the map gave the pointer. All bytes of an offer are valid at any time, and it is copied at once.
            let offered = *unsafe { &(*connection).inbound.hello }.offer();
            let chosen = outbound.hello.offer();
            if findings.has(Finding::Complete) {
                turns.open(segment.next(), !matches!(chosen.version(), TlsVersion::Tls13));
                // In 1.3 what it chooses is secret.
                let alpn = if matches!(chosen.alpn(), Alpn::None) { offered.alpn() } else { chosen.alpn() };
                let alpn = within::<{ Alpn::COUNT - 1 }>(alpn.number()) as usize;
                if let Some(of_version) = service.counters.handshakes.get_mut(place(chosen.version())) {
                    count(of_version.get_mut(alpn));
                }
            }
            if findings.has(Finding::Alert) {
                count(service.counters.failures.get_mut(place(offered.version())));
            }
        }
    }
    lock::give_back(&outbound.lock);
    Some(())
}

/// Counts a connection by what its client begins with.
#[inline(always)]
fn begun(first: FirstBytes, counters: &mut TlsCounters) {
    if let Some(others) = counters.connections.get_mut(first as usize) {
        peers::begun(first, others, Direction::In);
    }
}

/// Where a version is counted.
#[inline(always)]
fn place(version: TlsVersion) -> usize {
    within::<{ VERSIONS_ROOM - 1 }>(version.number()) as usize
}

/// Why a connection is refused, if it is.
#[inline(always)]
fn refusal(number: u32) -> Option<Reason> {
    match number {
        number if number == Reason::NotTls.number() => Some(Reason::NotTls),
        number if number == Reason::OldTls.number() => Some(Reason::OldTls),
        _ => None,
    }
}

#[inline(always)]
fn now() -> Ticks {
    // SAFETY: a helper that only reads a clock (Linux 4.1).
    Ticks::from_nanoseconds(unsafe { bpf_ktime_get_ns() })
}

#[inline(always)]
fn count(counter: Option<&mut u64>) {
    if let Some(counter) = counter {
        *counter = counter.wrapping_add(1);
    }
}
