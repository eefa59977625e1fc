//! Connections to services of which nothing is read: how many are opened, and how many are reset.
//!
//! Only what can open or reset a connection comes here (SYN and RST), so nothing else of such a service costs more than
//! a look at its flags. Whether a connection is still open, no packet tells for certain; the daemon asks the kernel.

mod connections;

use aya_ebpf::{
    btf_maps::PerCpuArray,
    macros::btf_map,
    programs::{TcContext, XdpContext},
};
use foobar_common::{counters::SERVICE_SLOTS, flow::Direction, raw::RawCounters};

pub(super) use self::connections::forget;
use super::{
    lock,
    passage::Passage,
    peers,
    segment::{Belongs, Segment},
};

#[btf_map]
static RAW_COUNTERS: PerCpuArray<RawCounters, { SERVICE_SLOTS as usize }> = PerCpuArray::new();

/// Counts the connection that a segment of a client resets.
#[inline(always)]
pub(crate) fn inbound(context: &XdpContext) -> Option<()> {
    let segment = Segment::of(context, Direction::In)?;
    if segment.is_reset() {
        reset(&segment, Direction::In)?;
    } else if segment.brings_cookie(|| connections::find(&segment.key).is_some(), context) {
        open(&segment.answered(), Direction::In)?;
    }
    Some(())
}

/// Keeps and counts a connection that begins with this SYN-ACK; told by what goes this way.
#[inline(always)]
fn open(segment: &Segment, direction: Direction) -> Option<()> {
    connections::open(&segment.key, segment.acknowledged());
    let opened = match peers::counters(direction) {
        Some(of_group) => &mut of_group.opened,
        None => &mut counters(direction)?.opened,
    };
    *opened = opened.wrapping_add(1);
    Some(())
}

/// Counts the connection that a segment of the server opens, resets or refuses.
#[inline(always)]
pub(crate) fn outbound(context: &TcContext) -> Option<()> {
    let segment = Segment::of(context, Direction::Out)?;
    if segment.is_refusal() {
        let counters = counters(Direction::Out)?;
        counters.refused = counters.refused.wrapping_add(1);
        return Some(());
    }
    if segment.is_reset() {
        return reset(&segment, Direction::Out);
    }
    let found = connections::find(&segment.key);
    if matches!(segment.belongs_to(found, |connection| connection.first), Belongs::Opens) {
        return open(&segment, Direction::Out);
    }
    Some(())
}

/// Counts a connection that ends by this segment, unless it has been reset before: what is under way then is answered by
/// more of the same.
#[inline(always)]
fn reset(segment: &Segment, direction: Direction) -> Option<()> {
    let is_first = match connections::find(&segment.key) {
        Some(connection) => lock::mark(&connection.reset),
        None => connections::keep_reset(&segment.key),
    };
    if is_first {
        counters(direction)?.reset(direction);
    }
    Some(())
}

/// The counters of the packet's service.
#[inline(always)]
fn counters(direction: Direction) -> Option<&'static mut RawCounters> {
    let place = RAW_COUNTERS.get_ptr_mut(Passage::service(direction)?)?;
    // SAFETY: the map gave the pointer, and an entry of a per-CPU array is this processor's alone while the program
    // runs, but for a program of the other direction that interrupts it and counts elsewhere in it.
    Some(unsafe { &mut *place })
}
