//! Samples of packets, for whoever watches.
//!
//! Each packet is drawn by itself, with the chance that its rule says, and not every so many: so nothing is kept from one
//! to the next, a new ruleset goes on where the old one was, and traffic that repeats itself is not met at the same place
//! again and again.

use aya_ebpf::{
    EbpfContext as _,
    bindings::{__sk_buff, xdp_md},
    btf_maps::{Array, PerCpuArray, RingBuf},
    helpers::{
        bpf_get_prandom_u32, bpf_ktime_get_boot_ns, bpf_skb_load_bytes, bpf_xdp_get_buff_len,
        bpf_xdp_load_bytes,
    },
    macros::btf_map,
    maps::ring_buf::RingBufEntry,
    programs::{TcContext, XdpContext},
};
use foobar_common::{
    event::{EVENT_BYTES, Event, EventCounters, EventReader, RING_BYTES},
    flow::Direction,
    verdict::Verdict,
};

use crate::{decide::Decision, headers::Size, settings};

#[btf_map]
static EVENTS: RingBuf<Event, { RING_BYTES as usize }> = RingBuf::new();
#[btf_map]
static EVENT_COUNTERS: PerCpuArray<EventCounters, 1> = PerCpuArray::new();
#[btf_map]
static EVENT_READER: Array<EventReader, 1> = Array::new();
#[btf_map]
static RULE_LOGS: Array<u32, 1> = Array::new();

/// A packet as a program has it.
pub(crate) trait Source {
    /// Tells of it if it is drawn: what was decided, as [`word`] gives it, its rule, and how many packets it is.
    fn offer(&self, decided: u32, rule: u32, packets: u32);
}

impl Source for XdpContext {
    #[inline(always)]
    fn offer(&self, decided: u32, rule: u32, packets: u32) {
        offer_in(self.ctx, decided, rule, packets);
    }
}

impl Source for TcContext {
    #[inline(always)]
    fn offer(&self, decided: u32, rule: u32, packets: u32) {
        offer_out(self.as_ptr().cast(), decided, rule, packets);
    }
}

/// Tells of a packet if it is drawn. Where the rules draw none, the verifier removes all of this.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "a frame is cut into 65,535 packets at most")]
pub(crate) fn offer(context: &impl Source, decision: &Decision, size: Size) {
    if settings::logs_rules() || settings::log_drops() != 0 {
        context.offer(word(decision), decision.rule, size.packets as u32);
    }
}

/// Verdict and reason in one number, as a global function takes five arguments.
#[inline(always)]
const fn word(decision: &Decision) -> u32 {
    decision.reason.number() << 16 | decision.verdict.number()
}

#[inline(always)]
const fn split(word: u32) -> (u32, u32) {
    (word & 0xffff, word >> 16)
}

/// For what comes in. A global function: the verifier walks it once, and not in each state that a packet's decision can
/// be in, and its stack is free again afterwards.
#[inline(never)]
#[unsafe(no_mangle)]
#[expect(clippy::cast_possible_truncation, reason = "no frame is 4 GiB long")]
extern "C" fn offer_in(context: *mut xdp_md, decided: u32, rule: u32, packets: u32) -> u32 {
    let one_in = draw(decided, rule);
    if one_in == 0 {
        return 0;
    }
    let Some(mut event) = begin(decided, rule, one_in, packets) else { return 0 };
    // SAFETY: the context is the one that the kernel gave.
    let length = unsafe { bpf_xdp_get_buff_len(context) } as u32;
    // SAFETY: as above.
    let interface = unsafe { (*context).ingress_ifindex };
    let captured = captured(length);
    // SAFETY: the ring's memory has some bytes, of which any are numbers.
    let place = unsafe { event.assume_init_mut() };
    // SAFETY: the length is at most that of the place (`bpf_xdp_load_bytes`, Linux 5.18).
    let failed = unsafe { bpf_xdp_load_bytes(context, 0, place.bytes.as_mut_ptr().cast(), captured) };
    place.interface = interface;
    place.direction = Direction::In as u32;
    place.length = length;
    place.tag = 0;
    place.captured = if failed == 0 { captured } else { 0 };
    event.submit(0);
    0
}

