//! Flows: what a packet is to those that are known, and what it makes of them once it is accepted.
//!
//! Both are global functions, which the verifier walks once and for all. A packet that changes nothing costs one look-up;
//! one that does is looked up again after the decision, since a pointer that is kept meanwhile would have the verifier walk
//! all rules once for each map that it may come from.

#![expect(clippy::needless_borrows_for_generic_args, reason = "a key that is moved is copied to the stack")]

use aya_ebpf::{
    bindings::{BPF_ANY, BPF_NOEXIST},
    btf_maps::{LruHashMap, PerCpuArray},
    helpers::generated::bpf_ktime_get_coarse_ns,
    macros::btf_map,
    programs::XdpContext,
};
use foobar_common::{
    flow::{Direction, Flow},
    frame::Frame,
    parse::Headers,
    tracking::{
        Act, BY_PROGRAMS, FLOW_COUNTER_ENTRIES, FLOWS_MAX, FlowCounters, FlowKey, FlowKeyV4, FlowMapCounters,
        Moment, Standing, Subject, TrackedFlow, UNPROVED_FLOWS_MAX, settled, standing,
    },
    verdict::Verdict,
};

use crate::{decide::Decision, fragments, settings, syn_cookies};

#[btf_map]
static FLOWS_V4: LruHashMap<FlowKeyV4, TrackedFlow, { FLOWS_MAX as usize }> = LruHashMap::new();
#[btf_map]
static FLOWS_V6: LruHashMap<FlowKey, TrackedFlow, { FLOWS_MAX as usize }> = LruHashMap::new();
#[btf_map]
static UNPROVED_FLOWS: LruHashMap<FlowKey, TrackedFlow, { UNPROVED_FLOWS_MAX as usize }> = LruHashMap::new();
#[btf_map]
static FLOW_COUNTERS: PerCpuArray<FlowCounters, { FLOW_COUNTER_ENTRIES as usize }> = PerCpuArray::new();
/// What the present packet of each direction is about.
#[btf_map]
static SUBJECTS: PerCpuArray<Subject, 2> = PerCpuArray::new();

/// Notes which flow a packet is about, while its bytes are at hand.
#[inline(always)]
pub(crate) fn note(frame: &Frame<'_>, headers: Option<&Headers>, direction: Direction) {
    if !settings::tracks() {
        return;
    }
    if let (Some(subject), Some(headers)) = (subject(direction), headers) {
        subject.read(frame, headers, direction);
    }
}

/// What the present packet is to the flows that are known, and in its datagram.
#[inline(always)]
pub(crate) fn stand(flow: &Flow, direction: Direction) -> Standing {
    if !settings::tracks() {
        return Standing::NONE;
    }
    let word = match direction {
        Direction::In => flow_standing(0),
        Direction::Out => flow_standing(1),
    };
    fragments::noted(Standing::from_word(word), flow, direction)
}

/// What the present packet, which comes in and is counted at this port slot, is to the flows that are known. One that
/// brings back a SYN cookie begins a flow: of its SYN nothing was kept.
#[inline(always)]
pub(crate) fn stand_arrived(flow: &Flow, port: u32, context: &XdpContext) -> Standing {
    let standing = stand(flow, Direction::In);
    if standing.is_stray() && syn_cookies::may_bring_cookie(flow, port) && syn_cookies::brings_cookie(context)
    {
        return Standing::PROVED;
    }
    standing
}

/// Forgets the flow of a SYN that has been answered with a cookie: there is no connection of its ends any more.
#[inline(always)]
pub(crate) fn forget_former() {
    if settings::tracks() {
        flow_end(0);
    }
}

/// Forgets the flow of the present packet of a direction, by its number.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn flow_end(direction: u32) -> u32 {
    let Some(subject) = subject(way(direction)) else { return 0 };
    // Mostly there is none, and a look costs less than a removal.
    let is_taken = proved(&subject.key).is_some() && take_proved(&subject.key);
    let is_unproved_taken =
        UNPROVED_FLOWS.get_ptr_mut(&subject.key).is_some() && UNPROVED_FLOWS.remove(&subject.key).is_ok();
    if let Some(counters) = counters() {
        let of_map = counters.proved_of(&subject.key);
        of_map.taken = of_map.taken.wrapping_add(u64::from(is_taken));
        counters.unproved.taken = counters.unproved.taken.wrapping_add(u64::from(is_unproved_taken));
    }
    0
}

/// Makes or changes the flow of a SYN that was to be answered with a cookie and is not.
#[inline(always)]
pub(crate) fn follow_held_back() {
    if settings::tracks() {
        flow_change(0);
    }
}

/// Makes or changes the flow of the present packet, if it is accepted.
#[inline(always)]
pub(crate) fn follow(standing: Standing, decision: &Decision, direction: Direction) {
    if settings::tracks() && standing.is_followed() && matches!(decision.verdict, Verdict::Accept) {
        match direction {
            Direction::In => flow_change(0),
            Direction::Out => flow_change(1),
        };
    }
}

/// [`Standing`] of the present packet of a direction, by its number.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn flow_standing(direction: u32) -> u32 {
    let direction = way(direction);
    let Some(subject) = subject(direction) else { return Standing::NONE.word() };
    let now = now();
    let mut flow = read(proved(&subject.key));
    if let Some(standing) = settled(subject, flow, direction, now) {
        return standing.word();
    }
    if !flow.is_known(now) {
        flow = read(UNPROVED_FLOWS.get_ptr_mut(&subject.key));
    }
    let found = if flow.is_known(now) { Some(flow) } else { None };
    standing(subject, found, direction, now, settings::learns(now)).word()
}

