//! Packets that are rejected: they end, and their senders are told so.
//!
//! There is a program of its own for each direction, which takes over by a tail call from the one that has judged a packet,
//! and ends at the same exit: so other packets do not pay for it, and it is loaded only where the rules reject something.
//! What comes in is answered from the card, in the place of the packet; what was to go out is answered to the network stack
//! of this machine, as if the answer had come in.

mod answer;
mod carrier;

use aya_ebpf::{
    btf_maps::{Array, PerCpuArray},
    helpers::bpf_redirect,
    macros::btf_map,
    programs::{TcContext, XdpContext},
};
use foobar_common::{
    flow::Direction,
    reject::{AnswerBucket, Outcome, outcome_slot},
    rule::uses,
    verdict::{Reason, Verdict},
};

use crate::{
    decide::Decision,
    headers::Size,
    interface::{self, Interface},
    limit,
    services::{self, Packet as _, Passage},
    settings,
};

#[btf_map]
static ANSWER_BUCKETS: Array<AnswerBucket, 2> = Array::new();
#[btf_map]
static REJECT_COUNTERS: PerCpuArray<u64, { 2 * Outcome::COUNT as usize }> = PerCpuArray::new();

/// Where the address of the sender lies in a frame.
const SOURCE_AT: usize = 6;
/// `BPF_F_INGRESS` of `bpf_redirect`: as if it had come in (Linux 4.3).
const INGRESS: u64 = 1;

/// Goes on with a rejected packet in the program that answers it. Comes back if the packet is none; no bytes of it are for the
/// program of a service.
#[inline(always)]
pub(crate) fn enter_in(context: &XdpContext, size: Size, decision: &Decision, interface: &Interface) -> u64 {
    if keep(size, decision, interface, Direction::In).is_some() {
        services::reject_in(context);
    }
    0
}

/// The same for what goes out.
#[inline(always)]
pub(crate) fn enter_out(context: &TcContext, size: Size, decision: &Decision, interface: &Interface) -> u64 {
    if keep(size, decision, interface, Direction::Out).is_some() {
        services::reject_out(context);
    }
    0
}

#[inline(always)]
fn keep(size: Size, decision: &Decision, interface: &Interface, direction: Direction) -> Option<()> {
    if !settings::uses(uses::REJECTS) || !matches!(decision.verdict, Verdict::Reject) {
        return None;
    }
    let Decision { verdict: _, reason, rule, port, protocol, group } = *decision;
    let kept = keep_numbers(
        pair(direction as u32, interface.slot),
        size.packets << 32 | size.bytes,
        pair(reason.number(), rule),
        pair(port, protocol),
        group,
    );
    if kept == 0 { Some(()) } else { None }
}

#[inline(always)]
fn pair(high: u32, low: u32) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}

/// Keeps a rejected packet for the program that follows; zero if that went well.
///
/// A function of its own that gets numbers, because the one that calls it has no stack left (512 bytes).
#[inline(never)]
#[expect(clippy::cast_possible_truncation, reason = "each half is wanted")]
fn keep_numbers(place: u64, size: u64, why: u64, service: u64, group: u32) -> u32 {
    let direction = if place >> 32 == 0 { Direction::In } else { Direction::Out };
    let Some(reason) = Reason::from_number((why >> 32) as u32) else { return 1 };
    let decision = Decision {
        verdict: Verdict::Reject,
        reason,
        rule: why as u32,
        port: (service >> 32) as u32,
        protocol: service as u32,
        group,
    };
    let interface = Interface::counted(place as u32);
    let size = Size { packets: size >> 32, bytes: size & 0xffff_ffff };
    let kept = Passage { size, decision, interface, lost: 0 }.keep(direction);
    u32::from(kept.is_none())
}

/// Whether this is an answer that the other program has made: in generic mode, what is delivered to this machine comes by
/// here.
#[inline(always)]
pub(crate) fn is_own_answer(context: &XdpContext) -> bool {
    let Some([c0, c1, c2]) = settings::answer_card() else { return false };
    let found = context.first_buffer().read::<[u16; 3]>(SOURCE_AT, Reason::Internal);
    found.is_ok_and(|[f0, f1, f2]| (f0 ^ c0) | (f1 ^ c1) | (f2 ^ c2) == 0)
}

/// Makes an answer of a packet that came in and has been rejected. Whether it did: then it is to be sent back.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the kernel has the index as 32 bits")]
pub(crate) fn inbound(context: &XdpContext) -> bool {
    let card = interface::card(context.ingress_ifindex() as u32);
    note(answer::to(context, card, Direction::In), Direction::In)
}

/// Makes an answer of a packet that was to go out and has been rejected. What the helper says that delivers it, if there is
/// one.
#[inline(always)]
pub(crate) fn outbound(context: &TcContext) -> Option<i64> {
    if note(answer::to(context, None, Direction::Out), Direction::Out) {
        // SAFETY: the context is the one that the kernel gave.
        let interface = unsafe { (*context.skb.skb).ifindex };
        // SAFETY: the helper only notes where the packet goes (Linux 4.3).
        return Some(unsafe { bpf_redirect(interface, INGRESS) });
    }
    None
}

/// Counts what came of a packet, and says whether there is an answer.
#[inline(always)]
fn note(outcome: Outcome, direction: Direction) -> bool {
    if let Some(counter) = REJECT_COUNTERS.get_ptr_mut(outcome_slot(direction, outcome)) {
        // SAFETY: the map gave the pointer, and an entry of a per-CPU array is this processor's alone while the program runs.
        let counter = unsafe { &mut *counter };
        *counter = counter.wrapping_add(1);
    }
    outcome.is_answer()
}

/// Whether there may be one answer more.
#[inline(always)]
fn is_within_rate(direction: Direction) -> bool {
    let Some(bucket) = ANSWER_BUCKETS.get_ptr_mut(direction as u32) else { return false };
    // SAFETY: the map gave the pointer. Two numbers are written only before the program runs, and the third by whole words.
    let bucket = unsafe { &mut *bucket };
    limit::charge([bucket.interval, bucket.tolerance], &raw mut bucket.full_at)
}