/// The same for what goes out.
#[inline(never)]
#[unsafe(no_mangle)]
#[expect(clippy::cast_possible_truncation, reason = "an EtherType has 16 bits")]
extern "C" fn offer_out(context: *mut __sk_buff, decided: u32, rule: u32, packets: u32) -> u32 {
    let one_in = draw(decided, rule);
    if one_in == 0 {
        return 0;
    }
    let Some(mut event) = begin(decided, rule, one_in, packets) else { return 0 };
    // SAFETY: the context is the one that the kernel gave.
    let buffer = unsafe { &*context };
    let (length, interface, present) = (buffer.len, buffer.ifindex, buffer.vlan_present);
    let (protocol, control) = (buffer.vlan_proto, buffer.vlan_tci);
    let captured = captured(length);
    // SAFETY: the ring's memory has some bytes, of which any are numbers.
    let place = unsafe { event.assume_init_mut() };
    // SAFETY: the length is at most that of the place (`bpf_skb_load_bytes`, Linux 4.5).
    let failed = unsafe { bpf_skb_load_bytes(context.cast(), 0, place.bytes.as_mut_ptr().cast(), captured) };
    place.interface = interface;
    place.direction = Direction::Out as u32;
    place.length = length;
    // The EtherType of the tag is in network byte order.
    place.tag =
        if present == 0 { 0 } else { u32::from((protocol as u16).swap_bytes()) << 16 | control & 0xffff };
    place.captured = if failed == 0 { captured } else { 0 };
    event.submit(0);
    0
}

/// Of how many packets this one was drawn, or zero if it was not.
#[inline(always)]
fn draw(decided: u32, rule: u32) -> u32 {
    let one_in = one_in(decided, rule);
    if one_in == 0 {
        return 0;
    }
    // SAFETY: takes nothing, and touches no memory.
    let number = u64::from(unsafe { bpf_get_prandom_u32() });
    // Of the 2^32 numbers, every so many.
    if number.wrapping_mul(u64::from(one_in)) >> 32 == 0 { one_in } else { 0 }
}

/// What the rule says of its packets, else what the policy says of those that go no further.
#[inline(always)]
fn one_in(decided: u32, rule: u32) -> u32 {
    // `NO_RULE` lies beyond the end of the map, as does every rule that says nothing and comes last.
    if settings::logs_rules()
        && let Some(one_in) = RULE_LOGS.get(rule)
        && *one_in != 0
    {
        return *one_in;
    }
    let (verdict, _) = split(decided);
    let is_refused = Verdict::from_number(verdict).is_none_or(Verdict::is_refusal);
    if is_refused { settings::log_drops() } else { 0 }
}

/// A place in the ring with all that does not depend on how a program has its packet; `None` if nobody watches, or
/// there is no room.
#[inline(always)]
fn begin(decided: u32, rule: u32, one_in: u32, packets: u32) -> Option<RingBufEntry<Event>> {
    let counters = EVENT_COUNTERS.get_ptr_mut(0)?;
    // SAFETY: the map gave the pointer, and an entry of a per-CPU array is this CPU's alone while the program runs.
    let counters = unsafe { &mut *counters };
    counters.drawn = counters.drawn.wrapping_add(1);
    let reader = EVENT_READER.get(0)?;
    // SAFETY: the map gave the pointer; user space writes whole words.
    if unsafe { (&raw const reader.watchers).read_volatile() } == 0 {
        counters.unwatched = counters.unwatched.wrapping_add(1);
        return None;
    }
    let Some(mut event) = EVENTS.reserve(0) else {
        counters.lost = counters.lost.wrapping_add(1);
        return None;
    };
    let (verdict, reason) = split(decided);
    // SAFETY: the ring's memory has some bytes, of which any are numbers.
    let place = unsafe { event.assume_init_mut() };
    // SAFETY: takes nothing, and touches no memory (Linux 5.8).
    place.boot_ns = unsafe { bpf_ktime_get_boot_ns() };
    place.verdict = verdict;
    place.reason = reason;
    place.rule = rule;
    place.one_in = one_in;
    place.packets = packets;
    Some(event)
}

/// How many bytes of a frame are taken. Of none, one is asked for, which fails.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "a small number")]
fn captured(length: u32) -> u32 {
    const MOST: u32 = EVENT_BYTES as u32;
    const _: () = assert!(MOST.is_power_of_two());
    let least = if length < MOST { length } else { MOST };
    // The verifier loses sight of a limit that was found by a jump, or sees none (before Linux 6.8): so the number goes
    // over the stack, and a mask limits it.
    // SAFETY: a number of this function.
    let least = unsafe { (&raw const least).read_volatile() };
    (least.wrapping_sub(1) & MOST.wrapping_sub(1)).wrapping_add(1)
}