/// Makes or changes the flow of the present packet of a direction, by its number.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn flow_change(direction: u32) -> u32 {
    let direction = way(direction);
    let Some(subject) = subject(direction) else { return 0 };
    let now = now();
    let found = proved(&subject.key);
    let flow = read(found);
    if let Some(place) = found
        && flow.is_known(now)
    {
        // SAFETY: the map gave the pointer. A flow that is forgotten meanwhile has its place in another one's hands for
        // at most one packet, which is the kernel's way with such maps.
        unsafe { place.write(flow.after(subject, direction, now)) };
        return 0;
    }
    let found = UNPROVED_FLOWS.get_ptr_mut(&subject.key);
    let flow = read(found);
    let Some(place) = found else {
        begin(subject, direction, now);
        return 0;
    };
    if !flow.is_known(now) {
        begin(subject, direction, now);
        return 0;
    }
    let next = flow.after(subject, direction, now);
    if next.is_proved(&subject.key) {
        keep_proved(subject, next);
    } else {
        // SAFETY: as above.
        unsafe { place.write(next) };
    }
    0
}

#[inline(always)]
fn begin(subject: &Subject, direction: Direction, now: Moment) {
    let flow = TrackedFlow::begun(subject, direction, now);
    if let Some(counters) = counters() {
        counters.begun = counters.begun.wrapping_add(1);
    }
    if matches!(subject.act(), Some(Act::Ack)) {
        keep_proved(subject, flow);
    } else if UNPROVED_FLOWS.insert(&subject.key, &flow, u64::from(BPF_NOEXIST)).is_ok() {
        if let Some(counters) = counters() {
            counters.unproved.entered = counters.unproved.entered.wrapping_add(1);
        }
    } else if UNPROVED_FLOWS.insert(&subject.key, &flow, u64::from(BPF_ANY)).is_err() {
        // Another one may be in its place, whose time is over: else there is no room.
        if let Some(counters) = counters() {
            count_failure(&mut counters.unproved);
        }
    }
}

#[inline(always)]
fn keep_proved(subject: &Subject, flow: TrackedFlow) {
    let is_new = enter_proved(&subject.key, &flow, BPF_NOEXIST);
    if !is_new && !enter_proved(&subject.key, &flow, BPF_ANY) {
        if let Some(counters) = counters() {
            count_failure(counters.proved_of(&subject.key));
        }
        return;
    }
    let is_taken = UNPROVED_FLOWS.remove(&subject.key).is_ok();
    if let Some(counters) = counters() {
        counters.proved = counters.proved.wrapping_add(1);
        let of_map = counters.proved_of(&subject.key);
        of_map.entered = of_map.entered.wrapping_add(u64::from(is_new));
        counters.unproved.taken = counters.unproved.taken.wrapping_add(u64::from(is_taken));
    }
}

/// Where a flow of which there is proof is kept.
#[inline(always)]
fn proved(key: &FlowKey) -> Option<*mut TrackedFlow> {
    match key.v4() {
        Some(key) => FLOWS_V4.get_ptr_mut(&key),
        None => FLOWS_V6.get_ptr_mut(key),
    }
}

/// Keeps a flow of which there is proof, by flags of `bpf_map_update_elem`, and says whether it could.
#[inline(always)]
fn enter_proved(key: &FlowKey, flow: &TrackedFlow, flags: u32) -> bool {
    match key.v4() {
        Some(key) => FLOWS_V4.insert(&key, flow, u64::from(flags)).is_ok(),
        None => FLOWS_V6.insert(key, flow, u64::from(flags)).is_ok(),
    }
}

/// Forgets a flow of which there is proof, and says whether there was one.
#[inline(always)]
fn take_proved(key: &FlowKey) -> bool {
    match key.v4() {
        Some(key) => FLOWS_V4.remove(&key).is_ok(),
        None => FLOWS_V6.remove(key).is_ok(),
    }
}

/// A flow that was found; without one, a flow whose time is over. No `Option` of it: what is in none is not initialized, and
/// the compiler lets the programs move it about, which the verifier refuses ("R1 `!read_ok`").
#[inline(always)]
fn read(found: Option<*mut TrackedFlow>) -> TrackedFlow {
    match found {
        // SAFETY: the map gave the pointer.
        Some(place) => unsafe { place.read() },
        None => TrackedFlow::FORGOTTEN,
    }
}

#[inline(always)]
fn count_failure(of_map: &mut FlowMapCounters) {
    of_map.failed = of_map.failed.wrapping_add(1);
}

#[inline(always)]
fn counters() -> Option<&'static mut FlowCounters> {
    let place = FLOW_COUNTERS.get_ptr_mut(BY_PROGRAMS)?;
    // SAFETY: the map gave the pointer, and an entry of a per-CPU array is this processor's alone, but for a program of the
    // other direction that interrupts this one.
    Some(unsafe { &mut *place })
}

#[inline(always)]
fn subject(direction: Direction) -> Option<&'static mut Subject> {
    let place = SUBJECTS.get_ptr_mut(direction as u32)?;
    // SAFETY: the map gave the pointer, any two references to it are used one after the other, and programs of one direction
    // do not interrupt each other on a processor.
    Some(unsafe { &mut *place })
}

/// The direction that has a number.
#[inline(always)]
pub(crate) fn way(direction: u32) -> Direction {
    if direction == 0 { Direction::In } else { Direction::Out }
}

/// Exact to a tick of the kernel, some milliseconds (Linux 5.11).
#[inline(always)]
pub(crate) fn now() -> Moment {
    // SAFETY: reads a clock.
    Moment::from_nanoseconds(unsafe { bpf_ktime_get_coarse_ns() })
}
